"""Images as patches: cut apart without overlap, or unfolded with it."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of a patch or a window given as a number or as both."""
    return (size, size) if isinstance(size, int) else size


def patchify(x: Array, size: int | tuple[int, int]) -> Array:
    """[B, H, W, C] -> [B, H / P, W / Q, P * Q * C] for patches of P x Q pixels, in a patch row, column, channel.

    size: P and Q, or one number for both.

    A linear map of it is the convolution whose kernel [P, Q, C, D] is as large as its stride. Raises ValueError for
    images that patches do not fill.
    """
    batch, height, width, channels = x.shape
    down, across = pair(size)
    if height % down or width % across:
        raise ValueError(f"patches of {down} x {across} do not fill an image of {height} x {width}")
    rows, columns = height // down, width // across
    x = x.reshape(batch, rows, down, columns, across, channels).swapaxes(2, 3)
    return x.reshape(batch, rows, columns, down * across * channels)


def unfold(x: Array, size: int, stride: int, padding: int) -> Array:
    """[B, H, W, C] -> [B, H', W', C * size * size]: every window, in it channel, row, column, as torch's `unfold`.

    padding: zeros on every side. Raises ValueError for a window that the padded image does not hold.
    """
    batch, height, width, channels = x.shape
    if min(height, width) + 2 * padding < size:
        raise ValueError(f"a window of {size} does not fit an image of {height} x {width} with padding {padding}")
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows, columns = ((n + 2 * padding - size) // stride + 1 for n in (height, width))
    down, across = stride * (rows - 1) + 1, stride * (columns - 1) + 1
    taps = [x[:, i : i + down : stride, j : j + across : stride] for i in range(size) for j in range(size)]
    return jnp.stack(taps, -1).reshape(batch, rows, columns, channels * size * size)
