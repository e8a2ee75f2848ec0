"""Makes preactivation.npz: logits of timm's pre-activation ResNet of odd widths.

Weights are drawn by name (weights.py). Needs torch, torchvision and timm: `python tests/golden/make_preactivation.py`
writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import reference
import torch

PATH = Path(__file__).with_name("preactivation.npz")


def build() -> dict[str, np.ndarray]:
    reference.library("torchvision")
    layers = reference.library("timm.layers")
    torch.manual_seed(0)
    images = reference.images(3, 67, 61)
    model = reference.library("timm.models.resnetv2").ResNetV2(
        layers=(2, 1, 1), channels=(32, 64, 96), stem_chs=8, num_classes=5, conv_layer=layers.create_conv2d,
        norm_layer=layers.BatchNormAct2d,
    )  # fmt: skip
    found = reference.fill(model, images)
    found["logits"] = reference.logits(model, images)
    with torch.no_grad():
        found["train_logits"] = model.train()(images).numpy()
    return found


if __name__ == "__main__":
    golden.main(PATH, build, rtol=1e-3, atol=1e-4)
