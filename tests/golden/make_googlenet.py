"""Makes googlenet.npz: logits of torchvision's GoogLeNet at an eighth of its width, and of the paper's net by the same wiring.

The paper's net is torchvision's with biased convolutions, true 5x5 kernels, response normalisation, 3x3 windows before 5a and
heads that average 5x5 positions. Weights are drawn by name (weights.py). Needs torch and torchvision:
`python tests/golden/make_googlenet.py` writes, `--check` recomputes and compares.
"""

import functools
from pathlib import Path
from typing import Any

import golden
import numpy as np
import reference
import torch
from torch import nn

PATH = Path(__file__).with_name("googlenet.npz")
CLASSES = 7


def narrow(kind: type) -> type:
    """A convolution block of an eighth of the channels (of the image's three: all)."""

    class Narrow(kind):
        def __init__(self, before: int, after: int, **options):
            super().__init__(before if before == 3 else before // 8, after // 8, **options)

    return Narrow


class Biased(nn.Sequential):
    def __init__(self, before: int, after: int, **options):
        super().__init__(nn.Conv2d(before, after, **options), nn.ReLU())


def published(batch_norm: bool, **options: Any) -> nn.Module:
    """options: of torchvision's builder."""
    module = reference.library("torchvision.models.googlenet")
    block = narrow(module.BasicConv2d if batch_norm else Biased)

    def inception(*channels: int) -> nn.Module:
        made = module.Inception(*channels, conv_block=block)
        if not batch_norm:
            made.branch3[1] = block(channels[4], channels[5], kernel_size=5, padding=2)
        return made

    def head(before: int, classes: int, dropout: float) -> nn.Module:
        made = module.InceptionAux(before, classes, conv_block=block, dropout=dropout)
        made.fc1, made.fc2 = nn.Linear(256, 128), nn.Linear(128, classes)
        if not batch_norm:
            made.register_forward_pre_hook(lambda _, x: (nn.functional.avg_pool2d(x[0], 5, 3),))
        return made

    model = module.GoogLeNet(num_classes=CLASSES, init_weights=False, blocks=[block, inception, head], **options)
    model.fc = nn.Linear(128, CLASSES)
    if not batch_norm:
        norm = functools.partial(nn.LocalResponseNorm, 5, alpha=1e-4, beta=0.75, k=1.0)
        model.maxpool1, model.maxpool2 = nn.Sequential(model.maxpool1, norm()), nn.Sequential(norm(), model.maxpool2)
        model.maxpool4 = nn.MaxPool2d(3, 2, ceil_mode=True)
    return model


def build() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    found = {}
    for name, size, factor in (("paper", 236, 300), ("batch_norm", 203, 1)):
        images = reference.images(3, size, size, factor)
        model = published(name == "batch_norm")
        found |= {f"{name}/{key}": value for key, value in reference.fill(model, images).items()}
        found[f"{name}/logits"] = reference.logits(model, images)
        with torch.no_grad():
            trained = model.train()(images)
        found |= {f"{name}/train_logits": trained.logits.numpy(), f"{name}/head_4a": trained.aux_logits1.numpy(),
                  f"{name}/head_4d": trained.aux_logits2.numpy()}  # fmt: skip
    return found


if __name__ == "__main__":
    golden.main(PATH, build, rtol=1e-3, atol=1e-4)
