"""Makes swin.npz: answers of transformers' Swin with random weights in every tensor.

Two nets: one whose maps windows fill, with shifted windows and a last stage no larger than a window; one where neither
patches, windows nor merging fill the map, so that all three are padded.

Needs torch and transformers: `python tests/golden/make_swin.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch
from make_vit import reference

PATH = Path(__file__).with_name("swin.npz")
CONFIGS = {
    "even": dict(image_size=16, patch_size=2, window_size=4, embed_dim=12, depths=[2, 2], num_heads=[3, 4]),
    "odd": dict(image_size=31, patch_size=2, window_size=3, embed_dim=8, depths=[2, 3], num_heads=[2, 4]),
}
SHAPES = {"even": (16, 16), "odd": (31, 21)}


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    transformers = reference()
    torch.manual_seed(0)
    found = {}
    for name, fields in CONFIGS.items():
        images = torch.randn(2, 3, *SHAPES[name])
        config = transformers.SwinConfig(**fields, num_labels=7, mlp_ratio=2.5, layer_norm_eps=1e-5,
                                         attn_implementation="eager")  # fmt: skip
        model = transformers.SwinForImageClassification(config).eval()
        for tensor_name, tensor in model.named_parameters():
            if "bias_table" in tensor_name:
                tensor.normal_()
            elif tensor.ndim > 1:
                tensor.normal_(0, 1.5 * tensor[0].numel() ** -0.5)
            else:
                tensor.normal_(1 if "norm" in tensor_name and tensor_name.endswith("weight") else 0, 0.3)
        answer = model(images, output_hidden_states=True)
        spread = answer.logits.std(0).mean() / answer.logits.std()
        assert spread > 0.1, f"the outputs hardly depend on the input: {spread}"
        found |= {f"{name}/images": images, f"{name}/logits": answer.logits}
        found |= {f"{name}/weight/{key}": value for key, value in model.state_dict().items()}
    return {name: np.ascontiguousarray(value.numpy()) for name, value in found.items()}


if __name__ == "__main__":
    golden.main(PATH, build)
