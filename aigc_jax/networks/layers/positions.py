"""Fixed encodings of positions and of diffusion times, and learned tables of positions brought to another grid."""

from __future__ import annotations

import math
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array


def sinusoidal(length: int, width: int, period: float = 10_000.0, halves: bool = False) -> np.ndarray:
    """The position table of the transformer paper (arXiv:1706.03762, section 3.5), float32 [length, width].

    PE(p, 2i) = sin(p / period^(2i / width)), PE(p, 2i+1) = cos(same): sines and cosines interleaved, as in the paper; the
    code published with it has them in halves, which is another table for trained weights. An odd width has a sine more.

    halves: Marian's order, all sines before the cosines, of the paper's frequencies.
    """
    frequency = period ** (-np.arange(0, width, 2) / width)  # [width / 2]
    angle = np.arange(length)[:, None] * frequency  # [length, width / 2]
    table = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(length, -1)[:, :width].astype(np.float32)
    return np.concatenate([table[:, 0::2], table[:, 1::2]], -1) if halves else table


def resample_positions(
    table: Array,
    old: tuple[int, int],
    new: tuple[int, int],
    extra: int = 0,
    method: Literal["bicubic", "bilinear"] = "bicubic",
) -> Array:
    """A table of positions on a grid of `old` rows and columns, interpolated to one of `new`.

    table:  [extra + rows * columns, D], row by row; the first `extra` rows (class tokens) stay as they are.
    method: "bicubic" has pixel centres at halves and Keys' cubic of parameter -0.75, as torch, so DeiT, Swin, transformers;
            "bilinear" keeps the corners in the corners, as the published ViT code.

    Neither smooths when a grid shrinks. Returns [extra + rows' * columns', D]; the same grid gives the same table. Raises
    ValueError for a table of another length.
    """
    if len(table) != extra + old[0] * old[1]:
        raise ValueError(f"a table of {len(table)} positions is not {extra} and a grid of {old[0]} x {old[1]}")
    down, across = (_interpolation(a, b, method) for a, b in zip(old, new))  # [rows', rows], [columns', columns]
    grid = jnp.asarray(table[extra:]).reshape(*old, -1)
    grid = jnp.einsum("ih,jw,hwd->ijd", down, across, grid, precision="highest")
    return jnp.concatenate([table[:extra], grid.reshape(new[0] * new[1], -1).astype(table.dtype)])


def _interpolation(old: int, new: int, method: str) -> np.ndarray:
    """float32 [new, old]: the weights of the old points in each new one; points beyond an edge are the one at the edge."""
    if method == "bilinear":
        places, reach = np.arange(new) * ((old - 1) / max(new - 1, 1)), 1
    else:
        places, reach = (np.arange(new) + 0.5) * (old / new) - 0.5, 2
    weights = np.zeros((new, old))
    for step in range(1 - reach, 1 + reach):
        taps = np.floor(places) + step
        d = np.abs(places - taps)
        near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
        height = 1 - d if method == "bilinear" else np.where(d <= 1, near, far)
        np.add.at(weights, (np.arange(new), taps.clip(0, old - 1).astype(int)), height)
    return weights.astype(np.float32)


def timestep_embedding(t: Array, width: int, period: float = 10_000.0) -> Array:
    """The embedding of diffusion time of DDPM (arXiv:2006.11239, published code), [B] -> float32 [B, width].

    Sines of t * period^(-i / (width / 2 - 1)) in the first half, cosines in the second: the last frequency is exactly
    1 / period. An odd width ends in a column of zeros. Raises ValueError for a width below 4.
    """
    half = width // 2
    if half < 2:
        raise ValueError(f"a timestep embedding needs a width of at least 4, not {width}")
    frequency = jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-math.log(period) / (half - 1)))
    angle = t.astype(jnp.float32)[:, None] * frequency  # [B, width // 2]
    return jnp.pad(jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1), ((0, 0), (0, width % 2)))
