"""Logistic distributions of grey levels, one or a mixture (PixelCNN++, arXiv:1701.05517, section 2.1).

A value in [-1, 1] is one of `levels` evenly spaced ones, 2 delta apart, delta = 1 / (levels - 1). Its probability is what a
logistic of mean m and scale s has between x - delta and x + delta; the lowest value takes all below it, the highest all above:

    a = (x - m + delta) / s,  b = (x - m - delta) / s,   P = sigmoid(a) - sigmoid(b),  at the ends sigmoid(a) or 1 - sigmoid(b)

The released code falls back to the density at the middle where the difference is below 1e-5. Here the logarithm of the
difference is exact everywhere, in value and gradient,

    log P = -softplus(-a) - softplus(b) + log(1 - exp(b - a)),     a - b = 2 delta / s  alone decides the last term,

so that probabilities sum to one whatever the parameters.

A mixture has one choice of component for all channels of a pixel, and within a component green is told of red, blue of both:
m_G + c_0 x_R, m_B + c_1 x_R + c_2 x_G (eq. 3), with coefficients tanh(c) and the true x.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

LEAST = -7.0  # log-scales below are taken as this (released code): s = 0.0009, the bin of a value holds 0.97 of all


def log_logistic(x: Array, mean: Array, log_scale: Array, levels: int = 256) -> Array:
    """log P of each value, elementwise; arguments broadcast. `log_scale` is held at -7 or above."""
    delta, log_scale = 1 / (levels - 1), jnp.maximum(log_scale, LEAST)
    precision = jnp.exp(-log_scale)
    upper, lower = (x - mean + delta) * precision, (x - mean - delta) * precision
    below = -jax.nn.softplus(-upper)  # log sigmoid(a)
    above = -jax.nn.softplus(lower)  # log(1 - sigmoid(b))
    between = below + above + log_gap(2 * delta * precision, math.log(2 * delta) - log_scale)
    return jnp.where(x < -1 + delta, below, jnp.where(x > 1 - delta, above, between))


def log_gap(t: Array, log_t: Array) -> Array:
    """log(1 - exp(-t)) for t > 0; below 1e-4 as log t - t / 2, by the logarithm given: t itself may be 0 in float32."""
    small = t < 1e-4
    return jnp.where(small, log_t - t / 2, jnp.log(-jnp.expm1(-jnp.where(small, 1.0, t))))


def sample_logistic(key: Array, mean: Array, log_scale: Array) -> Array:
    """m + s logit(u), not yet clipped to [-1, 1] nor rounded to a level."""
    u = jax.random.uniform(key, jnp.broadcast_shapes(mean.shape, log_scale.shape), mean.dtype, 1e-5, 1 - 1e-5)
    return mean + jnp.exp(jnp.maximum(log_scale, LEAST)) * (jnp.log(u) - jnp.log1p(-u))


class Mixture(NamedTuple):
    """A mixture of M logistics over the C channels of a pixel.

    logits:       [..., M] of the components, which all channels of a pixel share.
    means:        [..., C, M] before the other channels are added.
    log_scales:   [..., C, M], at least -7.
    coefficients: [..., C, M] in (-1, 1): G of R, B of R, B of G for three channels; one channel has none, [..., 0, M].
    """

    logits: Array
    means: Array
    log_scales: Array
    coefficients: Array


def numbers(components: int, channels: int) -> int:
    """How many numbers of a network a pixel takes: 10 M for three channels, 3 M for one.

    Raises ValueError for another number of channels, or less than one component.
    """
    if channels not in (1, 3) or components < 1:
        raise ValueError(f"a mixture takes 1 or 3 channels and components from 1, not {channels} and {components}")
    return components * (10 if channels == 3 else 3)


def mixture(outputs: Array, channels: int = 3) -> Mixture:
    """What a network puts out for each pixel, [..., 10 M] or, of one channel, [..., 3 M], as a mixture.

    In the order of the released code: M logits, then for each channel M means, M log-scales and, of three channels, M
    coefficients. Raises ValueError where the last axis does not divide so.
    """
    width = outputs.shape[-1]
    components = width // numbers(1, channels)
    if components < 1 or width != numbers(components, channels):
        raise ValueError(f"{width} numbers a pixel are no mixture over {channels} channels: "
                         f"{numbers(1, channels)} for each component")  # fmt: skip
    logits, rest = outputs[..., :components], outputs[..., components:]
    rest = rest.reshape(*rest.shape[:-1], channels, -1, components)  # [..., C, 2 or 3, M]
    coefficients = jnp.tanh(rest[..., 2, :]) if channels == 3 else rest[..., :0, 0, :]
    return Mixture(logits, rest[..., 0, :], jnp.maximum(rest[..., 1, :], LEAST), coefficients)


def conditional_means(of: Mixture, x: Array) -> Array:
    """Means given the channels before, [..., C, M], for x [..., C]; eq. (3)."""
    if of.coefficients.shape[-2] == 0:
        return of.means
    red, green, c = x[..., 0, None], x[..., 1, None], of.coefficients  # [..., 1], [..., C, M]
    shifts = [jnp.zeros_like(c[..., 0, :]), c[..., 0, :] * red, c[..., 1, :] * red + c[..., 2, :] * green]
    return of.means + jnp.stack(shifts, axis=-2)


def log_mixture(x: Array, of: Mixture, levels: int = 256) -> Array:
    """log P of each pixel, [...], for x [..., C] in [-1, 1]."""
    channels = log_logistic(x[..., None], conditional_means(of, x), of.log_scales, levels)  # [..., C, M]
    return jax.nn.logsumexp(jax.nn.log_softmax(of.logits) + jnp.sum(channels, axis=-2), axis=-1)


def sample_mixture(key: Array, of: Mixture, levels: int | None = None) -> Array:
    """Pixels [..., C] in [-1, 1]: a component, then each channel given those before, clipped as it is drawn.

    levels: None leaves values between the levels, as the released code does; a number rounds each channel to the nearest,
            which is a draw of the probabilities above.
    """
    key_component, key_value = jax.random.split(key)
    chosen = jax.random.categorical(key_component, of.logits)[..., None, None]  # [..., 1, 1]
    means, log_scales, coefficients = (
        jnp.take_along_axis(part, chosen, axis=-1)[..., 0] for part in (of.means, of.log_scales, of.coefficients)
    )
    draws = sample_logistic(key_value, jnp.zeros_like(means), log_scales)  # [..., C], around 0
    first = on_levels(means[..., 0] + draws[..., 0], levels)
    if coefficients.shape[-1] == 0:
        return first[..., None]
    c = coefficients
    second = on_levels(means[..., 1] + c[..., 0] * first + draws[..., 1], levels)
    third = on_levels(means[..., 2] + c[..., 1] * first + c[..., 2] * second + draws[..., 2], levels)
    return jnp.stack([first, second, third], axis=-1)


def on_levels(x: Array, levels: int | None = 256) -> Array:
    """x clipped to [-1, 1] and, unless levels is None, rounded to the nearest of them."""
    x = jnp.clip(x, -1, 1)
    return x if levels is None else jnp.round((x + 1) * (levels - 1) / 2) * (2 / (levels - 1)) - 1
