"""Pictures as rows of numbers."""

from __future__ import annotations

import math

from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector, zeros


class Flatten(Bijector):
    """x [B, *shape] -> y [B, D]."""

    shape: tuple[int, ...]

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return x.reshape(x.shape[0], -1), zeros(x)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return y.reshape(-1, *self.shape), zeros(y)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),)
