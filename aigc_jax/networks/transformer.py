"""The Transformer: an encoder reads a sequence, a decoder writes another, by attention alone (arXiv:1706.03762).

    attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V                                             eq. (1), for each head
    FFN(x) = W_2 relu(W_1 x + b_1) + b_2                                                          eq. (2)
    encoder layer: self-attention, FFN         decoder layer: causal self-attention, attention to what was read, FFN
    x <- norm(x + drop(f(x)))                  around each of these, as published ("post-norm")
    x <- x + drop(f(norm(x)))                  and a last norm on each stack: the later form, which needs no warm-up
    x_0 = drop(sqrt(D) E[token] + PE[position]),   logits = x_L E^T

One matrix E serves source, target and softmax. Without biases on the attention's maps, as the authors' code has it, the base
model has 63,045,632 parameters at 37,000 tokens; with them 36,864 more. Dropout falls on the sums of embedding and position
and on what each branch writes, as in the paper: not on attention weights, which fused kernels never form, nor inside the
FFN. Positions are the sines and cosines of section 3.5, interleaved, or in two halves (Marian's), or learned, or none.

Writing goes on from a `Writing`: keys and values of the tokens written so far grow by one a step, those of the source are
computed once. Tokens may come in more rows than the source has, as many for each: then the beams of one source stand
together and share its keys and values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import normal

from aigc_jax.networks.layers import LayerNorm, activation, sinusoidal
from aigc_jax.networks.transformer_layers import Layer, Pair

SIZES = {
    "base": dict(width=512, depth=6, inner=2048, heads=8),
    "big": dict(width=1024, depth=6, inner=4096, heads=16),
}
"""Table 3."""

Positions = Literal["sinusoidal", "halves", "learned", "none"]


class Memory(NamedTuple):
    """What was read: (keys, values) [B, S, H, K] for every layer of the decoder, and a mask [B, 1, 1, S] or None."""

    layers: tuple[Pair, ...]
    mask: Array | None


class Writing(NamedTuple):
    """Where a decoder stands.

    past:   (keys, values) of every layer, [R, C, H, K] with C slots; R rows are B, or a multiple of it.
    length: int32 scalar, how many slots are filled.
    """

    past: tuple[Pair, ...]
    length: Array
    memory: Memory


class Transformer(nn.Module):
    """(source [B, S], tokens [B, T]) -> logits [B, T, V] of the token after each.

    How far a source is to be read, `source_length`, is a number for each, [B], or says it of every token: bool [B, S].

    vocab:        V.
    width, depth: D, and the layers of either stack.
    inner, heads: of every layer. Where depth, inner or heads is a pair, it is (encoder, decoder).
    pre_norm:     see above; False is the paper's.
    attention_bias: on the maps of queries, keys, values and outputs.
    source_vocab: of a token table of the source's own; None reads that of the target.
    tied:         the softmax reads the token table; False gives it a matrix of its own.
    scale:        multiply what is read from a token table by sqrt(D).
    logit_bias:   add a bias to the logits.
    context:      rows of learned position tables, and slots of a `Writing`.
    dtype:        of the computation; parameters stay float32, logits come out float32.

    Raises ValueError if heads do not divide the width, for an unknown activation, and for more tokens than learned tables
    or slots hold.
    """

    vocab: int = 37_000
    width: int = 512
    depth: int | tuple[int, int] = 6
    inner: int | tuple[int, int] = 2048
    heads: int | tuple[int, int] = 8
    dropout: float = 0.1
    pre_norm: bool = False
    positions: Positions = "sinusoidal"
    attention_bias: bool = False
    activation: str = "relu"
    source_vocab: int | None = None
    tied: bool = True
    scale: bool = True
    logit_bias: bool = False
    context: int = 512
    eps: float = 1e-6
    dtype: Any = None

    def setup(self) -> None:
        activation(self.activation)  # an unknown one is said here
        std = self.width**-0.5
        self.tokens = self.param("tokens", normal(std), (self.vocab, self.width), jnp.float32)
        if self.source_vocab is not None:
            self.source_tokens = self.param("source_tokens", normal(std), (self.source_vocab, self.width), jnp.float32)
        if not self.tied:
            self.softmax = self.param("softmax", normal(std), (self.vocab, self.width), jnp.float32)
        if self.positions == "learned":
            shape = (self.context, self.width)
            self.source_positions = self.param("source_positions", normal(0.02), shape, jnp.float32)
            self.target_positions = self.param("target_positions", normal(0.02), shape, jnp.float32)
        if self.logit_bias:
            self.bias = self.param("bias", nn.initializers.zeros, (self.vocab,), jnp.float32)
        self.encoder, self.decoder = self._stack(0), self._stack(1)
        if self.pre_norm:
            self.norm_encoder, self.norm_decoder = (LayerNorm(self.eps, dtype=self.dtype) for _ in range(2))
        self.drop = nn.Dropout(self.dropout)

    def _stack(self, side: int) -> list[Layer]:
        depth, inner, heads = (
            size[side] if isinstance(size, tuple) else size for size in (self.depth, self.inner, self.heads)
        )
        if self.width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {self.width}")
        return [Layer(self.width, inner, heads, bool(side), self.dropout, self.pre_norm, self.attention_bias,
                      self.activation, self.eps, self.dtype) for _ in range(depth)]  # fmt: skip

    def __call__(
        self, source: Array, tokens: Array, source_length: Array | None = None, train: bool = False
    ) -> tuple[Array, None]:
        """Logits [B, T, V]; no attention is given out, as fused kernels form none. Dropout draws from the rng `dropout`."""
        memory = self.remember(self.encode(source, source_length, train), source_length)
        x = self.embed(tokens, 1, train=train)
        x, _ = self.decode(x, memory, train=train)
        return self.logits(x), None

    def start(self, source: Array, source_length: Array | None = None, slots: int | None = None) -> Writing:
        """Reads the source; at most `slots` tokens can be written then, by default `context` of them."""
        memory = self.remember(self.encode(source, source_length), source_length)
        keys = memory.layers[0][0]
        empty = jnp.zeros((len(source), slots or self.context, *keys.shape[2:]), keys.dtype)
        return Writing(((empty, empty),) * len(memory.layers), jnp.int32(0), memory)

    def step(self, tokens: Array, at: Writing) -> tuple[Array, Writing]:
        """Reads T more tokens [R, T] -> (logits [R, V] of the one that follows, where it stands then)."""
        x = self.embed(tokens, 1, at.length, at.past[0][0].shape[1])
        x, past = self.decode(x, at.memory, at.past, at.length)
        return self.logits(x[:, -1]), Writing(past, at.length + tokens.shape[1], at.memory)

    def embed(
        self, tokens: Array, side: int, start: Array | int = 0, slots: int | None = None, train: bool = False
    ) -> Array:
        """x_0 [B, T, D] of tokens at positions start .. start + T - 1, below `slots`; side 0 is the source, 1 the target."""
        length = tokens.shape[1]
        slots = slots or length
        own = side == 0 and self.source_vocab is not None
        x = (self.source_tokens if own else self.tokens)[tokens]
        x = x * self.width**0.5 if self.scale else x
        if self.positions != "none":
            table = self._table(side, max(slots, length))
            x = x + jax.lax.dynamic_slice_in_dim(table, start, length)
        x = x if self.dtype is None else x.astype(self.dtype)
        return self.drop(x, deterministic=not train)

    def _table(self, side: int, length: int) -> Array:
        if self.positions == "learned":
            if length > self.context:
                raise ValueError(f"{length} tokens do not fit a table of {self.context} learned positions")
            return self.target_positions if side else self.source_positions
        return jnp.asarray(sinusoidal(length, self.width, halves=self.positions == "halves"))

    def encode(self, source: Array, source_length: Array | None = None, train: bool = False) -> Array:
        """Source tokens [B, S] -> [B, S, D]."""
        return self.encoded(self.embed(source, 0, train=train), source_length, train)

    def encoded(self, x: Array, source_length: Array | None = None, train: bool = False) -> Array:
        """x_0 of the source [B, S, D] -> x_L; what lies past the length is never asked."""
        mask = valid(source_length, x.shape[1])
        for layer in self.encoder:
            x, _ = layer(x, mask, train=train)
        return self.norm_encoder(x) if self.pre_norm else x

    def remember(self, encoded: Array, source_length: Array | None = None) -> Memory:
        """Keys and values of what was read, [B, S, D], for every layer of the decoder."""
        layers = tuple(layer.remember(encoded) for layer in self.decoder)
        return Memory(layers, valid(source_length, encoded.shape[1]))

    def decode(
        self,
        x: Array,
        memory: Memory,
        past: tuple[Pair, ...] | None = None,
        start: Array | int = 0,
        train: bool = False,
    ) -> tuple[Array, Any]:
        """x_0 [R, T, D] -> x_L [R, T, D], and the past with these tokens."""
        pasts = []
        for index, layer in enumerate(self.decoder):
            one = None if past is None else past[index]
            x, one = layer(x, memory.mask, memory.layers[index], one, start, train)
            pasts.append(one)
        return self.norm_decoder(x) if self.pre_norm else x, tuple(pasts)

    def logits(self, x: Array) -> Array:
        """x_L [..., D] -> [..., V], float32, by the token table or the softmax's own."""
        table = self.tokens if self.tied else self.softmax
        z = jnp.matmul(x, table.astype(x.dtype).T, preferred_element_type=jnp.float32)
        return z + self.bias if self.logit_bias else z


def beam_step(net: Transformer) -> Callable[..., tuple[Array, Any]]:
    """The decoder as `beam_search` takes it: what is fixed is (variables, memory), what follows the beams (past, length)."""

    def step(fixed: tuple[Any, Memory], tokens: Array, moving: tuple[tuple[Pair, ...], Array]) -> tuple[Array, Any]:
        variables, memory = fixed
        answer: Any = net.apply(variables, tokens, Writing(*moving, memory), method="step")
        logits, at = answer
        return logits, (at.past, at.length)

    return step


def valid(length: Array | None, steps: int) -> Array | None:
    """Which of S keys count, as attention takes it: [B, 1, 1, S] bool, or None where all do."""
    if length is None:
        return None
    return (length if length.ndim == 2 else jnp.arange(steps) < length[:, None])[:, None, None]
