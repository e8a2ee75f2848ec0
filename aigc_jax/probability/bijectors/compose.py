"""One bijector after another, backwards, and many times over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import flax.linen as nn
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector, zeros

COLLECTIONS: Mapping[Any, Any] = {"params": 0, "batch_stats": 0, "constants": 0}
"""All that bijectors keep; repeated, it has the repetition as its first axis."""
RNGS: Mapping[Any, bool] = {"params": True}


class Chain(Bijector):
    """One bijector after another, listed from data to noise: y = f_n(... f_1(x)).

    One that stands in it twice has the same parameters both times: make as many as there shall be.
    """

    bijectors: Sequence[Bijector]

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        total = zeros(x)
        for bijector in self.bijectors:
            x, log_det = bijector.forward_and_log_det(x, context, train)
            total = total + log_det
        return x, total

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        total = zeros(y)
        for bijector in self.bijectors[::-1]:
            y, log_det = bijector.inverse_and_log_det(y, context)
            total = total + log_det
        return y, total

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return reduce(lambda shape, bijector: bijector.output_shape(shape), self.bijectors, shape)


class Inverse(Bijector):
    """The other direction of a bijector that keeps the shape and no statistics: of MAF it is IAF (arXiv:1606.04934)."""

    bijector: Bijector

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return self.bijector.inverse_and_log_det(x, context)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self.bijector.forward_and_log_det(y, context)


class Repeated(Bijector):
    """A bijector that keeps the shape, `times` times with parameters of its own each time.

    A loop over stacked parameters: what is compiled is one step, so that 96 steps of Glow compile as fast as 3. `remat` keeps
    only the steps' inputs for the gradient and computes the rest again.
    """

    bijector: Bijector
    times: int
    remat: bool = False

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        def step(bijector: Bijector, x: Array) -> tuple[Array, Array]:
            return bijector.forward_and_log_det(x, context, train)

        return self._loop(step, x, reverse=False)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return self._loop(lambda bijector, y: bijector.inverse_and_log_det(y, context), y, reverse=True)

    def _loop(self, step: Any, x: Array, reverse: bool) -> tuple[Array, Array]:
        step = nn.remat(step, prevent_cse=False) if self.remat else step

        def body(bijector: Bijector, carry: tuple[Array, Array], _: None):
            x, total = carry
            x, log_det = step(bijector, x)
            return (x, total + log_det), None

        loop = nn.scan(body, COLLECTIONS, split_rngs=RNGS, length=self.times, reverse=reverse)
        return loop(self.bijector, (x, zeros(x)), None)[0]
