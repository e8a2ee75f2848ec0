"""Pooling over windows, channels last.

On a CPU a window is the sum, or the maximum, of shifted slices, of rows and then of columns: the gradient of the compiler's
own window reduction costs several times as much there.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax


def max_pool(x: Array, window: int, stride: int, padding: int = 0, ceil: bool = False) -> Array:
    """The largest element of each window; on a tie the gradient goes to one of the largest.

    x:       [B, H, W, C].
    padding: on every side, of what is never the largest.
    ceil:    a last window that reaches over the far edge counts too, if it begins before it (the ceil_mode of torch).

    Returns [B, H', W', C].
    """
    around = [_around(size, window, stride, padding, ceil) for size in x.shape[1:3]]
    if jax.default_backend() != "cpu":
        pads = ((0, 0), *around, (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)
    x = jnp.pad(x, ((0, 0), *around, (0, 0)), constant_values=-jnp.inf)
    for axis in (1, 2):
        x, *others = _places(x, axis, window, stride)
        for one in others:
            x = jnp.where((one > x) | jnp.isnan(one), one, x)
    return x


def avg_pool(x: Array, window: int, stride: int, padding: int = 0, count_padding: bool = True) -> Array:
    """The mean of each window.

    x:             [B, H, W, C].
    padding:       zeros on every side.
    count_padding: whether they count in the mean: True is what torch does, False what TensorFlow does.

    Returns [B, H', W', C].
    """
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    if jax.default_backend() != "cpu":
        zero = jnp.zeros((), x.dtype)
        sums = lax.reduce_window(x, zero, lax.add, (1, window, window, 1), (1, stride, stride, 1), around)
    else:
        sums = jnp.pad(x, around)
        for axis in (1, 2):
            sums, *others = _places(sums, axis, window, stride)
            for one in others:
                sums = sums + one
    if count_padding or not padding:
        return sums / window**2
    down, across = (_real(size, window, stride, padding) for size in x.shape[1:3])
    return sums / jnp.asarray(down[:, None, None] * across[:, None], x.dtype)


def mean_over_space(x: Array) -> Array:
    """[B, H, W, C] -> [B, C], in float32 at least: sums over a whole map are too long for half precision."""
    return jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))


def adaptive_avg_pool(x: Array, size: int) -> Array:
    """[B, H, W, C] -> [B, size, size, C]: cell i of n is the mean of rows floor(i H / n) to ceil((i + 1) H / n) - 1.

    That of torch: cells overlap where n does not divide H. A map of that size already comes back as it is.
    """
    for axis in (1, 2):
        length = x.shape[axis]
        if length != size:
            cells = np.zeros((size, length))
            for i in range(size):
                start, stop = i * length // size, -((i + 1) * length // -size)
                cells[i, start:stop] = 1 / (stop - start)
            x = jnp.moveaxis(jnp.tensordot(jnp.asarray(cells, x.dtype), x, (1, axis)), 0, axis)
    return x


def _around(size: int, window: int, stride: int, padding: int, ceil: bool) -> tuple[int, int]:
    """The padding before and after one axis."""
    more = -(size + 2 * padding - window) % stride if ceil else 0
    if more and size + 2 * padding - window + more >= size + padding:
        more = 0  # the window would begin in the padding
    return padding, padding + more


def _places(x: Array, axis: int, window: int, stride: int) -> Sequence[Array]:
    """What each place of the window sees along an axis."""
    count = (x.shape[axis] - window) // stride + 1
    return [lax.slice_in_dim(x, at, at + (count - 1) * stride + 1, stride, axis) for at in range(window)]


def _real(size: int, window: int, stride: int, padding: int) -> np.ndarray:
    """How many elements of each window along one axis are no padding."""
    starts = np.arange((size + 2 * padding - window) // stride + 1) * stride - padding
    return np.minimum(starts + window, size) - np.maximum(starts, 0)
