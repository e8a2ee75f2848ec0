"""Makes inception.npz: logits of torchvision's Inception v3 at a sixteenth of its width.

Weights are drawn by name (weights.py). Once as it is, and once with the poolings of the network of the Frechet distance put
in: averages without padding, and in the last module the maximum. Needs torch and torchvision:
`python tests/golden/make_inception.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path
from typing import Any
from unittest import mock

import golden
import numpy as np
import reference
import torch
from torch import nn

PATH = Path(__file__).with_name("inception.npz")
CLASSES = 7


def narrow(**options: Any) -> tuple[nn.Module, nn.Module]:
    """The net, with options of torchvision's builder, and its last module."""
    module = reference.library("torchvision.models.inception")

    class Narrow(module.BasicConv2d):
        def __init__(self, before: int, after: int, **options):
            super().__init__(before if before == 3 else before // 16, after // 16, **options)

    kinds = (module.InceptionA, module.InceptionB, module.InceptionC, module.InceptionD, module.InceptionE)
    blocks = [lambda *a, kind=kind, **k: kind(*a, conv_block=Narrow, **k) for kind in (*kinds, module.InceptionAux)]
    model = module.Inception3(num_classes=CLASSES, init_weights=False, inception_blocks=[Narrow, *blocks], **options)
    model.fc = nn.Linear(128, CLASSES)
    if model.AuxLogits is not None:
        model.AuxLogits.fc = nn.Linear(48, CLASSES)
    return model, model.Mixed_7c


def fid_logits(model: nn.Module, last: nn.Module, images: torch.Tensor) -> np.ndarray:
    average, maximum = nn.functional.avg_pool2d, nn.functional.max_pool2d
    inside = []
    hook = last.register_forward_pre_hook(lambda *_: inside.append(True))

    def pool(x, **options):
        return maximum(x, **options) if inside else average(x, **options, count_include_pad=False)

    with mock.patch("torch.nn.functional.avg_pool2d", pool):
        answer = reference.logits(model, images)
    hook.remove()
    return answer


def build() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    images = reference.images(3, 299, 299)
    model, last = narrow()
    found = reference.fill(model, images)
    found |= {"logits": reference.logits(model, images), "fid_logits": fid_logits(model, last, images)}
    with torch.no_grad():
        trained = model.train()(images)
    return {**found, "train_logits": trained.logits.numpy(), "head": trained.aux_logits.numpy()}


if __name__ == "__main__":
    golden.main(PATH, build, rtol=1e-3, atol=1e-4)
