"""Every state of a few bits: exact sums, where there are no more than 2^20 terms."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

ENUMERABLE = 20  # bits: 2^20 terms of a log-sum-exp


def bits(numbers: Array, units: int) -> Array:
    """The lowest `units` binary digits of each number, [n, units]: bits(arange(2^units), units) is every state."""
    return (numbers[:, None] >> jnp.arange(units) & 1).astype(jnp.float32)


def check_enumerable(units: int) -> None:
    """Raises ValueError for more bits than are enumerated."""
    if units > ENUMERABLE:
        raise ValueError(f"{units} bits have too many states: more than 2^{ENUMERABLE} are not enumerated")


def log_sum_over_states(log_weight: Callable[[Array], Array], units: int, block: int = 4096) -> Array:
    """log sum_s exp(log_weight(s)) over all s in {0, 1}^units, `block` (a power of two) states at a time.

    log_weight: states [n, units] -> [n]. Of a log-probability the result is 0; of minus an energy it is log Z.

    Raises ValueError for more than 20 units, and for a block that is no power of two: states would be left out.
    """
    check_enumerable(units)
    if block < 1 or block & (block - 1):
        raise ValueError(f"a block is a power of two, not {block}")
    block = min(block, 2**units)

    def of_block(start: Array) -> Array:
        return jax.nn.logsumexp(log_weight(bits(start + jnp.arange(block), units)))

    return jax.nn.logsumexp(jax.lax.map(of_block, jnp.arange(0, 2**units, block)))
