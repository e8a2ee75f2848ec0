"""Maps of single numbers, each given by a few others: what couplings and autoregressive flows do to a variable.

They are values with formulas; who gives the numbers is another matter. h [..., n] are the n numbers of each x [...].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

Map = Callable[[Array, Array], tuple[Array, Array]]


class Elementwise(NamedTuple):
    """A monotone map of each variable.

    numbers: n, how many numbers give it.
    forward: x [...], h [..., n] -> y [...], log dy / dx [...].
    inverse: y [...], h [..., n] -> x [...], log dx / dy [...].
    """

    numbers: int
    forward: Map
    inverse: Map


def additive() -> Elementwise:
    """y = x + h: NICE."""
    return Elementwise(
        1, lambda x, h: (x + h[..., 0], jnp.zeros_like(x)), lambda y, h: (y - h[..., 0], jnp.zeros_like(y))
    )


def affine(log_scale: Callable[[Array], Array] = lambda h: h) -> Elementwise:
    """y = (x + h_0) exp(log_scale(h_1)): shift, then scale, as the released RealNVP and Glow have it.

    log_scale: Glow's is log sigmoid(h + 2), so that a scale begins near 1 and stays below it.
    """

    def forward(x: Array, h: Array) -> tuple[Array, Array]:
        s = log_scale(h[..., 1])
        return (x + h[..., 0]) * jnp.exp(s), s

    def inverse(y: Array, h: Array) -> tuple[Array, Array]:
        s = log_scale(h[..., 1])
        return y * jnp.exp(-s) - h[..., 0], -s

    return Elementwise(2, forward, inverse)


def standardize() -> Elementwise:
    """y = (x - mean) exp(-log_std), h = (mean, log_std): x ~ N(mean, std^2) becomes y ~ N(0, 1); MAF's eq. 4, Glow's priors."""

    def forward(x: Array, h: Array) -> tuple[Array, Array]:
        return (x - h[..., 0]) * jnp.exp(-h[..., 1]), -h[..., 1]

    def inverse(y: Array, h: Array) -> tuple[Array, Array]:
        return y * jnp.exp(h[..., 1]) + h[..., 0], h[..., 1]

    return Elementwise(2, forward, inverse)
