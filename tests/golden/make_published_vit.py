"""Makes published_vit.npz: folders of transformers', timm's and torchvision's ViT and DeiT, small and odd, with their answers.

Needs torch, transformers, timm and torchvision: `python tests/golden/make_published_vit.py` writes, `--check` recomputes and
compares; `--folders DIR PATTERN` writes public sizes (published.py).
"""

from functools import partial
from pathlib import Path
from typing import Any

import published
import reference
import torch
from published import sized, timm, torchvision

PATH = Path(__file__).with_name("published_vit.npz")
OUTPUTS = ("logits", "cls_logits", "distillation_logits", "last_hidden_state", "pooler_output")


def transformers(kind: str, pooler: bool = True, **fields: Any) -> tuple[torch.nn.Module, None]:
    """pooler: of a model without a head, whether it has one; no configuration says so."""
    library = reference.library("transformers")
    config = getattr(library, "DeiTConfig" if kind.startswith("DeiT") else "ViTConfig")(**fields)
    base = getattr(library, kind)
    without = type(
        kind, (base,), {"__init__": lambda self, config: base.__init__(self, config, add_pooling_layer=False)}
    )
    return (base if pooler else without)(config), None


def own_sizes(**arguments: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    """torchvision's class: its builders have their sizes fixed."""
    library = reference.library("torchvision.models.vision_transformer")
    config = {"library_name": "torchvision", "architecture": "vit_b_16", **arguments}
    return library.VisionTransformer(**arguments), config


def answer(model: torch.nn.Module, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
    found = model(pixel_values)
    if isinstance(found, torch.Tensor):
        return {"logits": found}
    return {name: found[name] for name in OUTPUTS if found.get(name) is not None}


TINY = dict(hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=40, image_size=[12, 20],
            patch_size=4)  # fmt: skip
ODD = dict(TINY, num_hidden_layers=2, image_size=[13, 21], patch_size=[4, 5], num_channels=2, hidden_act="quick_gelu",
           qkv_bias=False, layer_norm_eps=1e-3, num_labels=7)  # fmt: skip
SMALL_TIMM = dict(img_size=[12, 20], patch_size=4, embed_dim=24, depth=1, num_heads=3)
IMAGES = {"pixel_values": reference.images(3, 12, 20)}
SMALL = {
    "vit": (partial(transformers, "ViTForImageClassification", **ODD),
            {"pixel_values": reference.images(3, 13, 21)[:, :2]}),
    "pooler": (partial(transformers, "ViTModel", **TINY, pooler_output_size=10, pooler_act="relu"), IMAGES),
    "bare": (partial(transformers, "DeiTModel", pooler=False, **TINY), IMAGES),
    "deit": (partial(transformers, "DeiTForImageClassification", **TINY, num_labels=5), IMAGES),
    "teacher": (partial(transformers, "DeiTForImageClassificationWithTeacher", **TINY, num_labels=5), IMAGES),
    "timm": (partial(timm, "vit_tiny_patch16_224", **SMALL_TIMM, num_classes=5, reg_tokens=2, init_values=0.1, in_chans=2,
                     no_embed_class=True, global_pool="avg", pre_norm=True, act_layer="gelu_tanh", mlp_ratio=2.5,
                     qkv_bias=False), {"pixel_values": IMAGES["pixel_values"][:, :2]}),
    "gap": (partial(timm, "vit_tiny_patch16_224", **SMALL_TIMM, num_classes=0, class_token=False, global_pool="avg",
                    fc_norm=False), IMAGES),
    "distilled": (partial(timm, "deit_tiny_distilled_patch16_224", **SMALL_TIMM, num_classes=0), IMAGES),
    "torchvision": (partial(own_sizes, image_size=12, patch_size=4, num_layers=2, num_heads=3, hidden_dim=24, mlp_dim=40,
                            num_classes=7, representation_size=9), {"pixel_values": reference.images(3, 12, 12)}),
}  # fmt: skip

SIZES = {
    "tiny": dict(hidden_size=192, num_attention_heads=3, intermediate_size=768, num_labels=1000),
    "base": dict(num_labels=1000),
}
PUBLIC = {
    "vit_tiny": partial(transformers, "ViTForImageClassification", **SIZES["tiny"]),
    "vit_base_in21k": partial(transformers, "ViTModel"),
    "deit_tiny_teacher": partial(transformers, "DeiTForImageClassificationWithTeacher", **SIZES["tiny"]),
    "deit_base_teacher_384": sized(384, partial(transformers, "DeiTForImageClassificationWithTeacher", image_size=384,
                                                **SIZES["base"])),
    **{f"torchvision_{name}": partial(torchvision, name)
       for name in ("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14")},
    **{f"timm_{name}": sized(int(name.rsplit("_", 1)[1]), partial(timm, name)) for name in (
        "deit3_base_patch16_224", "deit3_base_patch16_384", "deit3_huge_patch14_224", "deit3_large_patch16_224",
        "deit3_large_patch16_384", "deit3_medium_patch16_224", "deit3_small_patch16_224", "deit3_small_patch16_384",
        "deit_base_distilled_patch16_224", "deit_base_distilled_patch16_384", "deit_base_patch16_224",
        "deit_base_patch16_384", "deit_small_distilled_patch16_224", "deit_small_patch16_224",
        "deit_tiny_distilled_patch16_224", "deit_tiny_patch16_224", "vit_base_patch8_224", "vit_base_patch16_224",
        "vit_base_patch16_384", "vit_base_patch32_224", "vit_base_patch32_384", "vit_giant_patch14_224",
        "vit_gigantic_patch14_224", "vit_huge_patch14_224", "vit_large_patch14_224", "vit_large_patch16_224",
        "vit_large_patch16_384", "vit_large_patch32_224", "vit_large_patch32_384", "vit_small_patch8_224",
        "vit_small_patch16_224", "vit_small_patch16_384", "vit_small_patch32_224", "vit_small_patch32_384",
        "vit_tiny_patch16_224", "vit_tiny_patch16_384")},
    "timm_vit_base_patch16_224_miil": partial(timm, "vit_base_patch16_224_miil"),
}  # fmt: skip

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
