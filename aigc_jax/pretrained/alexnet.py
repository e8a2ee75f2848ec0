"""AlexNet in the layout of torchvision, whose net is the single tower of arXiv:1404.5997."""

from __future__ import annotations

from aigc_jax.networks.alexnet import SIZES, AlexNet
from aigc_jax.pretrained.config import Config, Shapes, torch_options
from aigc_jax.pretrained.images import image_network
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import Tensor, conv, dense, flattened


def torchvision(config: Config, stored: Shapes) -> Published:
    """alexnet."""
    options = torch_options(config, stored, "classifier.6")
    module = AlexNet(options["num_classes"], **SIZES["one-weird-trick"])
    knobs = {"net": "one-weird-trick"}
    return image_network(module, _tensors(module), "alexnet", (224, 224), knobs=knobs, least=63)


def _tensors(module: AlexNet) -> list[Tensor]:
    found = []
    for index, theirs in enumerate((0, 3, 6, 8, 10), start=1):
        found += conv(f"conv_{index}", f"features.{theirs}", bias=True)
    return [*found, *dense("dense_6", "classifier.1", form=flattened(module.grid)), *dense("dense_7", "classifier.4"),
            *dense("head", "classifier.6")]  # fmt: skip
