"""Vector quantization: the nearest of K codes, gradients straight through, codes as moving averages (arXiv:1711.00937).

    z_q = e_k,  k = argmin_j ||z - e_j||^2                                                               eq. (2)
    straight through: forward z_q, backward as if it were z                                              section 3.2
    N_k <- g N_k + (1 - g) n_k,  m_k <- g m_k + (1 - g) sum of the n_k vectors that chose k,  e_k <- m_k / N_k   appendix A.1

As in the released code the averages are free of the bias of their start at zero, by 1 / (1 - g^t), and N is smoothed,
N~ = (N + eps) / (sum N + K eps) sum N, before the division. With g = 0 and eps -> 0 the update is one step of k-means.

We depart for a code that has never been chosen: it stays where it was; the released code puts it at 0.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

EPS = 1e-5


class Codebook(NamedTuple):
    """K codes of width D, and the averages they are made of; all of it lies in a method's memory.

    codes:   [K, D].
    count:   [K], N without its correction. total: [K, D], m without its own.
    updates: how many there were, float32 scalar.
    """

    codes: Array
    count: Array
    total: Array
    updates: Array


def codebook(key: Array, size: int, width: int) -> Codebook:
    """Codes uniform with variance 1 / D, as released; no averages yet. Raises ValueError for sizes below 1."""
    if min(size, width) < 1:
        raise ValueError(f"a codebook holds at least one code of width 1, not {size} of width {width}")
    edge = (3 / width) ** 0.5
    codes = jax.random.uniform(key, (size, width), minval=-edge, maxval=edge)
    return Codebook(codes, jnp.zeros(size), jnp.zeros((size, width)), jnp.float32(0))


def nearest(codes: Array, z: Array) -> Array:
    """The number of the code nearest to each vector: codes [K, D], z [..., D] -> int32 [...]. No gradient passes."""
    codes, z = jax.lax.stop_gradient((codes, z))
    distance = jnp.sum(codes**2, axis=-1) - 2 * z @ codes.T  # ||z - e||^2 less ||z||^2, which is the same for all codes
    return jnp.argmin(distance, axis=-1).astype(jnp.int32)


def straight_through(z: Array, quantized: Array) -> Array:
    """The value of `quantized` with the gradient of z."""
    return z + jax.lax.stop_gradient(quantized - z)


def moved(book: Codebook, z: Array, index: Array, decay: float = 0.99, eps: float = EPS) -> Codebook:
    """The codebook after the vectors z [..., D] chose `index` [...]. No gradient passes.

    Sums are one matrix product with one-hot rows: the same to the last bit in every run, where a scatter on a GPU is not. They
    are in the dtype of the codes: in bfloat16 a code chosen more than 256 times would be miscounted.
    """
    z = jax.lax.stop_gradient(z).reshape(-1, z.shape[-1]).astype(book.codes.dtype)
    chosen = jax.nn.one_hot(index.reshape(-1), len(book.codes), dtype=z.dtype)  # [N, K]
    count = decay * book.count + (1 - decay) * jnp.sum(chosen, axis=0)
    total = decay * book.total + (1 - decay) * chosen.T @ z
    updates = book.updates + 1
    unbiased = 1 - decay**updates
    n, m = count / unbiased, total / unbiased
    smoothed = (n + eps) / (jnp.sum(n) + len(n) * eps) * jnp.sum(n)
    codes = jnp.where(count[:, None] > 0, m / smoothed[:, None], book.codes)
    return Codebook(codes, count, total, updates)


def perplexity(share: Array) -> Array:
    """exp of the entropy of shares [K] that sum to one: as many codes as are in use, were they used alike."""
    return jnp.exp(-jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1.0))))


def shares(index: Array, size: int) -> Array:
    """How often each of `size` codes occurs, as a share: int [...] -> [size]."""
    return jnp.mean(jax.nn.one_hot(index.reshape(-1), size), axis=0)
