"""Actnorm: a shift and a scale for each channel, such that the first batch comes out with mean 0 and variance 1."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector, same_for_all

LOG_SCALE_FACTOR = 3.0
"""Of the released Glow: the scale is exp(3 s), so that s learns three times as fast."""


class ActNorm(Bijector):
    """y = (x + b) exp(3 s) for each channel (arXiv:1807.03039, section 3.1).

    `init` takes b and s from its x: the mean and the standard deviation of the whole batch, over places, too. Made in the
    inverse direction they are 0.
    """

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        bias, log_scale = self._numbers(x, measure=True)
        return (x + bias) * jnp.exp(log_scale), same_for_all(x, log_scale)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        bias, log_scale = self._numbers(y, measure=False)
        return y * jnp.exp(-log_scale) - bias, -same_for_all(y, log_scale)

    @nn.compact
    def _numbers(self, x: Array, measure: bool) -> tuple[Array, Array]:
        axes, shape = tuple(range(x.ndim - 1)), x.shape[-1:]

        def centre(key: Array) -> Array:
            return -jnp.mean(x, axes, jnp.float32) if measure else jnp.zeros(shape)

        def spread(key: Array) -> Array:
            deviation = jnp.std(x, axes, jnp.float32) if measure else jnp.ones(shape)
            return -jnp.log(deviation + 1e-6) / LOG_SCALE_FACTOR

        return self.param("bias", centre), LOG_SCALE_FACTOR * self.param("log_scale", spread)
