"""Nonlinearities by name; GELU in the two forms of its paper (arXiv:1606.08415)."""

from __future__ import annotations

import math
from collections.abc import Callable

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


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)); on a CPU as 0.5 (1 + tanh(x / 2)), which costs less and is as good to 1e-7, absolute in both tails."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5 if jax.default_backend() == "cpu" else jax.nn.sigmoid(x)


def concat_elu(x: Array) -> Array:
    """elu([x, -x]), [..., F] -> [..., 2 F] (PixelCNN++, arXiv:1701.05517; with relu arXiv:1603.05201)."""
    return jax.nn.elu(jnp.concatenate([x, -x], axis=-1))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "sigmoid": sigmoid,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "gelu": lambda x: gelu(x, approximate=False),
    "gelu_new": gelu,
    "gelu_pytorch_tanh": gelu,
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "linear": lambda x: x,
}
"""By the names that published configurations use; "gelu" alone is the exact form."""


def activation(name: str) -> Callable[[Array], Array]:
    """The nonlinearity of a name. Raises ValueError for an unknown one."""
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}: there are {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]
