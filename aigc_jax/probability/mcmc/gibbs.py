"""Gibbs sampling by blocks (Geman and Geman 1984): each in turn is drawn from its conditional given the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import Array

from aigc_jax.probability.mcmc.kernel import Kernel

Conditional = Callable[[Array, Mapping[str, Any]], Any]  # (key, all blocks) -> a draw of one block given the others


def gibbs(conditionals: Mapping[str, Conditional]) -> Kernel:
    """One sweep over x = {block: array} in the order of `conditionals`; a block sees those drawn before it.

    Each update leaves p(x) invariant, hence so does the sweep. Two blocks suffice where each is independent within
    itself given the other, as the two layers of a restricted Boltzmann machine. A block that has no conditional stays
    as it is.
    """

    def sweep(key: Array, x: Mapping[str, Any]) -> dict[str, Any]:
        blocks = dict(x)
        keys = jax.random.split(key, len(conditionals))
        for one, (name, draw) in zip(keys, conditionals.items(), strict=True):
            blocks[name] = draw(one, blocks)
        return blocks

    return sweep
