"""Shifts and scales: fixed numbers for a change of range, or learned ones for each variable."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector, zeros


class Affine(Bijector):
    """y = scale x + shift with fixed numbers. Raises ValueError for a scale of 0."""

    scale: float = 1.0
    shift: float = 0.0

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return self.scale * x + self.shift, self._log_det(x)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return (y - self.shift) / self.scale, -self._log_det(y)

    def _log_det(self, x: Array) -> Array:
        if self.scale == 0:
            raise ValueError("a scale of 0 has no inverse")
        return zeros(x) + math.prod(x.shape[1:]) * math.log(abs(self.scale))


class Scaling(Bijector):
    """y = x exp(s), one learned s for each variable, 0 at first: the last layer of NICE (arXiv:1410.8516, section 3.3)."""

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        log_scale = self._log_scale(x)
        return x * jnp.exp(log_scale), zeros(x) + jnp.sum(log_scale)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        log_scale = self._log_scale(y)
        return y * jnp.exp(-log_scale), zeros(y) - jnp.sum(log_scale)

    @nn.compact
    def _log_scale(self, x: Array) -> Array:
        return self.param("log_scale", nn.initializers.zeros, x.shape[1:], jnp.float32)
