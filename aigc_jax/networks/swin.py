"""Swin: hierarchical vision transformer using shifted windows (arXiv:2103.14030).

    z'_l = z_{l-1} + attention within windows(norm(z_{l-1}))        eq. (3); every second block shifts the windows
    z_l  = z'_l    + W_down gelu(W_up norm(z'_l))
    attention(q, k, v) = softmax(q k^T / sqrt(K) + B) v             eq. (4)

Windows are M x M tokens; B is looked up by how far query and key lie apart, in a table of (2 M - 1)^2 rows for each head.
Blocks come in pairs: the second of a pair rolls the map by M // 2 towards the origin, attends, and rolls back. Windows at
the far edges then hold parts that are no neighbours: pairs across a seam get -100, as in the published code, not -inf.

Between stages four neighbours, in the order (0, 0), (1, 0), (0, 1), (1, 1) of row and column, become one token by a norm
and a linear map 4 C -> 2 C without bias. Where a map is no larger than a window, the window is the map and nothing shifts.
Where windows, merging or patches do not fill a map, zeros are appended below and to the right (after the norm), and cut
off again, for the paper's sizes never need it: before the map is rolled, as in the code for detection and in transformers,
or after it (`fill_last`), as in timm.

The ports differ where a window meets the edge of a map it could hold (`fit`): the window becomes a square as large as the
shorter side ("square", as published), or is cut by the axis ("axis", timm), or the map is filled up ("full", torchvision).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.networks.layers import Dense, LayerNorm, attention, linear_rates, mean_over_space, pair, patchify
from aigc_jax.networks.transformer_block import SMALL, Block, patch_map, qkv, split_heads

SIZES = {
    "T": dict(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "S": dict(width=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)),
    "B": dict(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
    "L": dict(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48)),
}
"""Section 3.3."""

Fit = Literal["square", "axis", "full"]


class Swin(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:    0 leaves the last layer out: the logits are then the pooled features.
    patch:      pixels of a side, or (rows, columns).
    width:      C of the first stage; it doubles from stage to stage.
    heads:      of each stage.
    window:     M, or (rows, columns).
    ratio:      width inside the MLPs by that of the stage.
    positions:  a table of positions beside that of the windows, which the paper found not to help.
    qkv_bias:   whether the map to queries, keys and values has one.
    activation: within the MLPs, a name of `layers.ACTIVATIONS`.
    fit:        of windows into maps no larger than they are; `fill_last` rolls a map before it is filled, see above.
    drop_path:  stochastic depth of the last block; it grows linearly over all stages from 0.
    eps_merge:  of the norms of patches and of merging; None is `eps`.
    remat:      compute the activations of a block again in the backward pass instead of keeping them.
    dtype:      of the computation; parameters stay float32, logits come out float32.

    Features: `stage_1`, `stage_2`, ... [B, H', W', C'] before merging, `tokens`, the last of them after its norm, and
    `pooled` [B, D], the mean of that. Raises ValueError for heads that do not divide the width, or as many depths as heads
    are not given.
    """

    classes: int = 1000
    patch: int | tuple[int, int] = 4
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int | tuple[int, int] = 7
    ratio: float = 4.0
    positions: bool = False
    qkv_bias: bool = True
    activation: str = "gelu"
    fit: Fit = "square"
    fill_last: bool = False
    drop_path: float = 0.0
    eps: float = 1e-5
    eps_merge: float | None = None
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        if len(self.depths) != len(self.heads):
            raise ValueError(f"{len(self.depths)} stages have {len(self.heads)} numbers of heads")
        early = self.eps if self.eps_merge is None else self.eps_merge
        x = self._embed(x, early)
        drops = iter(linear_rates(self.drop_path, sum(self.depths)))

        def run(block: nn.Module, x: Array, drop: float | None) -> Array:
            return block(x, drop, train)

        step = nn.remat(run) if self.remat else run
        features = {}
        for stage, (depth, heads) in enumerate(zip(self.depths, self.heads), start=1):
            if stage > 1:
                x = Merge(early, self.dtype, name=f"merge_{stage - 1}")(x)
            for index in range(depth):
                mixer = partial(WindowAttention, heads, self.window, bool(index % 2), self.qkv_bias, self.fit,
                                self.fill_last, self.dtype)  # fmt: skip
                block = Block(mixer, int(self.ratio * x.shape[-1]), self.eps, self.activation, dtype=self.dtype,
                              name=f"stage_{stage}_block_{index}")  # fmt: skip
                drop = next(drops)
                x = step(block, x, drop if train and drop else None)
            features[f"stage_{stage}"] = x
        features["tokens"] = x = LayerNorm(self.eps, dtype=self.dtype, name="norm")(x)
        features["pooled"] = mean_over_space(x)  # [B, D]
        if not self.classes:
            return features["pooled"], features
        logits = Dense(self.classes, kernel_init=SMALL, dtype=self.dtype, name="head")(features["pooled"])
        return logits.astype(jnp.float32), features

    def _embed(self, x: Array, eps: float) -> Array:
        x = patchify(fill(x, self.patch), self.patch)
        x = patch_map(self.width, x.shape[-1], self.dtype)(x)
        x = LayerNorm(eps, dtype=self.dtype, name="norm_patches")(x)
        if not self.positions:
            return x
        table = self.param("positions", SMALL, (x.shape[1] * x.shape[2], x.shape[3]), jnp.float32)
        return x + table.astype(x.dtype).reshape(x.shape[1:])


