"""The forms of `conv`: one sum, arranged for different compilers. Padding is settled here: (before, after) for each axis."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array, lax

from aigc_jax.networks.layers.dense import linear

CACHE = 16 * 2**20  # bytes that a form writes before it reads them again: more would leave a CPU's caches

Pads = Sequence[tuple[int, int]]


def native(x: Array, kernel: Array, strides: Sequence[int], pads: Pads, groups: int, dilation: Sequence[int],
           spread: Sequence[int] | None = None) -> Array:  # fmt: skip
    """The compiler's own convolution; `spread` puts spread - 1 zeros between the elements of x."""
    space = "DHW"[3 - (x.ndim - 2) :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(x, kernel, strides, pads, spread, dilation, layout, feature_group_count=groups)


def product(x: Array, kernel: Array, strides: Sequence[int], pads: Pads, groups: int, dilation: Sequence[int]) -> Array:
    """What every tap sees, side by side, times the kernel as one matrix."""
    kernel, pads = _seen(x, kernel, pads, strides, dilation)
    taps, width, features = math.prod(kernel.shape[:-2]), x.shape[-1], kernel.shape[-1]

    def part(x: Array) -> Array:
        seen = _slices(_pad(x, pads), kernel.shape[:-2], strides, dilation)
        if groups == 1:
            return linear(jnp.concatenate(seen, -1), kernel.reshape(-1, features))
        cut = [s.reshape(*s.shape[:-1], groups, -1) for s in seen]  # [B, *space', G, C / G]
        weights = kernel.reshape(taps * width // groups, groups, -1)  # [k C / G, G, F / G]
        y = jnp.einsum("...gr,rgf->...gf", jnp.concatenate(cut, -1), weights)
        return y.reshape(*y.shape[:-2], -1)

    if taps == 1:
        return part(x)
    outputs = math.prod(jax.eval_shape(part, x).shape[:-1])
    return _in_parts(part, x, outputs * taps * width * x.dtype.itemsize)


def slices(x: Array, kernel: Array, strides: Sequence[int], pads: Pads, groups: int, dilation: Sequence[int]) -> Array:
    """Depthwise: channel c times its taps; with a multiplier m, outputs c m ... c m + m - 1 belong to channel c."""
    if kernel.shape[-2] != 1:
        raise ValueError(f"the form slices is for depthwise kernels [*k, 1, features], not {kernel.shape}")
    kernel, pads = _seen(x, kernel, pads, strides, dilation)
    multiplier, y = kernel.shape[-1] // groups, jnp.zeros((), x.dtype)
    seen = _slices(_pad(x, pads), kernel.shape[:-2], strides, dilation)
    for one, weights in zip(seen, kernel.reshape(len(seen), -1)):  # [B, *space', C], [C m]
        y = y + (one if multiplier == 1 else jnp.repeat(one, multiplier, -1)) * weights
    return y


def winograd(x: Array, kernel: Array, pads: Pads) -> Array:
    """F(2, 3) of Winograd along every axis (Lavin and Gray 2015, arXiv:1509.09308, section 4.1), for kernels of 3 taps.

    Two neighbouring outputs take 4 products where the definition takes 6, so 2-D takes 16 matrix products over a quarter of the
    positions: 2.25 times fewer multiplications. The transforms only add; their transposes are sums of whole slices too, so
    the gradients are as fast as the values.
    """
    rank, space = x.ndim - 2, [n + lo + hi - 2 for n, (lo, hi) in zip(x.shape[1:-1], pads)]
    x = _pad(x, [(lo, hi + n % 2) for n, (lo, hi) in zip(space, pads)])  # tiles of 2 outputs: their number is even
    weights = kernel
    for axis in range(rank):
        weights = _kernel_tiles(weights, axis)  # [4, ..., 4, C, F] in the end

    def part(x: Array) -> Array:
        tiles = x
        for axis in range(rank):
            tiles = _input_tiles(tiles, 1 + 2 * axis)  # [4, ..., 4, B, *space / 2, C] in the end
        *lead, batch = tiles.shape[: rank + 1]
        flat = tiles.reshape(math.prod(lead), -1, tiles.shape[-1])
        sums = lax.dot_general(flat, weights.reshape(len(flat), *kernel.shape[-2:]), (((2,), (1,)), ((0,), (0,))))
        return _outputs(sums.reshape(*tiles.shape[:-1], -1), rank)

    positions = math.prod(n + n % 2 for n in space) * 2**rank
    y = _in_parts(part, x, x.shape[0] * positions * sum(kernel.shape[-2:]) * x.dtype.itemsize)
    return y[(slice(None), *(slice(0, n) for n in space))]


def _kernel_tiles(kernel: Array, axis: int) -> Array:
    """G g: the axis of 3 taps becomes a leading one of 4."""
    a, b, c = (lax.index_in_dim(kernel, tap, axis, keepdims=False) for tap in range(3))
    return jnp.stack([a, (a + b + c) / 2, (a - b + c) / 2, c])


def _input_tiles(x: Array, axis: int) -> Array:
    """B^T d: an axis of 2 n + 2 elements becomes a leading one of 4 and one of n tiles, each of which sees 4 neighbours."""
    tiles = x.shape[axis] // 2
    pairs = x.reshape(*x.shape[:axis], tiles, 2, *x.shape[axis + 1 :])
    even, odd = (half.squeeze(axis + 1) for half in lax.split(pairs, (1, 1), axis + 1))
    first, third = (lax.slice_in_dim(even, at, at + tiles - 1, axis=axis) for at in (0, 1))
    second, fourth = (lax.slice_in_dim(odd, at, at + tiles - 1, axis=axis) for at in (0, 1))
    return jnp.stack([first - third, second + third, third - second, second - fourth])


def _outputs(sums: Array, rank: int) -> Array:
    """A^T m for each leading axis of 4, the last spatial axis first: [4, ..., 4, B, *space / 2, F] -> [B, *space, F]."""
    for axis in reversed(range(rank)):
        a, b, c, d = (one.squeeze(0) for one in lax.split(sums, (1, 1, 1, 1)))
        at = 2 + 2 * axis  # after the batch, the remaining leading axes and the spatial ones up to this
        y = jnp.stack([a + b + c, b - c - d], at)
        sums = y.reshape(*y.shape[: at - 1], -1, *y.shape[at + 1 :])
    return sums


def _in_parts(function: Callable[[Array], Array], x: Array, size: int) -> Array:
    """function(x), a few examples at a time where what it writes in between, `size` bytes, would leave the caches.

    That is written again in the backward pass, not kept. Examples i, i + n, ... make one part, which leaves a batch that is
    sharded over devices where it is.
    """
    batch = x.shape[0]
    parts = next(n for n in range(1, batch + 1) if batch % n == 0 and (size <= n * CACHE or n == batch))
    function = jax.checkpoint(function, prevent_cse=False)
    if parts == 1:
        return function(x)
    x = x.reshape(batch // parts, parts, *x.shape[1:]).swapaxes(0, 1)  # [parts, B / parts, *space, C]
    y = lax.map(function, x).swapaxes(0, 1)
    return y.reshape(batch, *y.shape[2:])


def _seen(x: Array, kernel: Array, pads: Pads, strides: Sequence[int],
          dilation: Sequence[int]) -> tuple[Array, Pads]:  # fmt: skip
    """Drops the outer taps that see nothing but padding: of 3 x 3 on an image of 1 x 1 only the middle one is left."""
    cut, new = [], []
    for n, k, (lo, hi), s, d in zip(x.shape[1:-1], kernel.shape, pads, strides, dilation):
        outputs = range((n + lo + hi - (k - 1) * d - 1) // s + 1)
        seen = [j for j in range(k) if any(0 <= o * s + j * d - lo < n for o in outputs)] or [0]
        first, last = seen[0], seen[-1]
        cut.append(slice(first, last + 1))
        new.append((lo - first * d, (len(outputs) - 1) * s + last * d + 1 - n - lo))
    return kernel[tuple(cut)], new


def _slices(x: Array, taps: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> list[Array]:
    """What each tap of the kernel sees of the padded x: [B, *space', C] for each tap, in row-major order."""
    sizes = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[1:-1], taps, dilation, strides)]
    slices = []
    for offset in itertools.product(*map(range, taps)):
        start = [0, *(o * d for o, d in zip(offset, dilation)), 0]
        stop = [x.shape[0], *(a + (n - 1) * s + 1 for a, n, s in zip(start[1:], sizes, strides)), x.shape[-1]]
        slices.append(lax.slice(x, start, stop, [1, *strides, 1]))
    return slices


def _pad(x: Array, pads: Pads) -> Array:
    """Zeros around the spatial axes; a negative number cuts."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)])
