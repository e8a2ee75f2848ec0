"""Batch normalisation as a layer of a flow: its scale is part of the density (arXiv:1605.08803, section 3.7)."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector, zeros


class BatchNorm(Bijector):
    """y = (x - mean) / sqrt(var + eps) exp(g) + b for each channel; log |det| = sum g - 1/2 log(var + eps).

    momentum: weight of the old running statistics, which lie in "batch_stats" and begin as those of the first batch.
    learned:  whether there are g and b, 0 at first, as in MAF (arXiv:1705.07057, section 3.4); RealNVP has none.
    mask:     a function of the shape of an example, 1 where x is left as it is, as a coupling left it; statistics are those of
              the other places alone. None takes all.

    With `train`, the statistics are those of the batch, and the log-determinant counts them as constants, as published models
    do: of a whole batch it is not the exact one. The inverse is by running statistics.
    """

    momentum: float = 0.9
    eps: float = 1e-5
    learned: bool = False
    mask: Callable[[tuple[int, ...]], np.ndarray] | None = None

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        shift, log_scale, kept = self._numbers(x, train)
        y = jnp.where(kept, x, (x - shift[0]) * jnp.exp(log_scale) + shift[1])
        return y, self._log_det(x, log_scale, kept)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        shift, log_scale, kept = self._numbers(y, train=False)
        x = jnp.where(kept, y, (y - shift[1]) * jnp.exp(-log_scale) + shift[0])
        return x, -self._log_det(y, log_scale, kept)

    def _log_det(self, x: Array, log_scale: Array, kept: Array) -> Array:
        return zeros(x) + jnp.sum(jnp.where(kept, 0, jnp.broadcast_to(log_scale, x.shape[1:])))

    @nn.compact
    def _numbers(self, x: Array, train: bool) -> tuple[tuple[Array, Array | float], Array, Array]:
        """(mean, b), the logarithm of the scale, and which variables of an example are left as they are."""
        kept = jnp.zeros((1,) * (x.ndim - 1), bool) if self.mask is None else jnp.asarray(self.mask(x.shape[1:]) > 0)
        axes, changed = tuple(range(x.ndim - 1)), jnp.broadcast_to(~kept, x.shape)
        count = jnp.maximum(jnp.sum(changed, axes), 1)
        batch_mean = jnp.sum(jnp.where(changed, x, 0), axes) / count
        batch_var = jnp.sum(jnp.where(changed, jnp.square(x - batch_mean), 0), axes) / count
        mean = self.variable("batch_stats", "mean", lambda: batch_mean)
        var = self.variable("batch_stats", "var", lambda: batch_var)
        if not train or self.is_initializing():
            batch_mean, batch_var = mean.value, var.value
        else:
            mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
            var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        log_scale, bias = -0.5 * jnp.log(batch_var + self.eps), 0.0
        if self.learned:
            log_scale = log_scale + self.param("log_scale", nn.initializers.zeros, x.shape[-1:], jnp.float32)
            bias = self.param("bias", nn.initializers.zeros, x.shape[-1:], jnp.float32)
        return (batch_mean, bias), log_scale, kept
