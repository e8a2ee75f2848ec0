"""What networks that read images have in common: their input, and the outputs of the libraries they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax import Array

from aigc_jax.errors import UserError
from aigc_jax.pretrained.model import Inputs, Published, Variables
from aigc_jax.pretrained.tensors import Tensor

Outputs = Callable[[Array, dict[str, Any]], dict[str, Array]]


def logits_only(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    """What a classifier answers."""
    return {"logits": logits}


def image_network(
    module: nn.Module,
    tensors: list[Tensor],
    experiment: str,
    size: tuple[int, int],
    channels: int = 3,
    outputs: Outputs = logits_only,
    knobs: dict[str, Any] | None = None,
    fixed: bool = False,
    train: bool = False,
) -> Published:
    """A network of images [B, H, W, C] that gives (logits, features by name).

    size:    rows and columns of the images it is made for.
    outputs: (logits, features) -> outputs by the source library's names.
    fixed:   whether it takes images of that size alone.
    knobs:   of the experiment, beside classes, size and channels.
    train:   whether only a call as in training makes all parameters.
    """

    def arguments(inputs: Inputs) -> Inputs:
        given = inputs.get("pixel_values", inputs.get("x"))
        if given is None or len(inputs) != 1:
            raise UserError(f"the input is pixel_values [B, H, W, {channels}], not {', '.join(inputs) or 'nothing'}")
        wanted = f"[B, {size[0]}, {size[1]}, {channels}]" if fixed else f"[B, H, W, {channels}]"
        if given.ndim != 4 or given.shape[-1] != channels or (fixed and given.shape[1:3] != size):
            raise UserError(f"pixel_values must be {wanted}, channels last, not {list(given.shape)}")
        return {"pixel_values": np.asarray(given, np.float32)}

    def answer(variables: Variables, inputs: Inputs) -> dict[str, Array]:
        answered: Any = module.apply(variables, inputs["pixel_values"])
        return outputs(*answered)

    example = (jax.ShapeDtypeStruct((1, *size, channels), np.float32),)
    found = {"classes": getattr(module, "classes", 0), "size": size[0], "channels": channels, **(knobs or {})}
    return Published(module, tensors, example, arguments, answer, experiment, found, train)
