"""The multi-scale architecture: after each level half of the channels leave, the rest goes on (arXiv:1605.08803, sec. 3.6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector, zeros
from aigc_jax.probability.bijectors.coupling import numbers_of
from aigc_jax.probability.bijectors.elementwise import standardize
from aigc_jax.probability.distributions import sum_trailing


class MultiScale(Bijector):
    """x [B, *shape] -> noise [B, D], the halves that left in their order, then what the last level gave, row by row.

    shape:  of an example, (H, W, C).
    levels: bijectors, one after another; each sees the first half of the channels of what the one before gave.
    priors: for each level but the last a conditioner of the half that stays, which gives mean and logarithm of the deviation
            of the half that leaves, side by side for each variable (Glow); or none at all, for N(0, I) (RealNVP).

    What leaves is standardized by its prior, so that all of the noise is N(0, I), and one temperature scales every level's
    deviation. Raises ValueError unless there is a prior for each level but the last, and for an odd number of channels to
    halve.
    """

    shape: tuple[int, int, int]
    levels: Sequence[Bijector]
    priors: Sequence[nn.Module] = ()

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        noise, total = [], zeros(x)
        for level, shape in enumerate(self._shapes()):
            x, log_det = self.levels[level].forward_and_log_det(x, context, train)
            total = total + log_det
            if level < len(self.levels) - 1:
                x, left = jnp.split(x, [shape[-1] // 2], axis=-1)
                left, log_slopes = self._leave(level, x, left, train)
                noise, total = [*noise, left], total + sum_trailing(log_slopes)
        return jnp.concatenate([part.reshape(len(x), -1) for part in [*noise, x]], axis=1), total

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        shapes, total = self._shapes(), zeros(y)
        halves = [(*shape[:-1], shape[-1] // 2) for shape in shapes[:-1]]
        sizes = [math.prod(half) for half in halves]
        *noise, x = jnp.split(y, [sum(sizes[: level + 1]) for level in range(len(sizes))], axis=1)
        x = x.reshape(-1, *shapes[-1])
        for level in reversed(range(len(self.levels))):
            if level < len(self.levels) - 1:
                left, log_slopes = self._enter(level, x, noise[level].reshape(x.shape))
                x, total = jnp.concatenate([x, left], axis=-1), total + sum_trailing(log_slopes)
            x, log_det = self.levels[level].inverse_and_log_det(x, context)
            total = total + log_det
        return x, total

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (math.prod(shape),)

    def _leave(self, level: int, stays: Array, left: Array, train: bool) -> tuple[Array, Array]:
        if not self.priors:
            return left, zeros(left)[:, None]
        return PRIOR.forward(left, numbers_of(self.priors[level](stays, None, train), left, PRIOR))

    def _enter(self, level: int, stays: Array, noise: Array) -> tuple[Array, Array]:
        if not self.priors:
            return noise, zeros(noise)[:, None]
        return PRIOR.inverse(noise, numbers_of(self.priors[level](stays, None, False), noise, PRIOR))

    def _shapes(self) -> list[tuple[int, ...]]:
        """Of what each level gives, before half of it leaves."""
        if self.priors and len(self.priors) != len(self.levels) - 1:
            raise ValueError(
                f"{len(self.levels)} levels take {len(self.levels) - 1} priors or none, not {len(self.priors)}"
            )
        shape, found = tuple(self.shape), []
        for number, level in enumerate(self.levels, 1):
            found.append(level.output_shape(shape))
            if number < len(self.levels) and found[-1][-1] % 2:
                raise ValueError(f"half of {found[-1][-1]} channels cannot leave level {number}: their number is odd")
            shape = (*found[-1][:-1], found[-1][-1] // 2)
        return found


PRIOR = standardize()
