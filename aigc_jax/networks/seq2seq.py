"""Sequence to sequence: an encoder reads, a decoder writes what follows from it, with attention or without.

Sutskever et al. (arXiv:1409.3215): the states of the encoder after the last step, layer by layer, are those the decoder
begins with. The source is read from its end to its beginning, so that first words stand near first words.

Luong et al. (arXiv:1508.04025): the top state h_t of the decoder asks the encoder's outputs (annotations) a_s, masked
to the source's length,

    alpha_ts = softmax_s score(h_t, a_s),   c_t = sum_s alpha_ts a_s,   h~_t = tanh(W_c [c_t; h_t]),   logits = W_s h~_t
    score:  dot h . a      general h . W a      concat v . tanh(W [h; a])      additive v . tanh(W h + U a)

and with `feed` h~_{t-1} goes into the decoder's next input. Concat is additive with its two matrices one below another.

Bahdanau et al. (arXiv:1409.0473), RNNsearch: a bidirectional GRU reads, the state *before* the step asks (additive), and what
it finds goes into the cell,

    s_0 = tanh(W_s a_1, backward half),   c_i = attention(s_{i-1}),   s_i = GRU(s_{i-1}, [E y_{i-1}; c_i])
    logits = W_o maxout(U_o s_{i-1} + V_o E y_{i-1} + C_o c_i)                                pairs, the larger of two

Token 0 ends a sequence, and begins the one to be written.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import Initializer, lecun_normal, normal

from aigc_jax.networks.layers import Dense
from aigc_jax.networks.recurrent import Recurrent, States, valid

Score = Literal["dot", "general", "concat", "additive"]


class Attention(nn.Module):
    """Queries [B, T, Q] over annotations [B, S, A] -> (context [B, T, A], weights [B, T, S]).

    score: dot (Q = A), general, concat, additive; the last two compare in `width` dimensions.
    """

    score: Score
    width: int = 0
    matrices: Initializer | None = None

    @nn.compact
    def __call__(self, query: Array, annotations: Array, mask: Array | None) -> tuple[Array, Array]:
        """mask: [B, S] bool, False for padding, which gets weight 0."""
        scores = self._scores(query, annotations)
        if mask is not None:
            scores = jnp.where(mask[:, None], scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores, -1)
        return jnp.einsum("bts,bsa->bta", weights, annotations), weights

    def _scores(self, query: Array, annotations: Array) -> Array:
        start, (own, theirs) = self.matrices or lecun_normal(), (query.shape[-1], annotations.shape[-1])
        if self.score in ("dot", "general"):
            if self.score == "general":
                annotations = annotations @ self.param("memory", start, (theirs, own), jnp.float32)
            if annotations.shape[-1] != own:
                raise ValueError(f"dot: queries of {own} and annotations of {theirs} numbers have no product")
            return jnp.einsum("btq,bsq->bts", query, annotations)
        if self.score == "concat":
            both = self.param("both", start, (own + theirs, self.width), jnp.float32)
            w, u = both[:own], both[own:]
        else:
            w = self.param("query", start, (own, self.width), jnp.float32)
            u = self.param("memory", start, (theirs, self.width), jnp.float32)
        v = self.param("v", normal(self.width**-0.5), (self.width,), jnp.float32)
        return jnp.tanh((query @ w)[:, :, None] + (annotations @ u)[:, None]) @ v  # [B, T, S]


class Writing(NamedTuple):
    """Where a decoder stands: its states, what it read, and what it is fed with besides its last token."""

    states: States
    annotations: Array
    mask: Array | None
    fed: Array


class Seq2Seq(nn.Module):
    """An encoder-decoder of recurrent stacks: (source, tokens) -> (logits [B, T, V], attention [B, T, S] or None).

    encoder, decoder: stacks of one shape, in one direction, with weights of their own.
    source_vocab:     of source tokens [B, S]; None reads vectors [B, S, D].
    target_vocab:     V.
    embedding:        width of both token tables.
    score:            of the attention; None is none.
    feed:             h~ into the next input.
    flip:             read the source backwards.
    dropout:          of what the stacks read and of what the decoder gives.

    Raises ValueError for stacks that do not fit each other.
    """

    encoder: Recurrent
    decoder: Recurrent
    source_vocab: int | None
    target_vocab: int
    embedding: int
    score: Score | None = None
    feed: bool = False
    flip: bool = True
    dropout: float = 0.0

    def setup(self) -> None:
        one, other = ((net.width, net.depth, net.cell, net.bidirectional) for net in (self.encoder, self.decoder))
        if one != other or one[-1]:
            raise ValueError(f"the decoder goes on from the encoder's states, each in one direction: {one}, {other}")
        start = self.decoder.matrices
        if self.source_vocab is not None:
            shape = (self.source_vocab, self.embedding)
            self.source_tokens = self.param("source_tokens", start or normal(1.0), shape, jnp.float32)
        shape = (self.target_vocab, self.embedding)
        self.target_tokens = self.param("target_tokens", start or normal(1.0), shape, jnp.float32)
        options: dict[str, Any] = {} if start is None else dict(kernel_init=start)
        self.output = Dense(self.target_vocab, use_bias=self.decoder.use_bias, dtype=self.decoder.dtype, **options)
        if self.score:
            self.attention = Attention(self.score, self.decoder.width, start)
            self.combine = Dense(self.decoder.width, use_bias=False, dtype=self.decoder.dtype, **options)
        self.drop = nn.Dropout(self.dropout)

    def __call__(
        self, source: Array, tokens: Array, length: Array | None = None, train: bool = False
    ) -> tuple[Array, Array | None]:
        """tokens [B, T]: what precedes each token to be written, 0 before the first. length: of the source, [B]."""
        h, _, alpha = self._write(tokens, self.start(source, length, train), train)
        return self._logits(h), alpha

    def start(self, source: Array, length: Array | None = None, train: bool = False) -> Writing:
        """Reads the source."""
        steps = source.shape[1]
        if self.flip:
            source = flipped(source, length)
        x = source if self.source_vocab is None else self.source_tokens[source]
        mask = valid(length, steps)
        annotations, states = self.encoder(self.drop(x, deterministic=not train), mask=mask, train=train)
        if self.flip:
            annotations = flipped(annotations, length)
        return Writing(states, annotations, mask, jnp.zeros((len(source), self.decoder.width), annotations.dtype))

    def step(self, tokens: Array, at: Writing) -> tuple[Array, Writing]:
        """Reads T more tokens [B, T] -> (logits [B, V] of the one that follows, where it stands then)."""
        h, at, _ = self._write(tokens, at, False)
        return self._logits(h[:, -1]), at

    def _write(self, tokens: Array, at: Writing, train: bool) -> tuple[Array, Writing, Array | None]:
        x = self.drop(self.target_tokens[tokens], deterministic=not train)
        if not self.feed:
            return self._steps(x, at, train)

        def one(module: Seq2Seq, at: Writing, x: Array) -> tuple[Writing, tuple[Array, Array | None]]:
            h, at, alpha = module._steps(jnp.concatenate([x, at.fed], -1)[:, None], at, train)
            return at, (h[:, 0], None if alpha is None else alpha[:, 0])

        scan = nn.scan(one, variable_broadcast="params", split_rngs={"params": False, "dropout": True}, in_axes=1,
                       out_axes=1)  # fmt: skip
        at, (h, alpha) = scan(self, at, x)
        return h, at, alpha

    def _steps(self, x: Array, at: Writing, train: bool) -> tuple[Array, Writing, Array | None]:
        h, states = self.decoder(x, at.states, train=train)
        alpha = None
        if self.score:
            context, alpha = self.attention(h, at.annotations, at.mask)
            h = jnp.tanh(self.combine(jnp.concatenate([context, h], -1)))
        h = self.drop(h, deterministic=not train)
        return h, at._replace(states=states, fed=h[:, -1]), alpha

    def _logits(self, h: Array) -> Array:
        return self.output(h).astype(jnp.float32)


class RNNSearch(nn.Module):
    """Bahdanau's net: (source, tokens) -> (logits [B, T, V], attention [B, T, S]).

    width:     n of the encoder's directions and of the decoder; the annotations are 2 n wide, the scores compare in n.
    embedding: m, of either token table.
    maxout:    l, half the width of the deep output.
    use_bias:  the counts of the paper's sizes are those of its matrices.
    """

    source_vocab: int
    target_vocab: int
    width: int = 1000
    embedding: int = 620
    maxout: int = 500
    cell: Literal["gru", "gru_before"] = "gru_before"
    use_bias: bool = True

    def setup(self) -> None:
        shapes = (self.source_vocab, self.embedding), (self.target_vocab, self.embedding)
        self.source_tokens = self.param("source_tokens", normal(1.0), shapes[0], jnp.float32)
        self.target_tokens = self.param("target_tokens", normal(1.0), shapes[1], jnp.float32)
        self.encoder = Recurrent(self.width, 1, self.cell, bidirectional=True, use_bias=self.use_bias)
        self.decoder = Recurrent(self.width, 1, self.cell, use_bias=self.use_bias)
        self.first = Dense(self.width, use_bias=self.use_bias)
        self.attention = Attention("additive", self.width)
        self.deep = Dense(2 * self.maxout, use_bias=self.use_bias)
        self.output = Dense(self.target_vocab, use_bias=self.use_bias)

    def __call__(
        self, source: Array, tokens: Array, length: Array | None = None, train: bool = False
    ) -> tuple[Array, Array]:
        """As `Seq2Seq`."""
        t, _, alpha = self._write(tokens, self.start(source, length))
        return self.output(t).astype(jnp.float32), alpha

    def start(self, source: Array, length: Array | None = None) -> Writing:
        """Reads the source."""
        mask = valid(length, source.shape[1])
        annotations, _ = self.encoder(self.source_tokens[source], mask=mask)
        first = jnp.tanh(self.first(annotations[:, 0, self.width :]))
        return Writing((first,), annotations, mask, first)

    def step(self, tokens: Array, at: Writing) -> tuple[Array, Writing]:
        """As of `Seq2Seq`."""
        t, at, _ = self._write(tokens, at)
        return self.output(t[:, -1]).astype(jnp.float32), at

    def _write(self, tokens: Array, at: Writing) -> tuple[Array, Writing, Array]:
        def one(module: RNNSearch, at: Writing, y: Array) -> tuple[Writing, tuple[Array, Array]]:
            before = at.states[0]
            context, alpha = module.attention(before[:, None], at.annotations, at.mask)
            context = context[:, 0]
            _, states = module.decoder(jnp.concatenate([y, context], -1)[:, None], at.states)
            asked = jnp.concatenate([before, y, context], -1)
            return at._replace(states=states), (asked, alpha[:, 0])

        scan = nn.scan(one, variable_broadcast="params", split_rngs={"params": False}, in_axes=1, out_axes=1)
        at, (asked, alpha) = scan(self, at, self.target_tokens[tokens])
        deep = self.deep(asked)  # [B, T, 2 l], U_o, V_o and C_o in one
        return jnp.max(deep.reshape(*deep.shape[:-1], self.maxout, 2), -1), at, alpha


def flipped(x: Array, length: Array | None) -> Array:
    """Rows [B, S, ...] with their first `length` steps in the opposite order; padding stays where it is."""
    if length is None:
        return x[:, ::-1]
    place = jnp.arange(x.shape[1])
    index = jnp.where(place < length[:, None], length[:, None] - 1 - place, place)
    return jnp.take_along_axis(x, index.reshape(index.shape + (1,) * (x.ndim - 2)), 1)
