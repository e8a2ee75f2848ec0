"""Makes published_alexnet.npz: a folder of torchvision's AlexNet with narrow layers, with its answer.

Its configuration is that of the whole net, which has no option for narrow layers: a test sets the widths of its own. Needs
torch and torchvision: `python tests/golden/make_published_alexnet.py` writes, `--check` recomputes and compares;
`--folders DIR PATTERN` writes the public size (published.py).
"""

from functools import partial
from pathlib import Path
from typing import Any

import published
import reference
import torch
from make_alexnet import one_weird_trick
from published import answer, torchvision

PATH = Path(__file__).with_name("published_alexnet.npz")


def narrow() -> tuple[torch.nn.Module, dict[str, Any]]:
    config = {"library_name": "torchvision", "architecture": "alexnet", "num_classes": 7, "dropout": 0.3}
    return one_weird_trick(), config


SMALL = {"narrow": (narrow, {"pixel_values": reference.images(3, 171, 163)})}
PUBLIC = {"torchvision_alexnet": partial(torchvision, "alexnet")}

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)
