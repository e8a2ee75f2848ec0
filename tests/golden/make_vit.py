"""Makes vit.npz: answers of transformers' ViT and DeiT with random weights in every tensor, and resampled positions.

ViT with both forms of GELU, its pooler (the representation layer) and its attention weights, on images that are not
square; DeiT with class and distillation head. Position tables on other grids are those of torch's `interpolate`.

Needs torch and transformers: `python tests/golden/make_vit.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch

PATH = Path(__file__).with_name("vit.npz")
SIZES = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, num_labels=7,
             image_size=(12, 20), patch_size=4, layer_norm_eps=1e-6, attn_implementation="eager")  # fmt: skip


def reference():
    """transformers, which imports torchvision: its ops do not load beside a CPU torch, but their names are enough."""
    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import transformers

    return transformers


def randomise(model: torch.nn.Module) -> None:
    """Matrices by their fan-in, tables of positions and tokens of size one, norms around one, biases around zero."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if tensor.ndim > 1 and "embeddings." in name and "projection" not in name:
                tensor.normal_()
            elif tensor.ndim > 1:
                tensor.normal_(0, 1.5 * tensor[0].numel() ** -0.5)
            else:
                tensor.normal_(1 if "norm" in name and name.endswith("weight") else 0, 0.3)


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    transformers = reference()
    torch.manual_seed(0)
    images = torch.randn(3, 3, 12, 20)
    found = {"images": images}
    vit = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES)).eval()
    randomise(vit)
    found |= {f"vit/weight/{name}": value for name, value in vit.state_dict().items()}
    answer = vit(images, output_attentions=True)
    found |= {"vit/logits": answer.logits, "vit/attention": torch.stack(answer.attentions)}
    tanh = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, hidden_act="gelu_pytorch_tanh"))
    tanh.load_state_dict(vit.state_dict())
    found["vit/logits_tanh"] = tanh.eval()(images).logits
    pooler = transformers.ViTModel(transformers.ViTConfig(**SIZES)).eval()
    pooler.load_state_dict(vit.vit.state_dict(), strict=False)
    randomise(pooler.pooler)
    found |= {f"vit/weight/pooler.{name}": value for name, value in pooler.pooler.state_dict().items()}
    found["vit/pooled"] = pooler(images).pooler_output

    deit = transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**SIZES)).eval()
    randomise(deit)
    found |= {f"deit/weight/{name}": value for name, value in deit.state_dict().items()}
    answer = deit(images)
    found |= {"deit/mean": answer.logits, "deit/class": answer.cls_logits, "deit/distilled": answer.distillation_logits}
    for name in ("vit/logits", "deit/class", "deit/distilled"):
        spread = found[name].std(0).mean() / found[name].std()
        assert spread > 0.1, f"{name} hardly depends on the input: {spread}"

    table = vit.vit.embeddings.position_embeddings[0, 1:].T.reshape(1, 24, 3, 5)
    for name, size in (("grow", (7, 6)), ("shrink", (2, 3))):
        for mode, options in (("bicubic", dict(align_corners=False)), ("bilinear", dict(align_corners=True))):
            grid = torch.nn.functional.interpolate(table, size=size, mode=mode, **options)
            found[f"positions/{name}/{mode}"] = grid[0].reshape(24, -1).T
    return {name: np.ascontiguousarray(value.numpy()) for name, value in found.items()}


if __name__ == "__main__":
    golden.main(PATH, build)
