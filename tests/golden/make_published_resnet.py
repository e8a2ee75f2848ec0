"""Makes published_resnet.npz: folders of transformers' and timm's ResNets, small and odd, with their answers.

Needs torch, transformers, timm and torchvision: `python tests/golden/make_published_resnet.py` writes, `--check` recomputes
and compares; `--folders DIR PATTERN` writes public sizes (published.py).
"""

from functools import partial
from pathlib import Path

import published
import reference
from published import answer, timm, torchvision, transformers

PATH = Path(__file__).with_name("published_resnet.npz")
BASIC = dict(layer_type="basic", embedding_size=5, hidden_sizes=[6, 11, 14], depths=[2, 1, 1], num_labels=7)
BOTTLENECK = dict(embedding_size=6, hidden_sizes=[18, 22, 29], depths=[1, 2, 1], num_channels=2, hidden_act="gelu")
IMAGES = {"pixel_values": reference.images(3, 35, 43)}
SMALL = {
    "basic": (partial(transformers, "ResNetForImageClassification", **BASIC), IMAGES),
    "strides": (partial(transformers, "ResNetModel", **BOTTLENECK, downsample_in_first_stage=True,
                        downsample_in_bottleneck=True), {"pixel_values": IMAGES["pixel_values"][:, :2]}),
    "timm": (partial(timm, "resnet50", num_classes=5, layers=[1, 2, 1, 1], channels=[6, 9, 10, 7]), IMAGES),
}  # fmt: skip
PUBLIC = {f"{source.__name__}_resnet{depth}": partial(source, f"resnet{depth}")
          for source in (timm, torchvision) for depth in (18, 34, 50, 101, 152)}  # fmt: skip

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
