"""What networks that read images have in common: their input, and the outputs of the libraries they come from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax import Array

from aigc_jax.errors import UserError
from aigc_jax.networks.layers import pair
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
    patch: tuple[int, int] = (1, 1),
    least: int | tuple[int, int] = 1,
) -> Published:
    """A network of images [B, H, W, C] that gives (logits, features by name).

    size:    rows and columns of the images it is made for.
    outputs: (logits, features) -> outputs by the source library's names.
    fixed:   whether it takes images of that size alone.
    knobs:   of the experiment, beside classes, size and channels.
    patch:   images are cut to multiples of it, as by a convolution of that size and stride.
    least:   rows and columns of the smallest image, or one number for both.

    Raises UserError for a size that no image has: below `least`, or smaller than a patch.
    """
    down, across = (max(one, other) for one, other in zip(pair(least), patch))
    if size[0] < down or size[1] < across:
        raise UserError(f"config.json: images of {size[0]} x {size[1]} are smaller than the network takes, "
                        f"{down} x {across}")  # fmt: skip

    def cut(shape: tuple[int, ...]) -> tuple[int, int]:
        return shape[0] // patch[0] * patch[0], shape[1] // patch[1] * patch[1]

    def arguments(inputs: Inputs) -> Inputs:
        given = inputs.get("pixel_values", inputs.get("x"))
        if given is None or len(inputs) != 1:
            raise UserError(f"the input is pixel_values [B, H, W, {channels}], not {', '.join(inputs) or 'nothing'}")
        wanted = f"[B, {size[0]}, {size[1]}, {channels}]" if fixed else f"[B, H, W, {channels}]"
        if given.ndim != 4 or given.shape[-1] != channels or (fixed and given.shape[1:3] != size):
            raise UserError(f"pixel_values must be {wanted}, channels last, not {list(given.shape)}")
        if given.shape[1] < down or given.shape[2] < across:
            raise UserError(f"images must be at least {down} x {across}, not {given.shape[1]} x {given.shape[2]}")
        if given.dtype.kind != "f":
            raise UserError(f"pixel_values must be floats, scaled and normalised as for its library, not {given.dtype}")
        rows, columns = cut(given.shape[1:3])
        return {"pixel_values": np.asarray(given[:, :rows, :columns], np.float32)}

    def answer(variables: Variables, inputs: Inputs) -> dict[str, Array]:
        answered: Any = module.apply(variables, inputs["pixel_values"])
        return outputs(*answered)

    example = (jax.ShapeDtypeStruct((1, *cut(size), channels), np.float32),)
    found = {"classes": getattr(module, "classes", 0), "size": size[0], "channels": channels, **(knobs or {})}
    return Published(module, tensors, example, arguments, answer, experiment, found, fixed=fixed)
