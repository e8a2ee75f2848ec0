"""Pooling over windows, channels last."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array, lax


def max_pool(x: Array, window: int, stride: int, padding: int = 0) -> Array:
    """The largest element of each window; on a tie the gradient goes to one of the largest.

    x:       [B, H, W, C].
    padding: on every side, of what is never the largest.

    Returns [B, H', W', C]. On a CPU it is the maximum of shifted slices, of rows and then of columns: the gradient of the
    compiler's own window reduction costs several times as much there.
    """
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    if jax.default_backend() != "cpu":
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), around)
    x = jnp.pad(x, around, constant_values=-jnp.inf)
    for axis in (1, 2):
        count = (x.shape[axis] - window) // stride + 1
        places = [lax.slice_in_dim(x, at, at + (count - 1) * stride + 1, stride, axis) for at in range(window)]
        x, *others = places
        for one in others:
            x = jnp.where((one > x) | jnp.isnan(one), one, x)
    return x
