"""Encoder and decoder of VQ-VAE (arXiv:1711.00937, section 4.1): strided convolutions and a stack of residual blocks.

Two convolutions of 4 x 4 with stride 2, then residual blocks ReLU, 3 x 3, ReLU, 1 x 1; the decoder in reverse. As released,
the first (and the last but one) level has half the channels, a 3 x 3 convolution stands before either stack, a ReLU after it,
and a 1 x 1 convolution brings the encoder's output to the width of a code. `residual` is the width inside a block: the
paper's 256, the released code's 32.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
from jax import Array

from aigc_jax.networks.convolutional import start
from aigc_jax.networks.layers import Conv, ConvTranspose, Dense


class ResidualStack(nn.Module):
    """x [B, H, W, width] -> the same shape, after `blocks` blocks and a ReLU."""

    width: int
    residual: int
    blocks: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for block in range(self.blocks):
            h = Conv(self.residual, (3, 3), dtype=self.dtype, name=f"conv_{block}")(nn.relu(x))
            x = x + Dense(self.width, dtype=self.dtype, name=f"out_{block}")(nn.relu(h))
        return nn.relu(x)


class Encoder(nn.Module):
    """x [B, S, S, C] -> [B, S / 2^levels, S / 2^levels, features].

    features: width of a code.
    width:    channels of the residual stack; half of them at the levels before the last.
    levels:   halvings of the picture.

    Raises ValueError for pictures that do not halve so often.
    """

    features: int = 64
    width: int = 256
    residual: int = 256
    blocks: int = 2
    levels: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for side in x.shape[1:3]:
            start(side, self.levels)
        for level in range(self.levels):
            width = self.width if level == self.levels - 1 else self.width // 2
            x = nn.relu(Conv(width, (4, 4), (2, 2), dtype=self.dtype, name=f"down_{level}")(x))
        x = Conv(self.width, (3, 3), dtype=self.dtype, name="conv")(x)
        x = ResidualStack(self.width, self.residual, self.blocks, dtype=self.dtype, name="stack")(x)
        return Dense(self.features, dtype=self.dtype, name="to_code")(x)


class Decoder(nn.Module):
    """Codes [B, h, w, D] -> [B, h 2^levels, w 2^levels, channels]."""

    channels: int = 3
    width: int = 256
    residual: int = 256
    blocks: int = 2
    levels: int = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array) -> Array:
        x = Conv(self.width, (3, 3), dtype=self.dtype, name="conv")(z)
        x = ResidualStack(self.width, self.residual, self.blocks, dtype=self.dtype, name="stack")(x)
        for level in range(self.levels - 1, 0, -1):
            x = nn.relu(ConvTranspose(self.width // 2, (4, 4), (2, 2), dtype=self.dtype, name=f"up_{level}")(x))
        return ConvTranspose(self.channels, (4, 4), (2, 2), dtype=self.dtype, name="up_0")(x)
