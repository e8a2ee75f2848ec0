"""Orders of variables: autoregressive networks compute in their order, and are asked and answer in that of the data."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def ordering(dimensions: int, seed: int | None) -> np.ndarray:
    """The variables in the order in which they are drawn, [D]: None the natural one, else a permutation of this seed."""
    natural = np.arange(dimensions)
    return natural if seed is None else np.random.RandomState(seed).permutation(natural)


def in_places(drawn: tuple[Array, Array], order: Array | np.ndarray) -> tuple[Array, Array]:
    """Bits and their logits, [D, n] in the order of drawing, as loops give them -> [n, D] in that of the data."""
    inverse = jnp.argsort(jnp.asarray(order))
    bits, logits = (each.T[:, inverse] for each in drawn)
    return bits, logits


def permute(x: Array, order: np.ndarray) -> Array:
    """x [B, D] -> x[:, order]. Its gradient is a gather, too, where that of indexing is a scatter, which is slow."""
    if np.array_equal(order, np.arange(len(order))):
        return x
    inverse = np.argsort(order)

    @jax.custom_vjp
    def permuted(x: Array) -> Array:
        return jnp.take(x, order, axis=1)

    permuted.defvjp(lambda x: (permuted(x), None), lambda _, g: (jnp.take(g, inverse, axis=1),))
    return permuted(x)
