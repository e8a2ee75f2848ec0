"""Densities, divergences and draws, per example: every axis but the first is summed, [B, ...] -> [B].

Logs are natural. A variance is given by its logarithm, a Bernoulli probability by its logit: both are what networks put
out, and neither can leave its range.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def sum_trailing(x: Array) -> Array:
    """[B, ...] -> [B]: the sum over every axis but the first."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def log_bernoulli(x: Array, logits: Array) -> Array:
    """log p(x) = sum_d x_d l_d - softplus(l_d) of independent bits with logits l; [B, ...] -> [B].

    A grey x in [0, 1] gives minus the cross-entropy to it: a usual training loss, but the logarithm of no density.
    """
    return sum_trailing(x * logits - jax.nn.softplus(logits))


def log_categorical(x: Array, logits: Array) -> Array:
    """log softmax(logits)[x] of every element by itself: codes int [...], logits [..., V] -> [...].

    The logit of the code is picked by comparison: a gather would scatter its gradient into zeros as large as the logits.
    """
    picked = jnp.arange(logits.shape[-1]) == x[..., None]
    return jnp.sum(jnp.where(picked, logits, 0), -1) - jax.nn.logsumexp(logits, -1)


def log_normal(x: Array, mean: ArrayLike, log_var: ArrayLike) -> Array:
    """log N(x; mean, diag exp(log_var)); [B, ...] -> [B]. `mean` and `log_var` broadcast against x."""
    log_var = jnp.broadcast_to(log_var, x.shape)
    return -0.5 * sum_trailing((x - mean) ** 2 * jnp.exp(-log_var) + log_var + math.log(2 * math.pi))


def log_standard_logistic(x: Array) -> Array:
    """log p(x) of independent logistic variables of mean 0 and scale 1; [B, ...] -> [B]."""
    return -sum_trailing(jax.nn.softplus(x) + jax.nn.softplus(-x))


def gaussian_kl(mean: Array, log_var: Array, prior_mean: ArrayLike = 0.0, prior_log_var: ArrayLike = 0.0) -> Array:
    """KL(N(mean, exp log_var) || N(prior_mean, exp prior_log_var)), both diagonal; [B, ...] -> [B].

    The other arguments broadcast against `mean`. The prior is N(0, I) unless given: then 1/2 sum mean^2 + var - 1 -
    log var (arXiv:1312.6114, appendix B).
    """
    ratio, precision = log_var - prior_log_var, jnp.exp(jnp.negative(prior_log_var))
    return 0.5 * sum_trailing((mean - prior_mean) ** 2 * precision + jnp.exp(ratio) - 1 - ratio)


def sample_normal(key: Array, mean: Array, log_var: ArrayLike = 0.0) -> Array:
    """mean + std * noise: a draw through which gradients pass to mean and log_var (reparameterisation)."""
    return mean + jnp.exp(0.5 * jnp.asarray(log_var)) * jax.random.normal(key, mean.shape, mean.dtype)


def sample_bernoulli(key: Array, logits: Array) -> Array:
    """Independent bits as 0. and 1. in the dtype of the logits."""
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)


def check_temperature(temperature: float) -> None:
    """Raises ValueError below 0, and for NaN. Of 0 there is no distribution: what draws takes the likeliest."""
    if not temperature >= 0:
        raise ValueError(f"a temperature is at least 0, not {temperature}")


def sample_categorical(key: Array, logits: Array, temperature: float = 1.0) -> Array:
    """Codes [...] by logits [..., V] that are divided by a temperature; 0 takes the likeliest. Raises ValueError below 0."""
    check_temperature(temperature)
    return jax.random.categorical(key, logits / temperature) if temperature else jnp.argmax(logits, -1)


def log_mean_exp(x: Array, axis: int = 0) -> Array:
    """log of the mean of exp(x) along an axis, without overflow."""
    return jax.nn.logsumexp(x, axis=axis) - math.log(x.shape[axis])


def bits_per_dimension(nats: Array, dimensions: ArrayLike) -> Array:
    """Nats of an example of so many dimensions, as bits for each of them."""
    return nats / (dimensions * math.log(2))
