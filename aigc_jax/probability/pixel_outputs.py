"""Distributions of one pixel, or of one of its colours, given by what a network puts out for it.

A `PixelOutput` is two pure functions over any leading axes. Pixels are integers 0 .. levels - 1 in any dtype, bits included.

    bernoulli     p(1) = sigmoid(l)                               one number for each value
    categorical   p(v) = softmax(l)_v (arXiv:1601.06759, 3.3)     a number for each level: no order among them is assumed
    logistics     a mixture over all colours of a pixel (arXiv:1701.05517, 2.1-2.2; `discretized_logistic`)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.probability.discretized_logistic import log_mixture, mixture, numbers, sample_mixture
from aigc_jax.probability.distributions import log_categorical, sample_categorical


class PixelOutput(NamedTuple):
    """What a pixel is distributed as.

    levels:   values are 0 .. levels - 1.
    size:     parameters of each value; of a joint distribution, of a pixel.
    log_prob: (params [..., C, size], x [..., C]) -> log p(x) of each value [..., C]. A joint distribution of all colours of a
              pixel has (params [..., size], x [..., C]) -> [...].
    pick:     (key, params, temperature) -> a draw, as `log_prob` takes it, in the dtype of params. Probabilities are raised to
              1 / temperature.
    """

    levels: int
    size: int
    log_prob: Callable[[Array, Array], Array]
    pick: Callable[[Array, Array, float], Array]


def bernoulli() -> PixelOutput:
    """Bits, by their logits."""

    def log_prob(params: Array, x: Array) -> Array:
        logits = params[..., 0]
        return x * logits - jax.nn.softplus(logits)

    def pick(key: Array, params: Array, temperature: float = 1.0) -> Array:
        return jax.random.bernoulli(key, jax.nn.sigmoid(params[..., 0] / temperature)).astype(params.dtype)

    return PixelOutput(2, 1, log_prob, pick)


def categorical(levels: int = 256) -> PixelOutput:
    """A softmax over all levels. Raises ValueError below two."""
    if levels < 2:
        raise ValueError(f"a pixel has 2 levels at least, not {levels}")

    def log_prob(params: Array, x: Array) -> Array:
        return log_categorical(x, params)

    def pick(key: Array, params: Array, temperature: float = 1.0) -> Array:
        return sample_categorical(key, params, temperature).astype(params.dtype)

    return PixelOutput(levels, levels, log_prob, pick)


def logistics(components: int = 10, colours: int = 3, levels: int = 256) -> PixelOutput:
    """A mixture of discretized logistics: the joint distribution of the colours of a pixel, three or one.

    A draw takes one component, then colour after colour, each rounded to a level: the draws of the released code are not, but
    pixels are integers here, the probabilities are theirs, and so later pixels see what they saw in training. A temperature
    divides the logits of components and multiplies the scales of logistics: powers of a mixture have no closed form.

    Raises ValueError below two levels or one component, and for another number of colours.
    """
    if levels < 2:
        raise ValueError(f"a pixel has 2 levels at least, not {levels}")
    half = (levels - 1) / 2

    def log_prob(params: Array, x: Array) -> Array:
        return log_mixture(x.astype(params.dtype) / half - 1, mixture(params, colours), levels)

    def pick(key: Array, params: Array, temperature: float = 1.0) -> Array:
        of = mixture(params, colours)
        of = of._replace(logits=of.logits / temperature, log_scales=of.log_scales + jnp.log(temperature))
        return jnp.round((sample_mixture(key, of, levels) + 1) * half)

    return PixelOutput(levels, numbers(components, colours), log_prob, pick)
