"""The monotone rational-quadratic spline of neural spline flows (arXiv:1906.04032, section 3.1).

K bins between knots (x_k, y_k) with derivatives d_k. In a bin of width w and height h, with s = h / w and t = (x - x_k) / w,

    y = y_k + h [s t^2 + d_k t (1 - t)] / [s + (d_k + d_k+1 - 2 s) t (1 - t)]                                       (eq. 4)
    dy / dx = s^2 [d_k+1 t^2 + 2 s t (1 - t) + d_k (1 - t)^2] / [s + (d_k + d_k+1 - 2 s) t (1 - t)]^2               (eq. 5)

and the inverse is a root of a quadratic, t = 2 c / (-b - sqrt(b^2 - 4 a c)) (eqs. 6 to 8). Outside [-bound, bound] y = x, and
the derivatives at the ends are 1, so that value and derivative are continuous everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.probability.bijectors.elementwise import Elementwise

LEAST = 1e-3
"""Of a width and a height, as a share of the whole, and of an inner derivative: as released."""


class Bin(NamedTuple):
    """The bin of each variable, [...] each: left lower corner, width, height, derivatives at its two ends."""

    x: Array
    y: Array
    width: Array
    height: Array
    left: Array
    right: Array


def rational_quadratic(bins: int = 8, bound: float = 3.0) -> Elementwise:
    """The spline of `bins` bins on [-bound, bound]; 3 bins - 1 numbers a variable: widths, heights, inner derivatives.

    Widths and heights are softmaxes, derivatives softplus, each kept above `LEAST`. Raises ValueError for fewer than 1 bin,
    1 / LEAST or more, or a bound that is not positive.
    """
    if not 1 <= bins < 1 / LEAST or bound <= 0:
        raise ValueError(f"a spline has 1 to {round(1 / LEAST) - 1} bins and a bound above 0, not {bins} and {bound}")

    def forward(x: Array, h: Array) -> tuple[Array, Array]:
        inside = jnp.abs(x) <= bound
        within = jnp.where(inside, x, 0)
        at = _find(within, h, bins, bound, by_height=False)
        t = (within - at.x) / at.width
        y, log_slope = _curve(t, at)
        return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0)

    def inverse(y: Array, h: Array) -> tuple[Array, Array]:
        inside = jnp.abs(y) <= bound
        within = jnp.where(inside, y, 0)
        at = _find(within, h, bins, bound, by_height=True)
        s, rise = at.height / at.width, within - at.y
        bend = at.left + at.right - 2 * s
        a, b, c = rise * bend + at.height * (s - at.left), at.height * at.left - rise * bend, -s * rise
        root = jnp.sqrt(jnp.maximum(jnp.square(b) - 4 * a * c, 0))  # at a knot round-off may leave it below 0
        t = jnp.clip(2 * c / (-b - root), 0, 1)
        _, log_slope = _curve(t, at)
        return jnp.where(inside, at.x + t * at.width, y), jnp.where(inside, -log_slope, 0)

    return Elementwise(3 * bins - 1, forward, inverse)


def _curve(t: Array, at: Bin) -> tuple[Array, Array]:
    """y and log dy / dx at the share t of the bin's width."""
    s, mixed = at.height / at.width, t * (1 - t)
    below = s + (at.left + at.right - 2 * s) * mixed
    y = at.y + at.height * (s * t**2 + at.left * mixed) / below
    above = at.right * t**2 + 2 * s * mixed + at.left * (1 - t) ** 2
    return y, 2 * jnp.log(s) + jnp.log(above) - 2 * jnp.log(below)


def _find(x: Array, h: Array, bins: int, bound: float, by_height: bool) -> Bin:
    """The bin that x lies in, or, by height, that y does."""
    widths, heights, inner = jnp.split(h, (bins, 2 * bins), axis=-1)
    x_knots, y_knots = _knots(widths, bound), _knots(heights, bound)  # [..., K + 1]
    ones = jnp.ones((*h.shape[:-1], 1), h.dtype)
    slopes = jnp.concatenate([ones, LEAST + jax.nn.softplus(inner), ones], axis=-1)  # [..., K + 1]
    knots = y_knots if by_height else x_knots
    number = jnp.sum(x[..., None] >= knots[..., 1:-1], axis=-1)
    chosen = jax.nn.one_hot(number, bins, dtype=h.dtype)  # a product with it has no scatter in its gradient

    def pick(values: Array) -> Array:
        return jnp.sum(values * chosen, axis=-1)

    x_left, y_left = pick(x_knots[..., :-1]), pick(y_knots[..., :-1])
    width, height = pick(jnp.diff(x_knots, axis=-1)), pick(jnp.diff(y_knots, axis=-1))
    return Bin(x_left, y_left, width, height, pick(slopes[..., :-1]), pick(slopes[..., 1:]))


def _knots(h: Array, bound: float) -> Array:
    """[..., K] -> K + 1 rising numbers from -bound to bound, exactly so at both ends."""
    shares = LEAST + (1 - LEAST * h.shape[-1]) * jax.nn.softmax(h, axis=-1)
    inner = bound * (2 * jnp.cumsum(shares, axis=-1)[..., :-1] - 1)
    end = jnp.full((*h.shape[:-1], 1), bound, h.dtype)
    return jnp.concatenate([-end, inner, end], axis=-1)
