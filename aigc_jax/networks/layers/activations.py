"""GELU in the two forms of its paper (arXiv:1606.08415)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array


def gelu(x: Array, approximate: bool = True) -> Array:
    """x Phi(x), Phi the distribution function of the standard normal.

    approximate: True is 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), what GPT-2 and the official ViT use; False is the
                 exact form by erf, what torch calls "gelu".
    """
    if approximate:
        # 0.5 (1 + tanh(u)) = sigmoid(2 u)
        return x * jax.nn.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + jax.lax.erf(x * jnp.asarray(math.sqrt(0.5), x.dtype)))
