"""Inception v3 in the layouts of timm and torchvision, which share their names.

Both count zeros in their average pooling. Public files of either have the auxiliary head, also where the configuration has
none: its arrays are then kept for the way back. Weights that torchvision publishes are used with `transform_input`; a
configuration has to say so, as its builder does. timm's net answers with its auxiliary head outside of training too:
`aux_logits`.
"""

from __future__ import annotations

from typing import Any

from jax import Array

from aigc_jax.networks.inception import InceptionV3
from aigc_jax.pretrained.config import Config, Shapes, only, timm_activation, torch_options
from aigc_jax.pretrained.googlenet import unit
from aigc_jax.pretrained.images import image_network
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import Tensor, dense, spare

STEM = ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")
BRANCHES = {
    "a": {"1x1": "1", "5x5": "1 2", "3x3dbl": "1 2 3"},
    "b": {"3x3": "1", "3x3dbl": "1 2 3"},
    "c": {"1x1": "1", "7x7": "1 2 3", "7x7dbl": "1 2 3 4 5"},
    "d": {"3x3": "1 2", "7x7x3": "1 2 3 4"},
    "e": {"1x1": "1", "3x3": "1 2a 2b", "3x3dbl": "1 2 3a 3b"},
}
"""Kind of a module -> their names of its branches, in the order of ours, with the steps of each."""


def timm(config: Config, stored: Shapes) -> Published:
    """inception_v3."""
    options = torch_options(config, stored, "fc", aux_logits=False, norm_layer="batchnorm2d", norm_eps=1e-3,
                            act_layer="relu")  # fmt: skip
    only(options, "norm_layer", "batchnorm2d", "batchnorm2d", "batchnorm")
    auxiliary = options["aux_logits"] and options["num_classes"] > 0
    module = InceptionV3(
        options["num_classes"],
        auxiliary=auxiliary,
        auxiliary_always=auxiliary,
        count_padding=True,
        eps=options["norm_eps"],
        activation=timm_activation(options, "relu"),
    )
    return _published(module, stored, options, least=299 if module.auxiliary else 75)


def torchvision(config: Config, stored: Shapes) -> Published:
    """inception_v3; where the configuration says nothing of the auxiliary head, its arrays do."""
    options = torch_options(config, stored, "fc", aux_logits=not stored or "AuxLogits.fc.weight" in stored,
                            transform_input=False)  # fmt: skip
    module = InceptionV3(options["num_classes"], auxiliary=options["aux_logits"], count_padding=True,
                         centre=options["transform_input"])  # fmt: skip
    return _published(module, stored, options, least=75)


def _published(module: InceptionV3, stored: Shapes, options: dict[str, Any], least: int) -> Published:
    only(options, "global_pool", "avg", "avg")
    tensors = _tensors(module) + ([] if module.auxiliary else spare(stored, "AuxLogits."))
    knobs = {"net": "v3", "auxiliary": 0.4 if module.auxiliary else 0.0}
    return image_network(module, tensors, "inception", (299, 299), options["in_chans"], _logits, knobs, least=least)


def _logits(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    found = {"logits": logits}
    if "auxiliary" in features:
        (found["aux_logits"],) = features["auxiliary"]
    return found


def _tensors(module: InceptionV3) -> list[Tensor]:
    found = [tensor for at in STEM for tensor in unit(f"conv_{at.partition('_')[0]}", f"Conv2d_{at}")]
    kinds = {f"5{letter}": "a" for letter, _ in zip("bcdefgh", module.pools)} | {"6a": "b"}
    kinds |= {f"6{letter}": "c" for letter, _ in zip("bcdefgh", module.factorised)} | {"7a": "d"}
    kinds |= {f"7{letter}": "e" for letter in "bcdefgh"[: module.last]}
    for name, kind in kinds.items():
        for number, (branch, steps) in enumerate(BRANCHES[kind].items(), start=1):
            for step in steps.split():
                theirs = f"branch{branch}" if steps == "1" else f"branch{branch}_{step}"
                found += unit(f"mixed_{name}_{number}_{step}", f"Mixed_{name}.{theirs}")
        if kind in "ace":
            found += unit(f"mixed_{name}_pool", f"Mixed_{name}.branch_pool")
    if module.auxiliary and module.classes:
        found += unit("auxiliary_conv_1", "AuxLogits.conv0") + unit("auxiliary_conv_2", "AuxLogits.conv1")
        found += dense("auxiliary_head", "AuxLogits.fc")
    return found + (dense("head", "fc") if module.classes else [])
