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
off again: what transformers and timm do, for the paper's sizes never need it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.networks.layers import Dense, LayerNorm, attention, linear_rates, patchify
from aigc_jax.networks.transformer_block import SMALL, Block, patch_map, qkv, split_heads

SIZES = {
    "T": dict(width=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24)),
    "S": dict(width=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24)),
    "B": dict(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32)),
    "L": dict(width=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48)),
}
"""Section 3.3."""


class Swin(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:   0 leaves the last layer out: the logits are then the pooled features.
    width:     C of the first stage; it doubles from stage to stage.
    heads:     of each stage.
    window:    M.
    drop_path: stochastic depth of the last block; it grows linearly over all stages from 0.
    remat:     compute the activations of a block again in the backward pass instead of keeping them.
    dtype:     of the computation; parameters stay float32, logits come out float32.

    Features: `stage_1`, `stage_2`, ... [B, H', W', C'] before merging, and `pooled` [B, D], the mean of the last after its
    norm. Raises ValueError for heads that do not divide the width, or as many depths as heads are not given.
    """

    classes: int = 1000
    patch: int = 4
    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    ratio: float = 4.0
    drop_path: float = 0.0
    eps: float = 1e-5
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        if len(self.depths) != len(self.heads):
            raise ValueError(f"{len(self.depths)} stages have {len(self.heads)} numbers of heads")
        x = self._embed(x)
        drops = iter(linear_rates(self.drop_path, sum(self.depths)))

        def run(block: nn.Module, x: Array, drop: float | None) -> Array:
            return block(x, drop, train)

        step = nn.remat(run) if self.remat else run
        features = {}
        for stage, (depth, heads) in enumerate(zip(self.depths, self.heads), start=1):
            if stage > 1:
                x = Merge(self.eps, self.dtype, name=f"merge_{stage - 1}")(x)
            for index in range(depth):
                mixer = partial(WindowAttention, heads, self.window, bool(index % 2), self.dtype)
                block = Block(mixer, int(self.ratio * x.shape[-1]), self.eps, dtype=self.dtype,
                              name=f"stage_{stage}_block_{index}")  # fmt: skip
                drop = next(drops)
                x = step(block, x, drop if train and drop else None)
            features[f"stage_{stage}"] = x
        x = LayerNorm(self.eps, dtype=self.dtype, name="norm")(x)
        features["pooled"] = jnp.mean(x, (1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))  # [B, D]
        if not self.classes:
            return features["pooled"], features
        logits = Dense(self.classes, kernel_init=SMALL, dtype=self.dtype, name="head")(features["pooled"])
        return logits.astype(jnp.float32), features

    def _embed(self, x: Array) -> Array:
        x = patchify(fill(x, self.patch), self.patch)
        x = patch_map(self.width, x.shape[-1], self.dtype)(x)
        return LayerNorm(self.eps, dtype=self.dtype, name="norm_patches")(x)


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
    window: int
    shifted: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        height, width, channels = x.shape[1:]
        size = min(self.window, height, width)
        shift = size // 2 if self.shifted and min(height, width) > self.window else 0
        x = fill(x, size)
        bias = self._bias(size)[None]  # [1, heads, M^2, M^2]
        if shift:
            x = jnp.roll(x, (-shift, -shift), (1, 2))
            whole = same_region(x.shape[1], x.shape[2], size, shift)  # [windows, M^2, M^2]
            bias = bias + np.where(whole, 0, np.float32(-100))[:, None]
            bias = jnp.tile(bias, (x.shape[0], 1, 1, 1))  # [B * windows, heads, M^2, M^2]
        q, k, v = split_heads(self.heads, qkv(to_windows(x, size), True, SMALL, self.dtype))
        y = attention(q, k, v, bias=bias).reshape(-1, size * size, channels)
        y = Dense(channels, kernel_init=SMALL, dtype=self.dtype, name="out")(y)
        y = from_windows(y, x.shape[1], x.shape[2])
        y = jnp.roll(y, (shift, shift), (1, 2)) if shift else y
        return y[:, :height, :width]

    def _bias(self, size: int) -> Array:
        """B, [heads, M^2, M^2]."""
        table = self.param("bias_table", SMALL, ((2 * size - 1) ** 2, self.heads), jnp.float32)
        return table[relative_index(size)].transpose(2, 0, 1)


def relative_index(size: int) -> np.ndarray:
    """The row of the table for every pair of query and key in a window, int [M^2, M^2].

    (dr + M - 1) (2 M - 1) + dc + M - 1 for a query dr rows and dc columns after its key.
    """
    place = np.stack(np.divmod(np.arange(size * size), size), -1)  # [M^2, 2], row and column
    apart = place[:, None] - place[None] + size - 1
    return apart[..., 0] * (2 * size - 1) + apart[..., 1]


def same_region(height: int, width: int, size: int, shift: int) -> np.ndarray:
    """Whether query and key of a rolled map lie on one side of every seam, bool [windows, M^2, M^2].

    An axis of n tokens falls into [0, n - M), [n - M, n - shift) and [n - shift, n): what was rolled in, what it meets in
    its window, and the rest.
    """
    row, column = ((np.arange(n) >= n - size).astype(int) + (np.arange(n) >= n - shift) for n in (height, width))
    region = (3 * row[:, None] + column)[None, ..., None]  # [1, H, W, 1]
    region = np.asarray(to_windows(region, size))[..., 0]  # [windows, M^2]
    return region[:, :, None] == region[:, None]


def to_windows(x: Any, size: int) -> Any:
    """[B, H, W, C] -> [B * windows, M^2, C], windows row by row."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // size, size, width // size, size, channels).swapaxes(2, 3)
    return x.reshape(-1, size * size, channels)


def from_windows(x: Array, height: int, width: int) -> Array:
    """[B * windows, M^2, C] -> [B, H, W, C]."""
    size, channels = int(x.shape[1] ** 0.5), x.shape[-1]
    x = x.reshape(-1, height // size, width // size, size, size, channels).swapaxes(2, 3)
    return x.reshape(-1, height, width, channels)


def fill(x: Array, size: int) -> Array:
    """Zeros below and to the right, until `size` divides height and width."""
    below, right = (-n % size for n in x.shape[1:3])
    return jnp.pad(x, ((0, 0), (0, below), (0, right), (0, 0))) if below or right else x
