"""Makes alexnet.npz: logits of torchvision's AlexNet with narrow layers, and of the two-tower net in torch's own modules.

Weights are drawn by name (weights.py). The images are large numbers, so that response normalisation divides by more than
one. Needs torch and torchvision: `python tests/golden/make_alexnet.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import reference
import torch
from torch import nn

PATH = Path(__file__).with_name("alexnet.npz")
WIDTHS = (6, 10, 14, 8, 12)
HIDDEN = 18


def one_weird_trick() -> nn.Module:
    """torchvision's net, its layers replaced by narrow ones of the same kernels."""
    model = reference.library("torchvision").models.alexnet(num_classes=7)
    before = 3
    for width, index in zip(WIDTHS, (0, 3, 6, 8, 10)):
        old = model.features[index]
        model.features[index] = nn.Conv2d(before, width, old.kernel_size, old.stride, old.padding)
        before = width
    for index, sizes in {1: (36 * before, HIDDEN), 4: (HIDDEN, HIDDEN), 6: (HIDDEN, 7)}.items():
        model.classifier[index] = nn.Linear(*sizes)
    return model


def two_tower() -> nn.Module:
    """Figure 2 of the paper for images of 227 pixels."""
    one, two, three, four, five = WIDTHS
    norm, pool = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0), nn.MaxPool2d(3, 2)
    features = nn.Sequential(
        nn.Conv2d(3, one, 11, 4), nn.ReLU(), norm, pool,
        nn.Conv2d(one, two, 5, 1, 2, groups=2), nn.ReLU(), norm, pool,
        nn.Conv2d(two, three, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(three, four, 3, 1, 1, groups=2), nn.ReLU(),
        nn.Conv2d(four, five, 3, 1, 1, groups=2), nn.ReLU(), pool,
    )  # fmt: skip
    classifier = nn.Sequential(
        nn.Linear(36 * five, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 7)
    )
    return nn.Sequential(features, nn.Flatten(), classifier)


def build() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    found = {}
    for name, model, shape in (
        ("one-weird-trick", one_weird_trick(), (171, 163)),
        ("two-tower", two_tower(), (227, 227)),
    ):
        images = reference.images(2, *shape, factor=300)
        reference.fill(model, images)
        found[f"{name}/logits"] = reference.logits(model, images)
    return found


if __name__ == "__main__":
    golden.main(PATH, build, rtol=1e-3, atol=1e-4)
