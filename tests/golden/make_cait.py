"""Makes cait.npz: answers of timm's CaiT with random weights in every tensor, LayerScale and talking heads among them.

Needs torch and timm: `python tests/golden/make_cait.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch

PATH = Path(__file__).with_name("cait.npz")


def reference():
    """timm, which imports torchvision: its ops do not load beside a CPU torch, but their names are enough."""
    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from timm.models import cait

    return cait


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    cait = reference()
    torch.manual_seed(0)
    images = torch.randn(3, 3, 12, 20)
    model = cait.Cait(img_size=(12, 20), patch_size=4, num_classes=7, embed_dim=20, depth=3, num_heads=5).eval()
    for name, tensor in model.named_parameters():
        if name.startswith("blocks") and "gamma" in name:
            tensor.normal_(0, 0.5)
        elif "pos_embed" in name or "cls_token" in name:
            tensor.normal_()
        elif tensor.ndim > 1:
            tensor.normal_(0, 1.5 * tensor[0].numel() ** -0.5)
        else:
            tensor.normal_(1 if "norm" in name and name.endswith("weight") else 0, 0.3)
    logits = model(images)
    spread = logits.std(0).mean() / logits.std()
    assert spread > 0.1, f"the outputs hardly depend on the input: {spread}"
    trunk = model.blocks(model.patch_embed(images) + model.pos_embed)
    found = {"images": images, "logits": logits, "trunk": trunk}
    found |= {f"weight/{name}": value for name, value in model.state_dict().items()}
    return {name: np.ascontiguousarray(value.numpy()) for name, value in found.items()}


if __name__ == "__main__":
    golden.main(PATH, build)
