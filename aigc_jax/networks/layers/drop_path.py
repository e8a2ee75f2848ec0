"""Stochastic depth (arXiv:1603.09382): in training, a residual branch is left out of some examples.

    y = x + b / (1 - rate) F(x),   b ~ Bernoulli(1 - rate) for each example

so that the branch keeps its expectation and evaluation needs no factor; the paper multiplies by 1 - rate there instead.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


class DropPath(nn.Module):
    """A residual branch [B, ...], zeroed in a share `rate` of the examples and divided by 1 - rate in the others.

    The identity where `train` is False or the rate is 0. Draws from the stream "dropout". Raises ValueError for a rate
    outside [0, 1).
    """

    rate: float = 0.0

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        if not 0 <= self.rate < 1:
            raise ValueError(f"a drop path rate must lie in [0, 1), got {self.rate}")
        if not train or self.rate == 0:
            return x
        return drop_path(x, self.rate, self.make_rng("dropout"))


def drop_path(x: Array, rate: Array | float, key: Array) -> Array:
    """A branch as `DropPath` gives it in training; the rate may be traced, as where a scan runs over blocks."""
    keep = 1 - rate
    kept = jax.random.bernoulli(key, keep, (x.shape[0],) + (1,) * (x.ndim - 1))
    return jnp.where(kept, x / keep, 0).astype(x.dtype)


def linear_rates(rate: float, depth: int) -> tuple[float, ...]:
    """The rates of `depth` blocks: linear from 0 in the first to `rate` in the last, as DeiT and Swin have them."""
    return tuple(rate * index / max(depth - 1, 1) for index in range(depth))
