"""Makes published_preactivation.npz: folders of timm's pre-activation ResNets, small and odd, with their answers.

Needs torch, timm and torchvision: `python tests/golden/make_published_preactivation.py` writes, `--check` recomputes and
compares; `--folders DIR PATTERN` writes public sizes (published.py).
"""

from functools import partial
from pathlib import Path

import published
import reference
from published import answer, timm

PATH = Path(__file__).with_name("published_preactivation.npz")
IMAGES = reference.images(3, 67, 61)
# the first stage keeps the width of the stem; numbers of channels that 8 does not divide
BOTTLENECK = dict(num_classes=5, in_chans=2, layers=[2, 1, 1], channels=[40, 61, 90], stem_chs=40, bottle_ratio=0.4,
                  act_layer="silu", drop_path_rate=0.1)  # fmt: skip
BASIC = dict(
    num_classes=0, layers=[2, 1, 1], channels=[8, 12, 23], stem_chs=9, width_factor=1.5, norm_layer="batchnorm2d"
)
SMALL = {
    "bottleneck": (partial(timm, "resnetv2_50", **BOTTLENECK), {"pixel_values": IMAGES[:, :2]}),
    "basic": (partial(timm, "resnetv2_18", **BASIC), {"pixel_values": IMAGES}),
}
PUBLIC = {f"timm_resnetv2_{depth}": partial(timm, f"resnetv2_{depth}") for depth in (18, 34, 50, 101, 152)}

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