class Merge(nn.Module):
    """Patch merging, [B, H, W, C] -> [B, H / 2, W / 2, 2 C]."""

    eps: float
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x, width = fill(x, 2), x.shape[-1]
        x = jnp.concatenate([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], -1)  # [B, H/2, W/2, 4 C]
        x = LayerNorm(self.eps, dtype=self.dtype, name="norm")(x)
        return Dense(2 * width, use_bias=False, kernel_init=SMALL, dtype=self.dtype, name="reduction")(x)


class WindowAttention(nn.Module):
    """Attention within windows, [B, H, W, C] -> the same."""

    heads: int
    window: int | tuple[int, int]
    shifted: bool
    qkv_bias: bool = True
    fit: Fit = "square"
    fill_last: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        height, width, channels = x.shape[1:]
        size, shift = fitted(pair(self.window), (height, width), self.fit)
        shift = shift if self.shifted else (0, 0)
        x = fill(roll(x, shift, -1), size) if self.fill_last else roll(fill(x, size), shift, -1)
        bias = self._bias(size)[None]  # [1, heads, M^2, M^2]
        if any(shift):
            whole = same_region(x.shape[1], x.shape[2], size, shift)  # [windows, M^2, M^2]
            bias = bias + np.where(whole, 0, np.float32(-100))[:, None]
            bias = jnp.tile(bias, (x.shape[0], 1, 1, 1))  # [B * windows, heads, M^2, M^2]
        q, k, v = split_heads(self.heads, qkv(to_windows(x, size), self.qkv_bias, SMALL, self.dtype))
        y = attention(q, k, v, bias=bias).reshape(-1, size[0] * size[1], channels)
        y = Dense(channels, kernel_init=SMALL, dtype=self.dtype, name="out")(y)
        y = from_windows(y, x.shape[1], x.shape[2], size)
        if self.fill_last:
            return roll(y[:, :height, :width], shift, 1)
        return roll(y, shift, 1)[:, :height, :width]

    def _bias(self, size: tuple[int, int]) -> Array:
        """B, [heads, M^2, M^2]."""
        rows = (2 * size[0] - 1) * (2 * size[1] - 1)
        table = self.param("bias_table", SMALL, (rows, self.heads), jnp.float32)
        return table[relative_index(size)].transpose(2, 0, 1)


def fitted(window: tuple[int, int], shape: tuple[int, int], fit: Fit) -> tuple[tuple[int, int], tuple[int, int]]:
    """The windows of a map of `shape` tokens, and how far they shift; no axis shifts that a window holds whole."""
    held = [n <= m for n, m in zip(shape, window)]
    if fit == "square" and any(held):
        return (min(shape), min(shape)), (0, 0)
    size = window if fit == "full" else (min(shape[0], window[0]), min(shape[1], window[1]))
    return size, (0 if held[0] else window[0] // 2, 0 if held[1] else window[1] // 2)


def relative_index(size: int | tuple[int, int]) -> np.ndarray:
    """The row of the table for every pair of query and key in a window, int [M^2, M^2].

    (dr + M - 1) (2 M - 1) + dc + M - 1 for a query dr rows and dc columns after its key.
    """
    rows, columns = pair(size)
    place = np.stack(np.divmod(np.arange(rows * columns), columns), -1)  # [M^2, 2], row and column
    apart = place[:, None] - place[None] + (rows - 1, columns - 1)
    return apart[..., 0] * (2 * columns - 1) + apart[..., 1]


def same_region(height: int, width: int, size: int | tuple[int, int], shift: int | tuple[int, int]) -> np.ndarray:
    """Whether query and key of a rolled map lie on one side of every seam, bool [windows, M^2, M^2].

    An axis of n tokens falls into [0, n - M), [n - M, n - shift) and [n - shift, n): what was rolled in, what it meets in
    its window, and the rest.
    """
    row, column = ((np.arange(n) >= n - m).astype(int) + (np.arange(n) >= n - far)
                   for n, m, far in zip((height, width), pair(size), pair(shift)))  # fmt: skip
    region = (3 * row[:, None] + column)[None, ..., None]  # [1, H, W, 1]
    region = np.asarray(to_windows(region, size))[..., 0]  # [windows, M^2]
    return region[:, :, None] == region[:, None]


def to_windows(x: Any, size: int | tuple[int, int]) -> Any:
    """[B, H, W, C] -> [B * windows, M^2, C], windows row by row."""
    batch, height, width, channels = x.shape
    down, across = pair(size)
    x = x.reshape(batch, height // down, down, width // across, across, channels).swapaxes(2, 3)
    return x.reshape(-1, down * across, channels)


def from_windows(x: Array, height: int, width: int, size: int | tuple[int, int]) -> Array:
    """[B * windows, M^2, C] -> [B, H, W, C]."""
    down, across = pair(size)
    x = x.reshape(-1, height // down, width // across, down, across, x.shape[-1]).swapaxes(2, 3)
    return x.reshape(-1, height, width, x.shape[-1])


def roll(x: Array, shift: tuple[int, int], sign: int) -> Array:
    """The map moved by that many rows and columns, times `sign`; what leaves at one edge enters at the other."""
    return jnp.roll(x, (sign * shift[0], sign * shift[1]), (1, 2)) if any(shift) else x


def fill(x: Array, size: int | tuple[int, int]) -> Array:
    """Zeros below and to the right, until `size` divides height and width."""
    below, right = (-n % m for n, m in zip(x.shape[1:3], pair(size)))
    return jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0))) if below or right else x
