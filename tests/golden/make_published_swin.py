"""Makes published_swin.npz: folders of transformers', timm's and torchvision's Swin, small and odd, with their answers.

Maps are of a size that patches, windows and merging do not fill, and windows as large as one side of a map.

Needs torch, transformers, timm and torchvision: `python tests/golden/make_published_swin.py` writes, `--check` recomputes
and compares; `--folders DIR PATTERN` writes public sizes (published.py).
"""

from functools import partial
from pathlib import Path
from typing import Any

import published
import reference
import torch
from published import answer, sized, timm, torchvision, transformers

PATH = Path(__file__).with_name("published_swin.npz")


def own_sizes(**arguments: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    """torchvision's class: its builders have their sizes fixed."""
    library = reference.library("torchvision.models.swin_transformer")
    config = {"library_name": "torchvision", "architecture": "swin_t", **arguments}
    return library.SwinTransformer(**arguments), config


TINY = dict(embed_dim=8, depths=[2, 2], num_heads=[2, 4], mlp_ratio=2.5)
SMALL = {
    "swin": (partial(transformers, "SwinForImageClassification", **TINY, image_size=[17, 43], patch_size=[2, 3],
                     window_size=3, qkv_bias=False, hidden_act="quick_gelu", layer_norm_eps=1e-2, num_channels=2,
                     num_labels=7), {"pixel_values": reference.images(3, 17, 43)[:, :2]}),
    "absolute": (partial(transformers, "SwinModel", **TINY, image_size=[12, 20], patch_size=2, window_size=3,
                         use_absolute_embeddings=True), {"pixel_values": reference.images(3, 12, 20)}),
    "timm": (partial(timm, "swin_tiny_patch4_window7_224", **TINY, img_size=[15, 23], patch_size=2, window_size=4,
                     num_classes=5), {"pixel_values": reference.images(3, 15, 23)}),
    "torchvision": (partial(own_sizes, **TINY, patch_size=[2, 2], window_size=[3, 4], num_classes=5),
                    {"pixel_values": reference.images(3, 11, 23)}),
}  # fmt: skip
HEADS = {96: [3, 6, 12, 24], 128: [4, 8, 16, 32], 192: [6, 12, 24, 48]}
PUBLIC = {
    **{f"swin_{name}": sized(size, partial(transformers, "SwinForImageClassification", embed_dim=width, image_size=size,
                                           depths=[2, 2, deep, 2], num_heads=HEADS[width], window_size=window,
                                           num_labels=1000))
       for name, width, deep, window, size in (
           ("tiny", 96, 6, 7, 224), ("small", 96, 18, 7, 224), ("base", 128, 18, 7, 224), ("base_384", 128, 18, 12, 384),
           ("large", 192, 18, 7, 224), ("large_384", 192, 18, 12, 384))},
    **{f"timm_{name}": sized(int(name.rsplit("_", 1)[1]), partial(timm, name)) for name in (
        "swin_base_patch4_window7_224", "swin_base_patch4_window12_384", "swin_large_patch4_window7_224",
        "swin_large_patch4_window12_384", "swin_small_patch4_window7_224", "swin_tiny_patch4_window7_224")},
    **{f"torchvision_{name}": partial(torchvision, name) for name in ("swin_t", "swin_s", "swin_b")},
}  # fmt: skip

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
