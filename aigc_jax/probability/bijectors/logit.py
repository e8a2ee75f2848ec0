"""The logit, which spreads a range of numbers over the line."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector
from aigc_jax.probability.distributions import sum_trailing


class Logit(Bijector):
    """y = logit(margin + (1 - 2 margin) x), x in [0, 1]: log |dy / dx| = softplus(y) + softplus(-y) + log(1 - 2 margin).

    margin: 0.05 of the released RealNVP keeps y within +-2.95 (its paper writes margin + (1 - margin) x, which reaches 1);
            0 is for x inside (0, 1), and its inverse is the sigmoid.

    Raises ValueError for a margin outside [0, 0.5).
    """

    margin: float = 0.0

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        y = jax.scipy.special.logit(self.margin + self._width() * x)
        return y, self._log_det(y)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return (jax.nn.sigmoid(y) - self.margin) / self._width(), -self._log_det(y)

    def _width(self) -> float:
        if not 0 <= self.margin < 0.5:
            raise ValueError(f"the margin of a logit lies in [0, 0.5), not at {self.margin}")
        return 1 - 2 * self.margin

    def _log_det(self, y: Array) -> Array:
        return sum_trailing(jax.nn.softplus(y) + jax.nn.softplus(-y) + jnp.asarray(math.log(self._width()), y.dtype))
