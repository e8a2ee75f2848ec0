"""Images as patches: cut apart without overlap, or unfolded with it."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def patchify(x: Array, size: int) -> Array:
    """[B, H, W, C] -> [B, H / size, W / size, size * size * C], in a patch row, column, channel.

    A linear map of it is the convolution whose kernel [size, size, C, D] is as large as its stride. Raises ValueError for
    images that patches do not fill.
    """
    batch, height, width, channels = x.shape
    if height % size or width % size:
        raise ValueError(f"patches of {size} x {size} do not fill an image of {height} x {width}")
    rows, columns = height // size, width // size
    x = x.reshape(batch, rows, size, columns, size, channels).swapaxes(2, 3)
    return x.reshape(batch, rows, columns, size * size * channels)


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
