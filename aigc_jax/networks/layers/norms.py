"""Normalisations by batch, group, layer and root mean square, and by neighbouring channels.

arXiv:1502.03167, arXiv:1803.08494, arXiv:1607.06450, arXiv:1910.07467; Krizhevsky et al. 2012, section 3.3.

All compute in float32 and return the dtype that came in, or `dtype`. Under `jit` the statistics of a batch are those of the
global batch, however it is sharded.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


class BatchNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * scale + bias by channel, mean and var over all axes but the last.

    momentum: weight of the old running statistics (0.9 here is 0.1 in torch). The running variance is the biased one.
    Statistics lie in the collection "batch_stats" as `mean` and `var`; training updates them, so it must be mutable then.
    """

    momentum: float = 0.9
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        width = x.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (width,), jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, (width,), jnp.float32)
        scale, bias = _affine(self, width)
        wide = x.astype(jnp.float32)
        if train:
            axes = tuple(range(x.ndim - 1))
            batch_mean = jnp.mean(wide, axes)
            batch_var = jnp.mean(jnp.square(wide - batch_mean), axes)
            if not self.is_initializing():
                mean.value = self.momentum * mean.value + (1 - self.momentum) * batch_mean
                var.value = self.momentum * var.value + (1 - self.momentum) * batch_var
        else:
            batch_mean, batch_var = mean.value, var.value
        y = (wide - batch_mean) * (jax.lax.rsqrt(batch_var + self.eps) * scale) + bias
        return y.astype(self.dtype or x.dtype)


class GroupNorm(nn.Module):
    """Mean and variance over space and over the channels of a group, for each example; groups are contiguous channels."""

    groups: int = 32
    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        width = x.shape[-1]
        if width % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {width} channels")
        scale, bias = _affine(self, width)
        wide = x.astype(jnp.float32).reshape(x.shape[0], -1, width)  # [B, S, C]

        def group_mean(x: Array) -> Array:  # [B, S, C] -> [B, 1, C]; over S first: sums of whole rows, which are fast
            means = jnp.mean(jnp.mean(x, 1).reshape(-1, self.groups, width // self.groups), -1)
            return jnp.repeat(means, width // self.groups, -1)[:, None]

        centred = wide - group_mean(wide)
        y = centred * (jax.lax.rsqrt(group_mean(jnp.square(centred)) + self.eps) * scale) + bias
        return y.reshape(x.shape).astype(self.dtype or x.dtype)


class LayerNorm(nn.Module):
    """Mean and variance over the last axis, for each token."""

    eps: float = 1e-5
    use_scale: bool = True
    use_bias: bool = True
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale, bias = _affine(self, x.shape[-1])
        wide = x.astype(jnp.float32)
        centred = wide - jnp.mean(wide, -1, keepdims=True)
        y = centred * jax.lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + self.eps)
        return (y * scale + bias).astype(self.dtype or x.dtype)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * scale over the last axis, for each token."""

    eps: float = 1e-6
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        scale = self.param("scale", self.scale_init, (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        y = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), -1, keepdims=True) + self.eps)
        return (y * scale).astype(self.dtype or x.dtype)


def local_response_norm(x: Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Array:
    """x_c / (k + alpha / size sum_j x_j^2)^beta, j over the `size` channels around c that there are.

    x: [..., C]; the same shape comes back. The form of the authors' code, of Caffe and of torch: the formula of the paper
    (Krizhevsky et al. 2012, section 3.3) has no division by `size`, so that its alpha is this one divided by 5. Raises
    ValueError for an even size, which has no middle.
    """
    if size % 2 == 0:
        raise ValueError(f"a window of {size} channels has no middle: the size must be odd")
    width, half = x.shape[-1], size // 2
    squares = jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
    squares = jnp.pad(squares, [(0, 0)] * (x.ndim - 1) + [(half, half)])
    sums = sum(jax.lax.slice_in_dim(squares, at, at + width, axis=-1) for at in range(size))
    return (x * (k + alpha / size * sums) ** -beta).astype(x.dtype)


def _affine(module: Any, width: int) -> tuple[Array | float, Array | float]:
    """The parameters `scale` and `bias`, or 1 and 0 where the module has none."""
    scale = module.param("scale", module.scale_init, (width,), jnp.float32) if module.use_scale else 1.0
    bias = module.param("bias", nn.initializers.zeros, (width,), jnp.float32) if module.use_bias else 0.0
    return scale, bias
