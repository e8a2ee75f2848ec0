"""Multilayer perceptron: dense layers with one nonlinearity between them, on flattened examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
}


class MLP(nn.Module):
    """[B, ...] -> [B, features]: every hidden layer is followed by the activation, the last layer is linear.

    hidden:      width of each hidden layer; () leaves one linear map.
    features:    width of the output.
    activation:  a name of ACTIVATIONS.
    kernel_init: of every kernel; None is Linen's own, variance 1 / fan-in. Biases start at zero.
    dtype:       of the computation; parameters stay float32.
    """

    hidden: Sequence[int]
    features: int
    activation: str = "tanh"
    kernel_init: Callable | None = None
    dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {self.activation!r}: there are {', '.join(ACTIVATIONS)}")
        init = self.kernel_init or nn.linear.default_kernel_init
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = ACTIVATIONS[self.activation](nn.Dense(width, kernel_init=init, dtype=self.dtype)(x))
        return nn.Dense(self.features, kernel_init=init, dtype=self.dtype)(x)
