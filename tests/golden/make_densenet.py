"""Makes densenet.npz: logits of torchvision's DenseNet of odd widths.

Weights are drawn by name (weights.py). Needs torch and torchvision: `python tests/golden/make_densenet.py` writes,
`--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import reference
import torch

PATH = Path(__file__).with_name("densenet.npz")


def build() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    images = reference.images(3, 67, 61)
    model = reference.library("torchvision").models.DenseNet(
        growth_rate=5, block_config=(2, 3, 1), num_init_features=11, num_classes=7
    )
    found = reference.fill(model, images)
    found["logits"] = reference.logits(model, images)
    with torch.no_grad():
        found["train_logits"] = model.train()(images).numpy()
    return found


if __name__ == "__main__":
    golden.main(PATH, build, rtol=1e-3, atol=1e-4)
