"""Fixed orders of an axis, so that what a coupling or an autoregressive map leaves alone changes from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector, zeros


class Permutation(Bijector):
    """y[..., i] = x[..., order[i]]. Raises ValueError unless `order` names each place of the last axis once."""

    order: Sequence[int]

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return x[..., self._order(x)], zeros(x)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return y[..., np.argsort(self._order(y))], zeros(y)

    def _order(self, x: Array) -> np.ndarray:
        order = np.asarray(self.order)
        if sorted(order.tolist()) != list(range(x.shape[-1])):
            raise ValueError(f"an order of {len(order)} places does not name each of {x.shape[-1]} once")
        return order


class Reverse(Bijector):
    """An axis backwards: the last, or -2 for the columns of pictures, by which the colours of a checkerboard change places."""

    axis: int = -1

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        return jnp.flip(x, self.axis), zeros(x)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        return jnp.flip(y, self.axis), zeros(y)
