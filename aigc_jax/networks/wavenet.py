"""WaveNet: a stack of dilated causal convolutions over samples of sound (arXiv:1609.03499).

p(x | h) = prod_t p(x_t | x_<t, h), each a softmax over the codes of mu-law (eq. 1; section 2.2). Layer l of dilation d:

    z_l = tanh(W_f *_d x_l + V_f h) . sigmoid(W_g *_d x_l + V_g h),    x_{l+1} = x_l + W_r z_l              (eqs. 2 and 3)
    logits = W_2 relu(W_1 relu(sum_l W_s z_l))                                                       (sections 2.3 and 2.4)

h is a label of the whole sound (V h is then a row of a table), or features along it, or both (section 2.5).

A sound is drawn with a queue of the (k - 1) d past inputs of each layer (arXiv:1611.09482): a sample costs one column of work,
O(layers), not a network over the receptive field. Queues begin with zeros, by which the convolutions are padded, too.

Departures. W_f and W_g are the two halves of one kernel, W_s and W_r of one matrix; the last layer has no W_r, which nothing
would read. Features that come in frames are repeated along their samples; the paper prefers a learned upsampling.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array

from aigc_jax.networks.layers import Dense, conv, linear
from aigc_jax.probability import mu_law
from aigc_jax.probability.distributions import sample_categorical

Queues = list[Array]  # of each convolution, [(k - 1) d, B, C]: what was read at time t lies at t modulo the length


def receptive_field(stacks: int, doublings: int = 10, kernel: int = 2, initial: int = 1) -> int:
    """How many samples a logit sees: (k - 1) sum_l d_l + 1 by the stack, k - 1 more by the convolution before it."""
    return (kernel - 1) * stacks * (2**doublings - 1) + 1 + (initial - 1)


class WaveNet(nn.Module):
    """Codes [B, T] -> logits [B, T, levels]; those at t are of the code at t, from the codes before it.

    levels:    number of codes.
    stacks:    how often the dilations 1, 2, 4, ..., 2 ** (doublings - 1) are gone through.
    kernel:    taps of the dilated convolutions; initial: of the one before them.
    residual, gate, skip: channels of x_l, of z_l, and of the sum over layers.
    classes:   of the label; 0 for none.
    features:  channels of features along the sound; 0 for none.
    hop:       samples that a frame of features stands for.
    scalar:    a code is read as one number, not as its one-hot row; `initial` is then wider, 32 in public code.

    Raises ValueError for sizes below 1, and for a label or features that are missing or that no field announces.
    """

    levels: int = 256
    stacks: int = 5
    doublings: int = 10
    kernel: int = 2
    initial: int = 2
    residual: int = 32
    gate: int = 32
    skip: int = 512
    classes: int = 0
    features: int = 0
    hop: int = 1
    scalar: bool = False
    dtype: Any = None

    def setup(self) -> None:
        sizes = self.stacks, self.doublings, self.kernel, self.initial, self.residual, self.gate, self.skip, self.hop
        if self.levels < 2 or min(sizes) < 1:
            raise ValueError(f"a WaveNet has 2 levels and 1 of all else at least, not {self.levels} and {sizes}")
        width, last = 2 * self.gate, len(self.dilations) - 1
        self.first = Causal(1 if self.scalar else self.levels, self.residual, self.initial, 1, self.dtype)
        self.gates = [Causal(self.residual, width, self.kernel, d, self.dtype) for d in self.dilations]
        self.outs = [Dense(self.skip + self.residual * (i < last), dtype=self.dtype) for i in range(last + 1)]
        self.labels = [Dense(width, use_bias=False, dtype=self.dtype) for _ in self.dilations if self.classes]
        self.along = [Dense(width, use_bias=False, dtype=self.dtype) for _ in self.dilations if self.features]
        self.head, self.top = Dense(self.skip, dtype=self.dtype), Dense(self.levels, dtype=self.dtype)

    @property
    def dilations(self) -> tuple[int, ...]:
        return tuple(2**i for i in range(self.doublings)) * self.stacks

    @property
    def receptive_field(self) -> int:
        return receptive_field(self.stacks, self.doublings, self.kernel, self.initial)

    def __call__(self, codes: Array, label: Array | None = None, features: Array | None = None) -> Array:
        """codes: int [B, T], or the rows that are read for them, float [B, T, levels], [B, T, 1] of a scalar input.
        label: int [B]; features: [B, T / hop, F]."""
        before = self.late(codes)
        x = self.first.looked_up(before) if codes.ndim == 2 and not self.scalar else self.first(self.rows(before))
        fixed, moving = self.label_parts(label), self.samples_of(features)
        total: Any = 0.0
        for layer, gate in enumerate(self.gates):
            x, skipped = self.update(layer, x, gate(x) + fixed[layer], moving)
            total = total + skipped
        return self.logits(total)

    def draw(self, key: Array, n: int, length: int, label: Array | None = None, features: Array | None = None,
             temperature: float = 1.0) -> tuple[Array, Array]:  # fmt: skip
        """n draws, and the logits they were drawn by: codes int32 [n, length], float32 [n, length, levels].

        temperature: divides the logits; 0 takes the likeliest code. Raises ValueError where it is negative.
        """
        fixed = [part if label is None else part[:, 0] for part in self.label_parts(label)]
        moving = self.samples_of(features)

        def step(carry: tuple[Array, Queues], now: tuple[Array, Array, Array | None]):
            code, queues = carry
            t, key, row = now
            logits, queues = self.column(code, t, queues, fixed, row)
            code = sample_categorical(key, logits, temperature)
            return (code, queues), (code, logits)

        along = None if moving is None else jnp.swapaxes(moving, 0, 1)[:length]  # [T, B, F]
        start = jnp.full(n, self.levels), self.queues(n)
        _, (codes, logits) = jax.lax.scan(step, start, (jnp.arange(length), jax.random.split(key, length), along))
        return codes.T.astype(jnp.int32), jnp.swapaxes(logits, 0, 1)

    def column(self, code: Array, t: Array, queues: Queues, fixed: list[Any], moving: Array | None
               ) -> tuple[Array, Queues]:  # fmt: skip
        """Logits [B, levels] of the code at t from the one before it [B] (`levels` before the first), and the queues after."""
        row = self.rows(code)
        x = self.first.at(recall(queues[0], row, t, self.initial, 1))
        after = [remember(queues[0], row, t, x)]
        total: Any = 0.0
        for layer, (gate, dilation) in enumerate(zip(self.gates, self.dilations)):
            inside = gate.at(recall(queues[layer + 1], x, t, self.kernel, dilation))
            after.append(remember(queues[layer + 1], x, t, inside))
            x, skipped = self.update(layer, x, inside + fixed[layer], moving)
            total = total + skipped
        return self.logits(total), after

    def update(self, layer: int, x: Array, inside: Array, moving: Array | None) -> tuple[Array, Array]:
        """x_{l+1} and W_s z_l from x_l, the sums inside the gates but for the features, and these."""
        inside = inside if moving is None else inside + self.along[layer](moving)
        filtered, gated = jnp.split(inside, 2, axis=-1)
        skipped, added = jnp.split(self.outs[layer](jnp.tanh(filtered) * jax.nn.sigmoid(gated)), [self.skip], axis=-1)
        return (x + added if added.shape[-1] else x), skipped

    def logits(self, total: Array) -> Array:
        logits = self.top(nn.relu(self.head(nn.relu(total))))
        return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))

    def late(self, codes: Array) -> Array:
        """What is read at t: what was there at t - 1. Before the first sample stands the code `levels`, a row of zeros."""
        nothing = self.levels if codes.ndim == 2 else 0
        return jnp.pad(codes, ((0, 0), (1, 0), (0, 0))[: codes.ndim], constant_values=nothing)[:, :-1]

    def rows(self, codes: Array) -> Array:
        """What is read for codes [B, ...]: [B, ..., levels], or [B, ..., 1] of a scalar input; rows pass."""
        if jnp.issubdtype(codes.dtype, jnp.floating):
            return codes
        if self.scalar:
            return jnp.where(codes < self.levels, mu_law.companded(codes, self.levels), 0)[..., None]
        return jax.nn.one_hot(codes, self.levels)

    def label_parts(self, label: Array | None) -> list[Any]:
        """V h of the label for each layer, [B, 1, 2 gate]; zeros without one."""
        if (label is not None) != bool(self.classes):
            raise ValueError(f"a WaveNet of {self.classes} classes was given {'no' if label is None else 'a'} label")
        if label is None:
            return [0.0] * len(self.dilations)
        return [table(jax.nn.one_hot(label, self.classes)[:, None]) for table in self.labels]

    def samples_of(self, features: Array | None) -> Array | None:
        """Frames [B, T / hop, F] -> [B, T, F]."""
        if (0 if features is None else features.shape[-1]) != self.features:
            given = "none" if features is None else f"{features.shape[-1]}"
            raise ValueError(f"a WaveNet of {self.features} features was given {given}")
        return None if features is None else jnp.repeat(features, self.hop, axis=1)

    def queues(self, n: int) -> Queues:
        """Those of n sounds before their first sample."""
        widths = [(self.first.channels, self.initial - 1)]
        widths += [(self.residual, (self.kernel - 1) * dilation) for dilation in self.dilations]
        return [jnp.zeros((span, n, width)) for width, span in widths]


class Causal(nn.Module):
    """A causal convolution: kernel [k, C, features], of which tap i is k - 1 - i dilations back, and bias [features]."""

    channels: int
    features: int
    taps: int
    dilation: int = 1
    dtype: Any = None

    def setup(self) -> None:
        shape = (self.taps, self.channels, self.features)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)

    def __call__(self, x: Array) -> Array:
        """[B, T, C] -> [B, T, features], zeros before the first."""
        x, kernel, bias = promote_dtype(x, self.kernel, self.bias, dtype=self.dtype)
        return conv(x, kernel, padding=[((self.taps - 1) * self.dilation, 0)], dilation=self.dilation) + bias

    def looked_up(self, codes: Array) -> Array:
        """The same of the one-hot rows of codes [B, T], for dilation 1: rows of the kernel are picked, not multiplied."""
        kernel, bias = promote_dtype(self.kernel, self.bias, dtype=self.dtype)
        rows = jnp.take(jnp.swapaxes(kernel, 0, 1), codes, axis=0, mode="fill", fill_value=0)  # [B, T, k, features]
        back = [self.taps - 1 - tap for tap in range(self.taps)]
        shifted = [
            jnp.pad(rows[:, :, tap], ((0, 0), (n, 0), (0, 0)))[:, : codes.shape[1]] for tap, n in enumerate(back)
        ]
        return sum(shifted, bias)

    def at(self, seen: Array) -> Array:
        """One time alone: what its taps see [B, k, C] -> [B, features]."""
        seen, kernel, bias = promote_dtype(seen, self.kernel, self.bias, dtype=self.dtype)
        return linear(seen.reshape(len(seen), -1), kernel.reshape(-1, self.features)) + bias


def recall(queue: Array, x: Array, t: Array, taps: int, dilation: int) -> Array:
    """What a convolution sees at t, when x [B, C] comes: [B, k, C], the farthest first.

    The queue [(k - 1) d, B, C] is a ring; a slot that was not written yet holds zeros.
    """
    span = max(1, len(queue))
    past = [queue[(t - back * dilation) % span] for back in range(taps - 1, 0, -1)]
    return jnp.stack([*past, x], axis=1)


def remember(queue: Array, x: Array, t: Array, done: Array) -> Array:
    """The queue with x in the place of its oldest entry, which the first tap has read.

    done: what was computed from that reading. XLA has to see that it comes before the writing, or it copies the queue to be
    safe, at every sample; so x is made to depend on it, by a choice that is never taken.
    """
    if not len(queue):
        return queue
    x = jnp.where(t < 0, done[:, :1], x).astype(queue.dtype)
    return jax.lax.dynamic_update_index_in_dim(queue, x, t % len(queue), 0)
