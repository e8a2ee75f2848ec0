"""Autoregressive flows: every variable is mapped by numbers that those before it give (MAF, arXiv:1705.07057).

Forward, data to noise, is one pass; the inverse takes the variables one after another, D passes. `Inverse` of it samples in
one pass and takes D for a density: IAF (arXiv:1606.04934). The order is that of the last axis: put `Reverse` or a
`Permutation` between layers for another.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector
from aigc_jax.probability.bijectors.coupling import numbers_of
from aigc_jax.probability.bijectors.elementwise import Elementwise
from aigc_jax.probability.distributions import sum_trailing


class Autoregressive(Bijector):
    """x [B, D] -> y, y_d = map(x_d; net(x)_d) with net(x)_d a function of x_1 .. x_d-1 alone.

    net: such a network, x [B, D] -> [B, D, n] (`aigc_jax.networks.made.MADE`).
    map: what is done to a variable.
    """

    net: nn.Module
    map: Elementwise

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        y, log_slopes = self.map.forward(x, numbers_of(self.net(x), x, self.map))
        return y, sum_trailing(log_slopes)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        def step(net: nn.Module, x: Array, d: Array) -> tuple[Array, Array]:
            found, log_slopes = self.map.inverse(y, numbers_of(net(x), y, self.map))  # right up to d, where x is known
            here = jnp.arange(y.shape[1]) == d
            return jnp.where(here, found, x), jnp.sum(jnp.where(here, log_slopes, 0), axis=1)

        loop = nn.scan(step, variable_broadcast=("params", "constants"), split_rngs={"params": False})
        x, log_slopes = loop(self.net, jnp.zeros_like(y), jnp.arange(y.shape[1]))
        return x, jnp.sum(log_slopes, axis=0)
