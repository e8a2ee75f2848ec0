"""Couplings: one part of the variables gives the numbers by which the other is mapped (arXiv:1410.8516, arXiv:1605.08803).

The Jacobian is triangular, so that the determinant is the product of the derivatives of the part that is mapped, and the
inverse costs as much as the map. The network that gives the numbers, the conditioner, is passed in:

    net(x_a, context, train) -> [B, ...], for each variable of the mapped part its n numbers side by side, variable by
    variable.

For pictures these are channels c n + i: of an affine coupling the even ones are shifts, the odd ones scales, as in Glow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector
from aigc_jax.probability.bijectors.elementwise import Elementwise
from aigc_jax.probability.distributions import sum_trailing


class Conditioner(nn.Module):
    """A plain network x -> h as a conditioner: a context is joined to x as further channels, training changes nothing."""

    net: nn.Module

    def __call__(self, x: Array, context: Array | None = None, train: bool = False) -> Array:
        return self.net(x if context is None else jnp.concatenate([x, context], axis=-1))


class Coupling(Bijector):
    """Of the last axis, one half gives the numbers by which the other is mapped; the first is the smaller one of an odd number.

    net:    conditioner of the half that stays.
    map:    what is done to a variable of the other.
    second: whether the second half is mapped (as in Glow), or the first.

    Raises ValueError for a last axis of 1, and for another number of outputs of the conditioner.
    """

    net: nn.Module
    map: Elementwise
    second: bool = True

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return self._apply(self.map.forward, x, context, train)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self._apply(self.map.inverse, y, context, train=False)

    def _apply(self, function: Callable, x: Array, context: Array | None, train: bool) -> tuple[Array, Array]:
        if x.shape[-1] < 2:
            raise ValueError(
                f"a coupling halves its last axis, and {x.shape} has one of {x.shape[-1]}: use a masked one"
            )
        halves = jnp.split(x, [x.shape[-1] // 2], axis=-1)
        stays, moves = halves if self.second else halves[::-1]
        moved, log_slopes = function(moves, numbers_of(self.net(stays, context, train), moves, self.map))
        y = jnp.concatenate([stays, moved] if self.second else [moved, stays], axis=-1)
        return y, sum_trailing(log_slopes)


class MaskedCoupling(Bijector):
    """Where the mask is 1, x stays and gives the numbers by which the rest is mapped.

    net:  conditioner of mask * x; it answers for every variable, and what it says of those that stay is not used.
    map:  what is done to a variable.
    mask: a function of the shape of an example, such as `Checkerboard()`.
    """

    net: nn.Module
    map: Elementwise
    mask: Callable[[tuple[int, ...]], np.ndarray]

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return self._apply(self.map.forward, x, context, train)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self._apply(self.map.inverse, y, context, train=False)

    def _apply(self, function: Callable, x: Array, context: Array | None, train: bool) -> tuple[Array, Array]:
        stays = jnp.asarray(self.mask(x.shape[1:]) > 0)
        moved, log_slopes = function(x, numbers_of(self.net(jnp.where(stays, x, 0), context, train), x, self.map))
        return jnp.where(stays, x, moved), sum_trailing(jnp.where(stays, 0, log_slopes))


class Checkerboard(NamedTuple):
    """The mask 1 where row + column is odd, or even; a table [D] counts as one row. It takes the shape of an example."""

    even: bool = False

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        rows, columns = shape[:2] if len(shape) == 3 else (1, shape[0])
        board = ((np.arange(rows)[:, None] + np.arange(columns) + self.even) % 2).astype(np.float32)  # [H, W]
        return board[..., None] if len(shape) == 3 else board[0]


class Halves(NamedTuple):
    """The mask 1 on the half of the last axis that a `Coupling` with the same `second` leaves as it is."""

    second: bool = True

    def __call__(self, shape: tuple[int, ...]) -> np.ndarray:
        first = np.arange(shape[-1]) < shape[-1] // 2
        return (first if self.second else ~first).astype(np.float32)


def numbers_of(h: Array, x: Array, map: Elementwise) -> Array:
    """The conditioner's output as [*x.shape, n]. Raises ValueError where the number of values is another."""
    wanted = (*x.shape, map.numbers)
    if h.size != x.size * map.numbers:
        raise ValueError(f"a conditioner gave {h.shape} for {x.shape} of {map.numbers} numbers a variable")
    return h.reshape(wanted)
