"""Makes published_inception.npz: folders of timm's and torchvision's Inception v3 at a sixteenth of its width.

Their configurations are those of the whole net, which has no option for its width: a test sets it. Needs torch, timm and
torchvision: `python tests/golden/make_published_inception.py` writes, `--check` recomputes and compares;
`--folders DIR PATTERN` writes public forms (published.py).
"""

from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import make_inception
import published
import reference
import torch
from make_inception import CLASSES
from published import sized, timm, torchvision

PATH = Path(__file__).with_name("published_inception.npz")


def narrow_torchvision(**options: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    config = {"library_name": "torchvision", "architecture": "inception_v3", "num_classes": CLASSES, **options}
    return make_inception.narrow(**options)[0], config


def narrow_timm(**arguments: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    reference.library("timm")
    module = reference.library("timm.models.inception_v3")

    class Narrow(module.ConvNormAct):
        def __init__(self, before: int, after: int, **options: Any):
            super().__init__(before if before < 16 else before // 16, after // 16, **options)

    with mock.patch.object(module, "ConvNormAct", Narrow):
        model, config = timm("inception_v3", num_classes=CLASSES, **arguments)
    model.fc = torch.nn.Linear(128, CLASSES)
    if model.AuxLogits is not None:
        model.AuxLogits.fc = torch.nn.Linear(48, CLASSES)
    return model, config


def answer(model: torch.nn.Module, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
    """In training, and with timm's `aux_logits` always, the head answers too."""
    found = model(pixel_values)
    return dict(zip(("logits", "aux_logits"), found)) if isinstance(found, tuple) else {"logits": found}


SMALL = {
    "torchvision": (partial(narrow_torchvision, transform_input=True), {"pixel_values": reference.images(2, 299, 303)}),
    "timm": (partial(narrow_timm, in_chans=2, norm_eps=0.01, act_layer="silu"),
             {"pixel_values": reference.images(3, 107, 91)[:, :2]}),
    "head": (partial(narrow_timm, aux_logits=True), {"pixel_values": reference.images(2, 299, 303)}),
}  # fmt: skip
PUBLIC = {
    "timm_inception_v3": sized(299, partial(timm, "inception_v3")),
    "timm_inception_v3_head": sized(299, partial(timm, "inception_v3", aux_logits=True)),
    "torchvision_inception_v3": sized(
        299, partial(torchvision, "inception_v3", init_weights=False, transform_input=True)
    ),
    "torchvision_inception_v3_plain": sized(
        299, partial(torchvision, "inception_v3", init_weights=False, aux_logits=False)
    ),
}

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
