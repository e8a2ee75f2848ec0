"""GPT: the causal transformer language model, in the pre-norm form of GPT-2 (Radford et al. 2019).

    h_0  = W_e[x] + W_p[0 .. T-1]                              tokens and learned positions
    h'_l = h_{l-1} + attention(norm(h_{l-1}))                  causal, H heads, scores / sqrt(K)
    h_l  = h'_l    + W_down gelu(W_up norm(h'_l))              four times as wide inside, tanh form of GELU
    logits = norm(h_L) W_e^T                                   the token table once more

V D + C D + L (12 D^2 + 13 D) + 2 D parameters. Deviations of the normal initial weights: tokens 0.02, positions 0.01
as released, linear maps 0.02, those that write to the residual stream 0.02 / sqrt(2 L), since 2 L of them add up.

Dropout falls on the embeddings and on what each branch writes to the residual stream. The attention weights themselves
are not dropped: fused attention kernels never form them.

With a cache of keys and values a step costs one token: `step` takes the new tokens and a `Cache`, and gives the logits
of the token after them. Blocks can be scanned (one compiled block for any depth, parameters stacked) and rematerialised
(their activations computed again in the backward pass); neither changes a number.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import normal

from aigc_jax.networks.layers import Dense, LayerNorm, attention, gelu

SIZES = {
    "124m": dict(width=768, depth=12, heads=12),
    "355m": dict(width=1024, depth=24, heads=16),
    "774m": dict(width=1280, depth=36, heads=20),
    "1558m": dict(width=1600, depth=48, heads=25),
}
"""Table 2, by true parameter counts: the paper's 117M, 345M, 762M and 1542M are miscounts of the same models."""

Pair = tuple[Array, Array]


class Cache(NamedTuple):
    """Keys and values of the tokens seen so far.

    layers: (keys, values) of every block, each [B, S, H, K] with S slots; one pair of [L, B, S, H, K] if scanned.
    length: int32 scalar, how many slots are filled.
    """

    layers: Any
    length: Array


class Block(nn.Module):
    """Attention and an inner layer, each on the norm of the residual stream and added to it.

    residual_std: of the initial weights of the two maps that write to the stream.
    """

    heads: int
    residual_std: float
    dropout: float = 0.0
    train: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, past: Pair | None, start: Array | int) -> tuple[Array, Pair | None]:
        """x [B, T, D] -> the same. A past [B, S, H, K] comes back with keys and values of x from slot `start` on."""
        x, past = self._attend(x, past, start)
        y = LayerNorm(dtype=self.dtype, name="norm_mlp")(x)
        y = Dense(4 * x.shape[-1], kernel_init=normal(0.02), dtype=self.dtype, name="up")(y)
        return x + self._write(gelu(y, approximate=True), x.shape[-1], "down"), past

    def _attend(self, x: Array, past: Pair | None, start: Array | int) -> tuple[Array, Pair | None]:
        y = LayerNorm(dtype=self.dtype, name="norm_attention")(x)
        qkv = Dense(3 * x.shape[-1], kernel_init=normal(0.02), dtype=self.dtype, name="qkv")(y)
        q, k, v = (part.reshape(*x.shape[:-1], self.heads, -1) for part in jnp.split(qkv, 3, axis=-1))  # [B, T, H, K]
        if past is None:
            y = attention(q, k, v, causal=True)
        else:
            k, v = (
                jax.lax.dynamic_update_slice(old, new.astype(old.dtype), (0, start, 0, 0))
                for old, new in zip(past, (k, v))
            )
            slots = jnp.arange(k.shape[1])
            seen = slots <= start + jnp.arange(x.shape[1])[:, None]  # [T, S]; slots still empty lie after every query
            y, past = attention(q, k, v, mask=seen[None, None]), (k, v)
        return x + self._write(y.reshape(x.shape), x.shape[-1], "out"), past

    def _write(self, y: Array, width: int, name: str) -> Array:
        y = Dense(width, kernel_init=normal(self.residual_std), dtype=self.dtype, name=name)(y)
        return nn.Dropout(self.dropout, deterministic=not self.train)(y)


