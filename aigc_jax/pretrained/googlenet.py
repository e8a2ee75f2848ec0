"""GoogLeNet in the layout of torchvision, whose net is the one with batch normalisation.

Weights that torchvision publishes are used with `transform_input`; a configuration has to say so, as its builder does.
"""

from __future__ import annotations

from collections.abc import Callable

from aigc_jax.networks.googlenet import GoogLeNet
from aigc_jax.pretrained.config import Config, Shapes, torch_options
from aigc_jax.pretrained.images import image_network
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import Tensor, batch_norm, conv, dense, flattened, spare

BRANCHES = {
    "1x1": "branch1",
    "3x3_reduce": "branch2.0",
    "3x3": "branch2.1",
    "5x5_reduce": "branch3.0",
    "5x5": "branch3.1",
    "pool": "branch4.1",
}
HEADS = {"4a": "aux1", "4d": "aux2"}
GRID = 4  # positions on a side that an auxiliary head reads


def torchvision(config: Config, stored: Shapes) -> Published:
    """googlenet; where the configuration says nothing of the auxiliary heads, their arrays do."""
    options = torch_options(config, stored, "fc", aux_logits=not stored or "aux1.fc2.weight" in stored,
                            transform_input=False, dropout_aux=0.7)  # fmt: skip
    module = GoogLeNet(options["num_classes"], auxiliary=options["aux_logits"], batch_norm=True, dropout=0.2,
                       centre=options["transform_input"])  # fmt: skip
    knobs = {"net": "googlenet", "batch_norm": True, "dropout": 0.2, "auxiliary": 0.3 if module.auxiliary else 0.0}
    tensors = _tensors(module)
    tensors += [] if module.auxiliary else spare(stored, *(f"{head}." for head in HEADS.values()))
    return image_network(module, tensors, "inception", (224, 224), knobs=knobs, least=15)


def unit(ours: str, theirs: str) -> list[Tensor]:
    """A convolution and its norm."""
    return conv(f"{ours}.conv", f"{theirs}.conv") + batch_norm(f"{ours}.norm", f"{theirs}.bn")


def _tensors(module: GoogLeNet, unit: Callable[[str, str], list[Tensor]] = unit) -> list[Tensor]:
    """unit: (ours, theirs) -> the arrays of one unit."""
    found = [tensor for index in (1, 2, 3) for tensor in unit(f"stem_{index}", f"conv{index}")]
    for name in (name for stage in module.stages for name in stage):
        for ours, theirs in BRANCHES.items():
            found += unit(f"inception_{name}_{ours}", f"inception{name}.{theirs}")
        if module.auxiliary and module.classes and name in HEADS:
            at, theirs = f"auxiliary_{name}", HEADS[name]
            found += unit(f"{at}_conv", f"{theirs}.conv") + dense(f"{at}_dense", f"{theirs}.fc1", form=flattened(GRID))
            found += dense(f"{at}_head", f"{theirs}.fc2")
    return found + (dense("head", "fc") if module.classes else [])
