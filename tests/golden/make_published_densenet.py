"""Makes published_densenet.npz: folders of timm's and torchvision's DenseNets, small and odd, with their answers.

Needs torch, timm and torchvision: `python tests/golden/make_published_densenet.py` writes, `--check` recomputes and
compares; `--folders DIR PATTERN` writes public sizes (published.py).
"""

from functools import partial
from pathlib import Path
from typing import Any

import published
import reference
import torch
from published import answer, timm, torchvision

PATH = Path(__file__).with_name("published_densenet.npz")


def sized(**arguments: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    """torchvision's class itself, for its functions by name fix the sizes."""
    model = reference.library("torchvision").models.DenseNet(**arguments)
    return model, {"library_name": "torchvision", "architecture": "densenet121", **arguments}


IMAGES = reference.images(3, 67, 61)
TIMM = dict(num_classes=5, in_chans=1, growth_rate=6, block_config=[2, 3, 1], bn_size=3, act_layer="gelu")
SIZED = dict(num_classes=7, growth_rate=5, block_config=[3, 1, 2], bn_size=2, num_init_features=11, drop_rate=0.1)
SMALL = {
    "timm": (partial(timm, "densenet121", **TIMM), {"pixel_values": IMAGES[:, :1]}),
    "pooled": (
        partial(timm, "densenet161", num_classes=0, growth_rate=4, block_config=[1, 2]),
        {"pixel_values": IMAGES},
    ),
    "torchvision": (partial(sized, **SIZED), {"pixel_values": IMAGES}),
}
PUBLIC = {f"{source.__name__}_densenet{depth}": partial(source, f"densenet{depth}")
          for source in (timm, torchvision) for depth in (121, 161, 169, 201)}  # fmt: skip

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
