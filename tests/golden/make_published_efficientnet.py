"""Makes published_efficientnet.npz: folders of transformers', timm's and torchvision's EfficientNets with their answers.

Needs torch, transformers, timm and torchvision: `python tests/golden/make_published_efficientnet.py` writes, `--check`
recomputes and compares; `--folders DIR PATTERN` writes public sizes (published.py). timm and torchvision have no option for
the width of a network: theirs are B0, on small images.
"""

from functools import partial
from pathlib import Path

import published
import reference
import torch
from published import answer, timm, torchvision, transformers

PATH = Path(__file__).with_name("published_efficientnet.npz")


def images(height: int, width: int, channels: int = 3) -> dict[str, torch.Tensor]:
    return {"pixel_values": reference.images(3, height, width)[:, :channels]}


# Sides of odd length meet strides of 2; the first block of stage 1 keeps its shape: it adds no input in transformers
PLAIN = dict(width_coefficient=0.1, depth_coefficient=0.8, depth_divisor=5, hidden_dim=130, in_channels=[32, 32, 80],
             out_channels=[32, 80, 120], strides=[1, 2, 2], kernel_sizes=[5, 3, 7], expand_ratios=[1, 4, 3],
             num_block_repeats=[1, 2, 1], depthwise_padding=[3], squeeze_expansion_ratio=0.3, hidden_act="gelu",
             pooling_type="max", batch_norm_eps=0.03, num_channels=2, image_size=[27, 35])  # fmt: skip
CLASSES = dict(width_coefficient=0.1, depth_coefficient=1.0, hidden_dim=128, in_channels=[32, 16], out_channels=[16, 80],
               strides=[2, 1], kernel_sizes=[3, 5], expand_ratios=[6, 2], num_block_repeats=[2, 2], num_labels=7,
               depthwise_padding=[0])  # fmt: skip
SMALL = {
    "plain": (partial(transformers, "EfficientNetModel", **PLAIN), images(27, 35, 2)),
    "classes": (partial(transformers, "EfficientNetForImageClassification", **CLASSES), images(23, 26)),
    "timm": (partial(timm, "tf_efficientnet_b0", num_classes=5, in_chans=1, act_layer="relu"), images(67, 45, 1)),
    "torchvision": (partial(torchvision, "efficientnet_b0", num_classes=6), images(45, 67)),
}
SIZES = {
    "b0": (1.0, 1.0, 1280, 224, []),
    "b1": (1.0, 1.1, 1280, 240, [16]),
    "b2": (1.1, 1.2, 1408, 260, [5, 8, 16]),
    "b3": (1.2, 1.4, 1536, 300, [5, 18]),
    "b4": (1.4, 1.8, 1792, 380, [6]),
    "b5": (1.6, 2.2, 2048, 456, [13, 27]),
    "b6": (1.8, 2.6, 2304, 528, [31]),
    "b7": (2.0, 3.1, 2560, 600, [18]),
}  # those of google/efficientnet-b*: width, depth, channels of the last convolution, rows of the images, blocks of odd size


def google(size: str) -> tuple[torch.nn.Module, None]:
    width, depth, channels, rows, odd = SIZES[size]
    return transformers("EfficientNetForImageClassification", width_coefficient=width, depth_coefficient=depth,
                        hidden_dim=channels, image_size=rows, depthwise_padding=odd, num_labels=1000)  # fmt: skip


PUBLIC = {
    **{f"google_efficientnet-{size}": partial(google, size) for size in SIZES},
    **{f"timm_{name}": partial(timm, name) for size in (*SIZES, "b8", "l2")
       for name in (f"efficientnet_{size}", f"tf_efficientnet_{size}")},
    **{f"torchvision_efficientnet_{size}": partial(torchvision, f"efficientnet_{size}") for size in SIZES},
}  # fmt: skip

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
