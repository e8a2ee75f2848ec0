"""Multilayer perceptron: dense layers with one nonlinearity between them, on flattened examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
from jax import Array

from aigc_jax.networks.layers import Dense, activation


class MLP(nn.Module):
    """[B, ...] -> [B, features]: every hidden layer is followed by the activation, the last layer is linear.

    hidden:      width of each hidden layer; () leaves one linear map.
    features:    width of the output.
    activation:  a name of `layers.ACTIVATIONS`.
    kernel_init: of every kernel; None is LeCun's normal, variance 1 / fan-in. Biases start at zero.
    dtype:       of the computation; parameters stay float32.

    Raises ValueError for an unknown activation.
    """

    hidden: Sequence[int]
    features: int
    activation: str = "tanh"
    kernel_init: nn.initializers.Initializer | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        nonlinear = activation(self.activation)
        init = self.kernel_init or nn.initializers.lecun_normal()
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = nonlinear(Dense(width, kernel_init=init, dtype=self.dtype)(x))
        return Dense(self.features, kernel_init=init, dtype=self.dtype)(x)
