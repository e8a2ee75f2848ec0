"""Encoder and decoder of strided convolutions, for variational autoencoders (beta-VAE: Higgins et al. 2017, ICLR, table 1).

Kernels of 4 x 4 halve the picture, level by level, down to one dense layer; the decoder is the same in reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jax import Array

from aigc_jax.networks.layers import Conv, ConvTranspose, Dense

WIDTHS = (32, 32, 64, 64)


class ConvEncoder(nn.Module):
    """x [B, S, S, C] -> [B, features].

    widths: channels of each level, at S / 2, S / 4, ...
    dense:  width of the layer between; 0 leaves it out.

    Raises ValueError for pictures that do not halve so often.
    """

    features: int
    widths: Sequence[int] = WIDTHS
    dense: int = 256
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for side in x.shape[1:3]:
            start(side, len(self.widths))
        for level, width in enumerate(self.widths):
            x = nn.relu(Conv(width, (4, 4), (2, 2), dtype=self.dtype, name=f"conv_{level}")(x))
        x = x.reshape(len(x), -1)
        if self.dense:
            x = nn.relu(Dense(self.dense, dtype=self.dtype, name="dense")(x))
        return Dense(self.features, dtype=self.dtype, name="out")(x)


class ConvDecoder(nn.Module):
    """z [B, L] -> [B, size, size, features]; widths as of the encoder whose reverse it is.

    Raises ValueError for a size that does not halve so often.
    """

    size: int
    features: int
    widths: Sequence[int] = WIDTHS
    dense: int = 256
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array) -> Array:
        side = start(self.size, len(self.widths))
        if self.dense:
            z = nn.relu(Dense(self.dense, dtype=self.dtype, name="dense")(z))
        x = nn.relu(Dense(side * side * self.widths[-1], dtype=self.dtype, name="in")(z))
        x = x.reshape(len(z), side, side, self.widths[-1])
        for level in range(len(self.widths) - 1, 0, -1):
            x = nn.relu(
                ConvTranspose(self.widths[level - 1], (4, 4), (2, 2), dtype=self.dtype, name=f"conv_{level}")(x)
            )
        return ConvTranspose(self.features, (4, 4), (2, 2), dtype=self.dtype, name="conv_0")(x)


def start(size: int, levels: int) -> int:
    """The side of the picture after so many halvings. Raises ValueError where it is no whole number."""
    if levels < 1 or size % 2**levels:
        raise ValueError(f"{levels} halvings need a size that {2**levels} divides, got {size}")
    return size >> levels
