"""Mixtures of densities of one variable: of normals, or of Laplace densities.

    log p(x) = logsumexp_k [ log softmax(logits)_k + log f((x - m_k) / s_k) - log s_k ]

with f the standard density. Nothing is exponentiated before the logarithm of the sum, so that far tails keep value and
gradient. Every value has a mixture of its own; for grey levels there is `discretized_logistic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Family = Literal["normal", "laplace"]

LOG_PROB: dict[str, Callable[[Array], Array]] = {
    "normal": lambda z: -0.5 * (z**2 + math.log(2 * math.pi)),
    "laplace": lambda z: -jnp.abs(z) - math.log(2),
}
DRAW: dict[str, Callable[..., Array]] = {"normal": jax.random.normal, "laplace": jax.random.laplace}


class Mixture(NamedTuple):
    """A mixture of K components for each value.

    logits:     [..., K] of the components.
    means:      [..., K].
    log_scales: [..., K], logarithms of s: the deviation of a normal, the mean absolute one of a Laplace density.
    """

    logits: Array
    means: Array
    log_scales: Array


def log_mixture(x: Array, of: Mixture, family: Family = "normal") -> Array:
    """log p of each value, [...]."""
    z = (x[..., None] - of.means) * jnp.exp(-of.log_scales)  # [..., K]
    parts = jax.nn.log_softmax(of.logits) + LOG_PROB[family](z) - of.log_scales
    return jax.nn.logsumexp(parts, axis=-1)


def sample_mixture(key: Array, of: Mixture, family: Family = "normal") -> Array:
    """A draw for each value, [...]: a component, then of it."""
    key_component, key_value = jax.random.split(key)
    chosen = jax.random.categorical(key_component, of.logits)[..., None]  # [..., 1]
    mean, log_scale = (jnp.take_along_axis(part, chosen, axis=-1)[..., 0] for part in (of.means, of.log_scales))
    return mean + jnp.exp(log_scale) * DRAW[family](key_value, mean.shape, mean.dtype)


def rescaled(of: Mixture) -> Mixture:
    """The same mixture, but the gradient to each mean comes back times its scale (arXiv:1306.0186, section 2).

    That gradient is (x - m) / s^2 times the component's share: a tight one would move by far more than its own width.
    """
    fixed, scales = jax.lax.stop_gradient(of.means), jax.lax.stop_gradient(jnp.exp(of.log_scales))
    return of._replace(means=fixed + scales * (of.means - fixed))
