"""Fine-tuning at another resolution: learned tables of positions brought to the grid that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.layers import resample_positions


def refit_positions(
    extra: int = 0, method: Literal["bicubic", "bilinear"] = "bicubic"
) -> Callable[[str, Any, tuple[int, ...]], Array | None]:
    """What `Experiment.refit` asks: (path, array of another run, shape wanted) -> the array in that shape, or None.

    It knows `positions` of square grids, after `extra` rows for tokens that are no patches, and Swin's `bias_table` of
    windows of another size, both as `resample_positions` has them.
    """

    def refit(path: str, array: Any, shape: tuple[int, ...]) -> Array | None:
        first = {"positions": extra, "bias_table": 0}.get(path.rsplit(".", 1)[-1])
        if first is None or array.ndim != len(shape) or array.shape[1:] != shape[1:]:
            return None
        old, new = (math.isqrt(length - first) for length in (len(array), shape[0]))
        if (old**2 + first, new**2 + first) != (len(array), shape[0]):
            return None
        return resample_positions(jnp.asarray(array), (old, old), (new, new), first, method)

    return refit
