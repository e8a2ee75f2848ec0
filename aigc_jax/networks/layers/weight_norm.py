"""Weight normalization: the length of a kernel apart from its direction (Salimans and Kingma 2016, arXiv:1602.07868).

    w = g v / |v|                                        for each output, over all of its inputs and taps          (eq. 2)
    g = s / sigma[v x / |v|],  b = -g mu[v x / |v|]      so that over the first batch outputs have mean 0, deviation s  (eq. 6)

Depends on the data at the beginning alone; from then on g, v and b are parameters like others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array

from aigc_jax.networks.layers.dense import linear


def normalized(direction: Array, gain: Array | float = 1.0) -> Array:
    """The kernel [*taps, C, F] of directions in the same shape and gains [F]."""
    square = jnp.sum(jnp.square(direction), axis=tuple(range(direction.ndim - 1)))
    return direction * (gain * jax.lax.rsqrt(jnp.maximum(square, 1e-12)))


class WeightNorm(nn.Module):
    """x [B, *space, C] -> [B, *space', features] by a "direction" [*taps, C, features], a "gain" and a "bias" [features].

    taps:  of the kernel; () for a matrix.
    layer: (x, kernel) -> y, what is linear in both: `linear`, `conv` or `conv_transpose` with their options.
    scale: s, the standard deviation that an output has over the batch that `init` is given.

    That batch is looked at as a whole: where it is shared out over devices, moments are of all of it.
    """

    features: int
    taps: tuple[int, ...] = ()
    layer: Callable[[Array, Array], Array] = linear
    scale: float = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (*self.taps, x.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.normal(0.05), shape, jnp.float32)
        if self.is_initializing():
            y = self.layer(*promote_dtype(x, normalized(direction), dtype=jnp.float32))
            axes = tuple(range(y.ndim - 1))
            length = self.scale * jax.lax.rsqrt(jnp.var(y, axes) + 1e-8)
            mean = jnp.mean(y, axes)
            self.param("gain", lambda key: length)
            self.param("bias", lambda key: -length * mean)
            return (y - mean) * length
        gain = self.param("gain", nn.initializers.ones, (self.features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, normalized(direction, gain), bias, dtype=self.dtype)
        return self.layer(x, kernel) + bias

    def kernel(self) -> tuple[Array, Array]:
        """The kernel [*taps, C, features] and the bias, of a bound layer."""
        params = self.variables["params"]
        return normalized(params["direction"], params["gain"]), params["bias"]
