"""FVSBN: fully visible sigmoid belief network (Frey 1998; Gan et al. 2015), a logistic regression for each variable.

p(x) = prod_d p(x_d | x_<d),   p(x_d = 1 | x_<d) = sigmoid(b_d + sum_{j<d} A_dj x_j)

It has the D (D - 1) / 2 + D parameters that it uses: the triangle of A is stored as a vector, row by row.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.networks.layers.orders import in_places, ordering, permute


class FVSBN(nn.Module):
    """Bits x [B, ...] of D values -> logits [B, D] of p(x_d = 1 | the variables before d), in the places of x.

    dimensions: D.
    order:      None, variables in their own order; a number, that of a random permutation.

    `draw` costs one column of A for a dimension: what a bit adds to all later logits is added once it is known.
    """

    dimensions: int
    order: int | None = None

    def setup(self) -> None:
        d = self.dimensions
        self.kernel = self.param("kernel", nn.initializers.zeros, (d * (d - 1) // 2,), jnp.float32)
        self.bias = self.param("bias", nn.initializers.zeros, (d,), jnp.float32)

    def __call__(self, x: Array, member: Array | int = 0) -> Array:
        order = ordering(self.dimensions, self.order)
        x = permute(x.reshape(x.shape[0], -1), order)
        return permute(x @ triangle(self.kernel, self.dimensions).T + self.bias, np.argsort(order))

    def draw(self, key: Array, n: int, member: Array | int = 0) -> tuple[Array, Array]:
        """n draws, and the logits they were drawn by: [n, D] each."""

        def step(sums: Array, known: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            d, column, key = known
            logit = sums[:, d]
            bit = jax.random.bernoulli(key, jax.nn.sigmoid(logit)).astype(sums.dtype)
            return sums + bit[:, None] * column, (bit, logit)  # sums [n, D]: b + sum of A_:j x_j so far

        columns = triangle(self.kernel, self.dimensions).T  # [j, d]
        known = jnp.arange(self.dimensions), columns, jax.random.split(key, self.dimensions)
        sums = jnp.broadcast_to(self.bias, (n, self.dimensions))
        _, drawn = jax.lax.scan(step, sums, known)  # [D, n] each
        return in_places(drawn, ordering(self.dimensions, self.order))


def triangle(vector: Array, dimensions: int) -> Array:
    """The strictly lower triangular matrix [D, D] of a vector [D (D - 1) / 2] of its rows, one after another.

    Value and gradient are gathers: the transpose of a gather would be a scatter, which is slow.
    """
    rows, columns = np.tril_indices(dimensions, -1)
    place = np.zeros((dimensions, dimensions), np.int32)
    place[rows, columns] = np.arange(len(rows))
    below = np.tri(dimensions, k=-1, dtype=bool)

    @jax.custom_vjp
    def unfold(vector: Array) -> Array:
        return jnp.where(below, jnp.take(vector, place), 0) if len(rows) else jnp.zeros_like(below, vector.dtype)

    unfold.defvjp(lambda v: (unfold(v), None), lambda _, g: (jnp.take(g.reshape(-1), rows * dimensions + columns),))
    return unfold(vector)
