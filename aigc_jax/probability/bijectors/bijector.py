"""What every bijector is: two functions that undo each other, each with its log-determinant."""

from __future__ import annotations

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class Bijector(nn.Module):
    """x [B, ...] <-> y [B, ...], an invertible map of each example.

    context: what the map is conditioned on, [B, ...]; most do not look at it.
    train:   statistics of the batch instead of those kept, where there are any (collection "batch_stats").
    """

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        """y, and log |det dy / dx| [B]."""
        raise NotImplementedError(type(self).__name__)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """x, and log |det dx / dy| [B]."""
        raise NotImplementedError(type(self).__name__)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y for one x of this shape, both without the batch axis."""
        return shape

    def __call__(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return self.forward_and_log_det(x, context, train)


class Identity(Bijector):
    """y = x."""

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return x, zeros(x)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return y, zeros(y)


def zeros(x: Array) -> Array:
    """The log-determinant of what keeps volumes, [B]."""
    return jnp.zeros(x.shape[0], x.dtype)


def same_for_all(x: Array, log_scale: Array) -> Array:
    """The log-determinant of a linear map of channels, [B]: the sum of `log_scale`, once at every place of x [B, *space, C]."""
    return jnp.full(x.shape[0], math.prod(x.shape[1:-1]) * jnp.sum(log_scale), x.dtype)
