"""Recurrent networks: stacks of Elman, LSTM and GRU layers, and what reads, labels and writes sequences with them.

    elman       h_t = tanh(W x_t + U h_{t-1} + b)                                         Elman 1990
    lstm        c_t = f c_{t-1} + i g,  h_t = o tanh(c_t)                                 Hochreiter 1997, Gers 2000
    gru         h_t = (1 - z) n + z h_{t-1},  n = tanh(W x_t + b + r (U h_{t-1} + c))     arXiv:1412.3555, as in cuDNN
    gru_before  the same with                 n = tanh(W x_t + b + U (r h_{t-1}))         arXiv:1406.1078

The equations stand in full in `layers.recurrence`. All gates of a layer are one matrix; an LSTM has 4 (D H + H H + H)
parameters, an Elman layer a quarter of them, a GRU three quarters (and H more for its c): libraries that keep two biases
for each gate count the second on top of that.

A bidirectional layer (Schuster and Paliwal 1997) is two, the second from the last step to the first, outputs side by
side. Where rows have lengths, padding changes nothing: the state is carried over it, so that the backward half begins at
the true last step and the last state is that of the true last step.

Initial weights: input matrices normal with variance 1 / D, recurrent ones orthogonal gate by gate, biases 0 but that of
the forget gate, which is 1 (Jozefowicz et al. 2015): at 0 the cell would halve its memory at every step.

Dropout falls on the connections between layers, never on the recurrence (arXiv:1409.2329); `variational` draws one mask
for all steps of a sequence (arXiv:1512.05287, which drops the recurrence as well).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.nn.initializers import Initializer, lecun_normal, normal, orthogonal, zeros
from jax.sharding import PartitionSpec as P

from aigc_jax.networks.layers import Dense, elman, gru, linear, lstm

Cell = Literal["elman", "lstm", "gru", "gru_before"]
GATES = {"elman": 1, "lstm": 4, "gru": 3, "gru_before": 3}
RULES = ((r"\blayer_\d+", "replicate"), (r"^memory\.states", P(("data", "fsdp"))), (r".*", "fsdp"))
"""Placement: layers on every device, or a cut matrix would be gathered again at each step; states along the batch."""

States = tuple[Any, ...]  # one for each layer and direction: (h, c) of an LSTM, h of the others


class Layer(nn.Module):
    """One direction of one layer: [B, T, D] -> [B, T, H], and its state.

    matrices: initial values of every parameter, biases too; None as the module says, the recurrent matrix gate by gate.
    """

    width: int
    cell: Cell
    reverse: bool = False
    use_bias: bool = True
    forget_bias: float = 1.0
    matrices: Initializer | None = None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, state: Any, mask: Array | None) -> tuple[Array, Any]:
        columns = GATES[self.cell] * self.width
        w = self.param("input", self.matrices or lecun_normal(), (x.shape[-1], columns), jnp.float32)
        u = self.param("recurrent", self.matrices or self._by_gate, (self.width, columns), jnp.float32)
        b = self.param("bias", self._bias, (columns,), jnp.float32) if self.use_bias else None
        x, w, u, b = promote_dtype(x, w, u, b, dtype=self.dtype)
        options: dict[str, Any] = dict(mask=mask, reverse=self.reverse)
        if self.cell == "elman":
            return elman(x, w, u, b, state, **options)
        if self.cell == "lstm":
            return lstm(x, w, u, b, state, **options)
        if self.cell == "gru" and self.use_bias:
            own = self.param("recurrent_bias", self.matrices or zeros, (self.width,), jnp.float32)
            options["recurrent_bias"] = jnp.pad(own.astype(w.dtype), (2 * self.width, 0))
        return gru(x, w, u, b, state, reset_after=self.cell == "gru", **options)

    def _by_gate(self, key: Array, shape: tuple[int, int], dtype: Any) -> Array:
        keys = jax.random.split(key, GATES[self.cell])
        return jnp.concatenate([orthogonal()(one, (shape[0], shape[0]), dtype) for one in keys], -1)

    def _bias(self, key: Array, shape: tuple[int], dtype: Any) -> Array:
        start = (self.matrices or zeros)(key, shape, dtype)
        if self.cell != "lstm":
            return start
        return start.at[self.width : 2 * self.width].add(self.forget_bias)


class Recurrent(nn.Module):
    """A stack of layers: [B, T, D] -> ([B, T, H], or 2 H in both directions, and the states after the last step).

    width:         H of every layer and direction.
    cell:          elman, lstm, gru, gru_before.
    dropout:       of what goes from one layer to the next; draws from the rng `dropout`.
    variational:   one dropout mask for all steps of a sequence.
    use_bias, forget_bias, matrices: see the module and `Layer`.
    dtype:         of the computation; parameters stay float32.

    Raises ValueError for another cell, a width or a depth below 1.
    """

    width: int
    depth: int = 1
    cell: Cell = "lstm"
    bidirectional: bool = False
    dropout: float = 0.0
    variational: bool = False
    use_bias: bool = True
    forget_bias: float = 1.0
    matrices: Initializer | None = None
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Array, states: States | None = None, mask: Array | None = None, train: bool = False
    ) -> tuple[Array, States]:
        """states: as a call before returned them, zeros if None. mask: [B, T] bool, False for padding at the end."""
        if self.cell not in GATES or min(self.width, self.depth) < 1:
            raise ValueError(f"{self.depth} layers of {self.width} {self.cell!r}: cells are {', '.join(GATES)}")
        drop = nn.Dropout(self.dropout, broadcast_dims=(1,) if self.variational else (), deterministic=not train)
        directions, after = 1 + self.bidirectional, []
        for index in range(self.depth):
            x, halves = drop(x) if index else x, []
            for direction in range(directions):
                layer = Layer(self.width, self.cell, direction == 1, self.use_bias, self.forget_bias, self.matrices,
                              self.dtype, name=f"layer_{index}{'_reverse' * direction}")  # fmt: skip
                state = None if states is None else states[index * directions + direction]
                half, state = layer(x, state, mask)
                halves.append(half)
                after.append(state)
            x = jnp.concatenate(halves, -1) if self.bidirectional else halves[0]
        return x, tuple(after)

    def zero_states(self, batch: int) -> States:
        """The states before the first step."""
        zero = jnp.zeros((batch, self.width), self.dtype or jnp.float32)
        one = (zero, zero) if self.cell == "lstm" else zero
        return (one,) * (self.depth * (1 + self.bidirectional))

    def summary(self, states: States) -> Array:
        """h of the top layer, [B, H] or [B, 2 H]: of a backward half it is the one that has read the whole sequence."""
        return jnp.concatenate([output(state) for state in states[-1 - self.bidirectional :]], -1)


def symmetric(spread: float) -> Initializer:
    """Initial values from U(-spread, spread)."""

    def draw(key: Array, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        return jax.random.uniform(key, shape, dtype, -spread, spread, out_sharding=out_sharding)

    return draw


def output(state: Any) -> Array:
    """h of a state: of (h, c) the first."""
    return jax.tree.leaves(state)[0]


def valid(length: Array | None, steps: int) -> Array | None:
    """The mask [B, T] of rows of these lengths [B]; None of None."""
    return None if length is None else jnp.arange(steps) < length[:, None]


class Reader(nn.Module):
    """Reads a sequence and answers once, or at every step: -> (logits, features by name).

    stack:   the recurrent layers.
    outputs: classes, or numbers.
    every:   False: one answer [B, outputs] from the state after the last step (many to one; with one step, one to one);
             True: one at each step, [B, T, outputs] (many to many, aligned).
    vocab:   of tokens, which are embedded in `embedding` dimensions; None reads vectors.
    dropout: of what the layers read and of what they give.

    Features: `steps` [B, T, H] and `pooled` [B, H], the summary of the last states. Logits are float32.
    """

    stack: Recurrent
    outputs: int
    every: bool = False
    vocab: int | None = None
    embedding: int = 0
    dropout: float = 0.0

    def setup(self) -> None:
        if self.vocab is not None:
            shape = (self.vocab, self.embedding)
            self.tokens = self.param("tokens", self.stack.matrices or normal(1.0), shape, jnp.float32)
        self.output = Dense(self.outputs, use_bias=self.stack.use_bias, dtype=self.stack.dtype)
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, x: Array, train: bool = False, length: Array | None = None) -> tuple[Array, dict[str, Array]]:
        """x: tokens [B, T], vectors [B, T, D], or images [B, H, W, C], read row by row. length: [B], None is T."""
        mask = valid(length, x.shape[1])
        steps, states = self.stack(self.drop(self.embed(x), deterministic=not train), mask=mask, train=train)
        features = {"steps": steps, "pooled": self.stack.summary(states)}
        answer = features["steps" if self.every else "pooled"]
        return self.logits(self.drop(answer, deterministic=not train)), features

    def embed(self, x: Array) -> Array:
        """What the layers read, [B, T, D]."""
        return x.reshape(*x.shape[:2], -1) if self.vocab is None else self.tokens[x]

    def logits(self, h: Array) -> Array:
        """The answer [..., outputs] to what the layers gave."""
        return self.output(h).astype(jnp.float32)


class LanguageModel(nn.Module):
    """Tokens [B, T] -> (logits [B, T, V] of the token after each, float32; states): embedding, layers, softmax.

    stack:     the recurrent layers, in one direction.
    embedding: width of the token table.
    tied:      the softmax takes the token table (arXiv:1608.05859), whose width is then that of the layers.
    dropout:   of the embeddings and of what the last layer gives, as `stack.dropout` between (arXiv:1409.2329).

    The states are what a later call goes on from: over chunks of a text, or token by token (`step`) when it writes.
    Raises ValueError for a stack in both directions, and for a tied table of another width.
    """

    stack: Recurrent
    vocab: int
    embedding: int
    tied: bool = False
    dropout: float = 0.0

    def setup(self) -> None:
        if self.stack.bidirectional:
            raise ValueError("a language model reads in one direction: a backward layer has seen what is predicted")
        if self.tied and self.embedding != self.stack.width:
            raise ValueError(f"tied: the table is {self.embedding} wide, what it is multiplied by {self.stack.width}")
        start = self.stack.matrices or normal(self.embedding**-0.5 if self.tied else 1.0)
        self.tokens = self.param("tokens", start, (self.vocab, self.embedding), jnp.float32)
        if not self.tied:
            start = self.stack.matrices
            options: dict[str, Any] = {} if start is None else dict(kernel_init=start)
            self.output = Dense(self.vocab, use_bias=self.stack.use_bias, dtype=self.stack.dtype, **options)
        self.drop = nn.Dropout(self.dropout, broadcast_dims=(1,) if self.stack.variational else ())

    def __call__(self, tokens: Array, states: States | None = None, train: bool = False) -> tuple[Array, States]:
        x = self.drop(self.embed(tokens), deterministic=not train)
        x, states = self.stack(x, states, train=train)
        return self.logits(self.drop(x, deterministic=not train)), states

    def step(self, tokens: Array, states: States) -> tuple[Array, States]:
        """Reads T more tokens [B, T] -> (logits [B, V] of the one that follows, states)."""
        x, states = self.stack(self.embed(tokens), states)
        return self.logits(x[:, -1]), states

    def embed(self, tokens: Array) -> Array:
        """What the layers read, [B, T, D]."""
        return self.tokens[tokens]

    def logits(self, x: Array) -> Array:
        """[..., H] -> [..., V], float32."""
        if not self.tied:
            return self.output(x).astype(jnp.float32)
        x = x if self.stack.dtype is None else x.astype(self.stack.dtype)
        return linear(x, self.tokens.T.astype(x.dtype)).astype(jnp.float32)


def gradient_norms(stack: Recurrent, params: Any, x: Array, cost: Callable[[Array], Array]) -> Array:
    """|| d cost(h_T) / d h_t || for t = 1 .. T, [T]: how much of what the end asks for reaches each step.

    stack:  in one direction; h is that of its top layer, through which the gradient goes on down and back.
    params: of the stack.
    x:      [B, T, D], what it reads.
    cost:   the last h [B, H] -> scalar.
    """

    def run(moved: Array) -> Array:  # moved [T, B, H] is added to h_t: the gradient to it is that of h_t
        def body(states: States, xs: tuple[Array, Array]) -> tuple[States, None]:
            now, more = xs
            answer: Any = stack.apply({"params": params}, now[:, None], states)
            *below, top = answer[1]
            top = (top[0] + more, top[1]) if isinstance(top, tuple) else top + more
            return (*below, top), None

        states, _ = jax.lax.scan(body, stack.zero_states(x.shape[0]), (x.swapaxes(0, 1), moved))
        return cost(stack.summary(states))

    zeros_ = jnp.zeros((x.shape[1], x.shape[0], stack.width), jnp.float32)
    return jnp.sqrt(jnp.sum(jax.grad(run)(zeros_) ** 2, (1, 2)))