class GPT(nn.Module):
    """Tokens [B, T] -> logits [B, T, V] of the token after each.

    vocab, context: sizes V and C of the two tables; T is at most C.
    scan:           one stacked block, parameters `blocks` of [L, ...], instead of `block_0`, `block_1`, ...
    remat:          compute the activations of a block again in the backward pass instead of keeping them.
    dtype:          of the computation; parameters stay float32, logits come out float32.

    Raises ValueError if the heads do not divide the width, or for more tokens than the context holds.
    """

    vocab: int = 50257
    context: int = 1024
    width: int = 768
    depth: int = 12
    heads: int = 12
    dropout: float = 0.1
    scan: bool = False
    remat: bool = False
    dtype: Any = None

    def setup(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        self.tokens = self.param("tokens", normal(0.02), (self.vocab, self.width), jnp.float32)
        self.positions = self.param("positions", normal(0.01), (self.context, self.width), jnp.float32)
        self.norm = LayerNorm(dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, tokens: Array, train: bool = False) -> Array:
        """Logits [B, T, V]. Training with dropout draws from the rng `dropout`."""
        x, _ = self.features(self.embed(tokens), train=train)
        return self.logits(x)

    def step(self, tokens: Array, cache: Cache) -> tuple[Array, Cache]:
        """Reads T more tokens [B, T] after those in the cache -> (logits [B, V] of the one that follows, cache).

        The caller sees to it that they fit: the cache has no way to raise once it is traced.
        """
        x, cache = self.features(self.embed(tokens, cache.length), cache)
        return self.logits(x[:, -1]), cache

    def embed(self, tokens: Array, start: Array | int = 0) -> Array:
        """h_0 [B, T, D] of tokens that stand at positions start .. start + T - 1."""
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(f"{length} tokens do not fit a context of {self.context}")
        x = self.tokens[tokens] + jax.lax.dynamic_slice_in_dim(self.positions, start, length)
        return x if self.dtype is None else x.astype(self.dtype)

    @nn.compact
    def features(self, x: Array, cache: Cache | None = None, train: bool = False) -> tuple[Array, Any]:
        """h_0 [B, T, D] -> norm(h_L) [B, T, D], and the cache with these T tokens read."""
        start = 0 if cache is None else cache.length
        past = None if cache is None else cache.layers
        x = self.drop(x, deterministic=not train)
        block = nn.remat(Block, prevent_cse=not self.scan) if self.remat else Block
        if self.scan:
            axes: Any = (0, nn.broadcast)  # the past is stacked by block, its start is one for all
            block = nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True},
                            in_axes=axes, length=self.depth)  # fmt: skip
        make = partial(block, self.heads, 0.02 / math.sqrt(2 * self.depth), self.dropout, train, self.dtype)
        if self.scan:
            x, past = make(name="blocks")(x, past, start)
        else:
            pasts = []
            for index in range(self.depth):
                x, one = make(name=f"block_{index}")(x, None if past is None else past[index], start)
                pasts.append(one)
            past = tuple(pasts)
        return self.norm(x), None if cache is None else Cache(past, cache.length + x.shape[1])

    def logits(self, x: Array) -> Array:
        """norm(h_L) [..., D] -> logits [..., V], float32, by the token table."""
        return jnp.matmul(x, self.tokens.astype(x.dtype).T, preferred_element_type=jnp.float32)

    def empty_cache(self, batch: int, length: int) -> Cache:
        """A cache for `length` tokens. Raises ValueError if that is more than the context."""
        if length > self.context:
            raise ValueError(f"a cache of {length} tokens does not fit a context of {self.context}")
        shape = (batch, length, self.heads, self.width // self.heads)
        zeros = jnp.zeros((self.depth, *shape) if self.scan else shape, self.dtype or jnp.float32)
        return Cache((zeros, zeros) if self.scan else ((zeros, zeros),) * self.depth, jnp.int32(0))


def stack_blocks(params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of an unrolled GPT in the layout of a scanned one: `block_0`, `block_1`, ... -> `blocks` [L, ...]."""
    count = sum(name.startswith("block_") for name in params)
    blocks = jax.tree.map(lambda *layers: jnp.stack(layers), *(params[f"block_{index}"] for index in range(count)))
    return {**{name: value for name, value in params.items() if not name.startswith("block_")}, "blocks": blocks}
