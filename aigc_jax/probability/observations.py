"""p(x|z): what a decoder puts out, as a distribution of examples.

    bernoulli            bits: one number for each, its logit
    gaussian             mean alone, of fixed deviation; or mean and log-variance for each value (arXiv:1312.6114, appendix C.2)
    discretized_logistic grey levels: mean and log-scale for each value (arXiv:1606.04934, arXiv:1701.05517)

An observation is a value: it knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.probability.discretized_logistic import log_logistic
from aigc_jax.probability.distributions import bits_per_dimension, log_bernoulli, log_normal, sum_trailing


class Observation(NamedTuple):
    """A distribution of examples [B, ..., C], told by [B, ..., C * numbers].

    numbers:  how many numbers there are for each value; side by side along the last axis, all first ones first.
    log_prob: (x, told) -> log p(x|z), [B].
    mean:     told -> E[x|z], [B, ..., C].
    bin:      what one grey level takes of the range of x, by which a density becomes a probability of levels; 1 if
              `log_prob` is one already; None where bits per dimension mean nothing.
    """

    numbers: int
    log_prob: Callable[[Array, Array], Array]
    mean: Callable[[Array], Array]
    bin: float | None = None

    def shaped(self, outputs: Array, like: Array) -> Array:
        """What a network put out for examples like `like` [B, ..., C]: [B, ..., C * numbers].

        Raises ValueError where it is too much or too little.
        """
        shape = (len(outputs), *like.shape[1:-1], like.shape[-1] * self.numbers)
        if outputs.size != math.prod(shape):
            raise ValueError(f"p(x|z) of examples {like.shape[1:]} takes {math.prod(shape[1:])} numbers, the decoder "
                             f"puts out {outputs.size // len(outputs)}")  # fmt: skip
        return outputs.reshape(shape)

    def bpd(self, nll: Array, like: Array) -> dict[str, Array]:
        """{"bpd": bits per dimension [B]} of -log p(x) in nats, of a density as of the levels it was dequantized from."""
        if self.bin is None:
            return {}
        dimensions = math.prod(like.shape[1:])
        return {"bpd": bits_per_dimension(nll - dimensions * math.log(self.bin), dimensions)}


BERNOULLI = Observation(1, log_bernoulli, jax.nn.sigmoid)


def gaussian(deviation: float | None = None, least: float = 0.01, bin: float | None = None) -> Observation:
    """N(mean, deviation^2), or, without a deviation, N(mean, exp(log_var)) with both told.

    least: of a learned deviation: a value that never varies would make the density grow without bound.

    Raises ValueError for a deviation that is not above 0.
    """
    if min(least, least if deviation is None else deviation) <= 0:
        raise ValueError(f"a deviation is above 0, not {deviation}; the least, too: {least}")
    if deviation is not None:
        log_var = 2 * math.log(deviation)
        return Observation(1, lambda x, told: log_normal(x, told, log_var), lambda told: told, bin)

    def log_prob(x: Array, told: Array) -> Array:
        mean, log_var = jnp.split(told, 2, axis=-1)
        return log_normal(x, mean, jnp.maximum(log_var, 2 * math.log(least)))

    return Observation(2, log_prob, lambda told: jnp.split(told, 2, axis=-1)[0], bin)


def discretized_logistic(levels: int = 256) -> Observation:
    """Values on `levels` evenly spaced ones in [-1, 1]; the mean shown is that of the logistic, not yet clipped.

    Raises ValueError for fewer than two levels.
    """
    if levels < 2:
        raise ValueError(f"there are at least 2 grey levels, not {levels}")

    def log_prob(x: Array, told: Array) -> Array:
        mean, log_scale = jnp.split(told, 2, axis=-1)
        return sum_trailing(log_logistic(x, mean, log_scale, levels))

    return Observation(2, log_prob, lambda told: jnp.split(told, 2, axis=-1)[0], 1.0)
