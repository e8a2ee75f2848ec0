"""The matrix product of a linear layer, and the layer."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array, lax


def linear(x: Array, w: Array) -> Array:
    """x @ w for x [..., R] and w [R, F].

    On a CPU all leading axes of x become one first, since the gradient of w over several axes makes XLA copy the cotangent
    transposed; and where F < R that gradient is computed as [F, R], because products with few rows and many columns are up to
    twice as fast there as their transposes. The barrier keeps the compiler from folding the transposition back in.
    """
    if jax.default_backend() != "cpu":
        return jnp.matmul(x, w)
    rows = x.reshape(-1, x.shape[-1])
    if w.shape[0] > w.shape[1] and rows.shape[0] > w.shape[0]:
        y = lax.dot_general(rows, lax.optimization_barrier(w.T), (((1,), (1,)), ((), ())))
    else:
        y = jnp.matmul(rows, w)
    return y.reshape(*x.shape[:-1], w.shape[1])


class Dense(nn.Module):
    """x [..., R] -> [..., features] by a "kernel" [R, features] and a "bias" [features]."""

    features: int
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = linear(x, kernel)
        return y if bias is None else y + bias
