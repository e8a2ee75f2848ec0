"""The networks of DCGAN (Radford, Metz and Chintala 2016, arXiv:1511.06434): convolutions only, batch norm, no pooling.

At 64 x 64 x 3 the generator has 18,885,760 parameters and the discriminator 17,232,768, those of the released faces
model: kernels of 5 x 5 with stride 2 and two zeros on each side, no biases anywhere, and in the generator a batch norm
of each of the 16,384 outputs of its linear layer rather than of its 1,024 channels. The widely used version with 4 x 4
kernels and 64 channels is another model.

We depart in eps of batch norm: 1e-5, where the released code has 1e-8.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.convolutional import start
from aigc_jax.networks.layers import BatchNorm, Conv, ConvTranspose, Dense

DOWN = ((2, 2), (2, 2))
UP = ((2, 3), (2, 3))  # the gradient of a convolution padded so: twice the size
WEIGHTS = nn.initializers.normal(0.02)  # section 4


def gain(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """N(1, 0.02^2): the gains of batch norm as released."""
    return 1 + WEIGHTS(key, shape, dtype)


class Generator(nn.Module):
    """z [B, Z] -> images [B, size, size, channels] in (-1, 1).

    size:     of the image: `levels` doublings of size / 2^levels.
    width:    channels before the last layer; they double with each level below.
    momentum: weight of the old running statistics of batch norm.
    dtype:    of the computation; parameters stay float32, images come out float32.

    Raises ValueError unless 2^levels divides the size.
    """

    size: int = 64
    channels: int = 3
    width: int = 128
    levels: int = 4
    momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, train: bool) -> Array:
        side, features = start(self.size, self.levels), self.width * 2 ** (self.levels - 1)
        h = Dense(side * side * features, use_bias=False, kernel_init=WEIGHTS, dtype=self.dtype, name="linear")(z)
        h = nn.relu(self._norm(0)(h, train)).reshape(-1, side, side, features)
        for level in range(1, self.levels):
            h = self._up(features >> level, level)(h)
            h = nn.relu(self._norm(level)(h, train))
        return jnp.tanh(self._up(self.channels, self.levels)(h).astype(jnp.float32))

    def _norm(self, level: int) -> BatchNorm:
        return BatchNorm(self.momentum, scale_init=gain, dtype=self.dtype, name=f"norm_{level}")

    def _up(self, features: int, level: int) -> ConvTranspose:
        name = f"conv_{level}"
        return ConvTranspose(
            features, (5, 5), (2, 2), UP, use_bias=False, kernel_init=WEIGHTS, dtype=self.dtype, name=name
        )


class Discriminator(nn.Module):
    """images [B, H, W, C] -> {"logits" [B], "features": one [B, h, w, c] for each level}.

    width:    channels of the first level, which has no batch norm; they double with each level.
    levels:   halvings of the image.
    momentum: weight of the old running statistics of batch norm.
    dtype:    of the computation; parameters stay float32, logits come out float32.

    Raises ValueError unless 2^levels divides the size.
    """

    width: int = 128
    levels: int = 4
    momentum: float = 0.9
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> dict[str, Any]:
        start(x.shape[1], self.levels)
        h, features = x, []
        for level in range(self.levels):
            h = Conv(self.width << level, (5, 5), (2, 2), DOWN, use_bias=False, kernel_init=WEIGHTS, dtype=self.dtype,
                     name=f"conv_{level}")(h)  # fmt: skip
            if level > 0:
                h = BatchNorm(self.momentum, scale_init=gain, dtype=self.dtype, name=f"norm_{level}")(h, train)
            h = nn.leaky_relu(h, 0.2)
            features.append(h)
        logits = Dense(1, use_bias=False, kernel_init=WEIGHTS, dtype=self.dtype, name="linear")(h.reshape(len(h), -1))
        return {"logits": logits[:, 0].astype(jnp.float32), "features": features}
