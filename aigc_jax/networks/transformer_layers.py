"""The layers of the Transformer's two stacks, see transformer.py: attention to oneself, attention to what was read, FFN."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import glorot_uniform, lecun_uniform

from aigc_jax.networks.layers import Dense, LayerNorm, activation, attention

Pair = tuple[Array, Array]
"""Keys and values [B, S, H, K]."""


class SelfAttention(nn.Module):
    """x [B, T, D] -> [B, T, D]: every token asks those the mask leaves it, or, `causal`, itself and those before."""

    heads: int
    causal: bool = False
    use_bias: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Array, mask: Array | None, past: Pair | None = None, start: Array | int = 0
    ) -> tuple[Array, Pair | None]:
        """A past [B, C, H, K] comes back with keys and values of x from slot `start` on."""
        width = x.shape[-1]
        # Glorot's bounds for each of the three D x D maps, not for one of D x 3 D
        qkv = Dense(3 * width, self.use_bias, lecun_uniform(), dtype=self.dtype, name="qkv")(x)
        q, k, v = (_heads(part, self.heads) for part in jnp.split(qkv, 3, -1))
        if past is None:
            y = attention(q, k, v, causal=self.causal, mask=mask)
        else:
            k, v = (
                jax.lax.dynamic_update_slice(old, new.astype(old.dtype), (0, start, 0, 0))
                for old, new in zip(past, (k, v))
            )
            seen = jnp.arange(k.shape[1]) <= start + jnp.arange(x.shape[1])[:, None]  # [T, C]
            y, past = attention(q, k, v, mask=seen[None, None]), (k, v)
        return Dense(width, self.use_bias, lecun_uniform(), dtype=self.dtype, name="out")(y.reshape(x.shape)), past


class CrossAttention(nn.Module):
    """Tokens [R, T, D] ask what was read; R is a multiple of the rows read."""

    width: int
    heads: int
    use_bias: bool = False
    dtype: Any = None

    def setup(self) -> None:
        self.query = Dense(self.width, self.use_bias, lecun_uniform(), dtype=self.dtype)
        self.key_value = Dense(2 * self.width, self.use_bias, lecun_uniform(), dtype=self.dtype)
        self.out = Dense(self.width, self.use_bias, lecun_uniform(), dtype=self.dtype)

    def remember(self, memory: Array) -> Pair:
        """Keys and values [B, S, H, K] of what was read, [B, S, D]."""
        keys, values = jnp.split(self.key_value(memory), 2, -1)
        return _heads(keys, self.heads), _heads(values, self.heads)

    def __call__(self, x: Array, memory: Pair, mask: Array | None) -> Array:
        # nothing orders these queries: those of all the beams of one source are asked in one row of it
        q = _heads(self.query(x), self.heads).reshape(memory[0].shape[0], -1, *memory[0].shape[2:])
        return self.out(attention(q, *memory, mask=mask).reshape(x.shape))


class Layer(nn.Module):
    """A layer of the encoder, or, with `cross`, of the decoder; fields as in `Transformer`."""

    width: int
    inner: int
    heads: int
    cross: bool
    dropout: float
    pre_norm: bool
    use_bias: bool
    activation: str
    eps: float
    dtype: Any

    def setup(self) -> None:
        def norm() -> LayerNorm:
            return LayerNorm(self.eps, dtype=self.dtype)

        self.self_attention = SelfAttention(self.heads, self.cross, self.use_bias, self.dtype)
        self.norm_self = norm()
        if self.cross:
            self.cross_attention = CrossAttention(self.width, self.heads, self.use_bias, self.dtype)
            self.norm_cross = norm()
        self.up = Dense(self.inner, kernel_init=glorot_uniform(), dtype=self.dtype)
        self.down = Dense(self.width, kernel_init=glorot_uniform(), dtype=self.dtype)
        self.norm_inner = norm()
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, x: Array, mask: Array | None, read: Pair | None = None, past: Pair | None = None,
        start: Array | int = 0, train: bool = False,
    ) -> tuple[Array, Pair | None]:  # fmt: skip
        """x [B, T, D] -> the same, and the past with it. The mask is of the encoder's tokens; a decoder asks `read` by it."""
        y, past = self.self_attention(self._before(self.norm_self, x), None if self.cross else mask, past, start)
        x = self._after(self.norm_self, x, y, train)
        if read is not None:
            y = self.cross_attention(self._before(self.norm_cross, x), read, mask)
            x = self._after(self.norm_cross, x, y, train)
        y = self.down(activation(self.activation)(self.up(self._before(self.norm_inner, x))))
        return self._after(self.norm_inner, x, y, train), past

    def remember(self, memory: Array) -> Pair:
        """Of a decoder's layer: keys and values of what was read."""
        return self.cross_attention.remember(memory)

    def _before(self, norm: LayerNorm, x: Array) -> Array:
        return norm(x) if self.pre_norm else x

    def _after(self, norm: LayerNorm, x: Array, y: Array, train: bool) -> Array:
        x = x + self.drop(y, deterministic=not train)
        return x if self.pre_norm else norm(x)


def _heads(x: Array, heads: int) -> Array:
    return x.reshape(*x.shape[:-1], heads, -1)  # [B, T, H, K]
