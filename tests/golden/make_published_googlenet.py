"""Makes published_googlenet.npz: folders of torchvision's GoogLeNet at an eighth of its width, with their answers.

Their configurations are those of the whole net, which has no option for its width: a test sets it. Needs torch and
torchvision: `python tests/golden/make_published_googlenet.py` writes, `--check` recomputes and compares;
`--folders DIR PATTERN` writes public forms (published.py).
"""

from functools import partial
from pathlib import Path
from typing import Any

import published
import reference
import torch
from make_googlenet import CLASSES
from make_googlenet import published as net
from published import torchvision

PATH = Path(__file__).with_name("published_googlenet.npz")


def narrow(**options: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    config = {"library_name": "torchvision", "architecture": "googlenet", "num_classes": CLASSES, **options}
    return net(batch_norm=True, **options), config


def answer(model: torch.nn.Module, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
    """In training the heads answer too."""
    found = model(pixel_values)
    return {"logits": getattr(found, "logits", found)}


IMAGES = {"pixel_values": reference.images(3, 107, 91)}
SMALL = {
    "heads": (partial(narrow, dropout=0.3, dropout_aux=0.5), IMAGES),
    "transformed": (partial(narrow, aux_logits=False, transform_input=True), IMAGES),
}
PUBLIC = {
    "torchvision_googlenet": partial(torchvision, "googlenet", init_weights=False, transform_input=True),
    "torchvision_googlenet_plain": partial(torchvision, "googlenet", init_weights=False, aux_logits=False),
}

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
