"""Transformers over values one after another: pixels, their colours, indices of a palette, samples of sound.

    p(x) = prod_t p(x_t | x_<t)          t over rows, pixels of a row, colours of a pixel; or over samples

    h_0  = [start, E_c[x_0], E_c[x_1], ..., E_c[x_{T-2}]] + positions + class           a table E_c for each colour c
    pre:   h' = h + attention(norm h),  h = h' + W_down f(W_up norm h'),   params = W norm h_L
    post:  h' = norm(h + attention h),  h = norm(h' + W_down f(W_up h')),  params = W h_L + b

"pre" is iGPT (Chen et al. 2020, Generative pretraining from pixels): the blocks of GPT-2, f(x) = x sigmoid(1.702 x), a norm
by the root mean square without a mean or a bias (so the released code; the paper does not say), full attention. "post" is the
Image Transformer (arXiv:1802.05751): f = relu, maps of attention without biases, and local attention: queries in blocks of 256
see their block, up to themselves, and the 256 values before it.

Positions: "learned", a row of a table for each t (iGPT); "grid", sines of the row in one half of the width and of the place in
the row, colours counted, in the other (Image Transformer, section 3.1); "distance", a learned number for each head and each
distance of a key from its query, added to their product: with local attention sounds have no longest length.

A draw keeps keys and values of what may still be seen, in a ring: a value costs one column.

Departures. Start is learned in both (the Image Transformer has zeros). Attention weights are not dropped. The mixture of
logistics of the Image Transformer, whose tokens are whole pixels, is left out: the released configuration of 2.90 bits per
dimension on CIFAR-10 has a softmax over 256 values, as here. W begins at zero (iGPT) in both.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn.initializers import lecun_uniform, normal, zeros

from aigc_jax.networks.layers import Dense, LayerNorm, RMSNorm, activation, attention, local_attention, sinusoidal
from aigc_jax.networks.layers.raster import Pick, check_label
from aigc_jax.probability.distributions import sample_categorical

IMAGE: dict[str, Any] = dict(norm="post", activation="relu", positions="grid", block=256, memory=256)
SIZES: dict[str, dict[str, Any]] = {
    "image": dict(**IMAGE, width=512, depth=12, heads=4),
    "igpt-s": dict(width=512, depth=24, heads=8),
    "igpt-m": dict(width=1024, depth=36, heads=8),
    "igpt-l": dict(width=1536, depth=48, heads=16),
}
"""The Image Transformer as released for CIFAR-10, and the sizes of iGPT."""

Pair = tuple[Array, Array]


class Reach(NamedTuple):
    """What a query sees: of its block, which begins at a multiple of `block`, and of `memory` values before that."""

    block: int
    memory: int = 0

    @property
    def slots(self) -> int:
        """Of a ring that holds whatever a query sees."""
        return self.block + self.memory


class Block(nn.Module):
    """Attention and an inner layer, x [B, T, D] -> the same.

    reach:        of local attention; None is full.
    near:         how many distances have a number for each head; 0 for none.
    residual_std: of the initial weights of the two maps that write to the stream, before a norm ("pre").
    """

    heads: int
    hidden: int
    norm: str
    activation: str
    reach: Reach | None
    near: int
    residual_std: float
    dropout: float = 0.0
    train: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, past: Pair | None, at: Array | int) -> tuple[Array, Pair | None]:
        """A past of rings [B, H, S, K] is that of place `at`, of which x [B, 1, D] is; it comes back with x."""
        post = self.norm == "post"
        norms = [
            LayerNorm(dtype=self.dtype, name=name) if post else RMSNorm(1e-5, dtype=self.dtype, name=name)
            for name in ("norm_attention", "norm_mlp")
        ]
        y, past = self._attend(x if post else norms[0](x), past, at)
        x = self._added(x, y, norms[0])
        y = self._map(self.hidden, "up")(x if post else norms[1](x))
        y = self._map(x.shape[-1], "down", writes=True)(activation(self.activation)(y))
        return self._added(x, y, norms[1]), past

    def _attend(self, x: Array, past: Pair | None, at: Array | int) -> tuple[Array, Pair | None]:
        width, use_bias = x.shape[-1], self.norm == "pre"
        qkv = self._map(3 * width, "qkv", use_bias)(x)
        q, k, v = (part.reshape(*x.shape[:-1], self.heads, -1) for part in jnp.split(qkv, 3, -1))  # [B, T, H, K]
        near = self.param("near", zeros, (self.heads, self.near), jnp.float32) if self.near else None
        if past is not None:
            slots = past[0].shape[2]
            keys, values = (
                jax.lax.dynamic_update_slice_in_dim(old, heads_first(new.astype(old.dtype)), at % slots, 2)
                for old, new in zip(past, (k, v))
            )
            past, k, v = (keys, values), heads_first(keys), heads_first(values)
            ago = (at - jnp.arange(slots)) % slots  # how far back what lies in a slot is
            first = 0 if self.reach is None else at // self.reach.block * self.reach.block - self.reach.memory
            seen = at - ago >= jnp.maximum(first, 0)
            bias = None if near is None else near[:, None, ago]
            y = attention(q, k, v, mask=seen, bias=bias)
        elif self.reach is not None:
            y = local_attention(q, k, v, block=self.reach.block, memory=self.reach.memory, near=near)
        else:
            ago = np.arange(x.shape[1])[:, None] - np.arange(x.shape[1])
            y = attention(q, k, v, causal=True, bias=None if near is None else near[:, ago.clip(0)])
        return self._map(width, "out", use_bias, writes=True)(y.reshape(x.shape)), past

    def _map(self, features: int, name: str, use_bias: bool = True, writes: bool = False) -> Dense:
        init = lecun_uniform() if self.norm == "post" else normal(self.residual_std if writes else 0.02)
        return Dense(features, use_bias, init, dtype=self.dtype, name=name)

    def _added(self, x: Array, y: Array, norm: nn.Module) -> Array:
        x = x + nn.Dropout(self.dropout, deterministic=not self.train)(y)
        return cast(Array, norm(x)) if self.norm == "post" else x


def heads_first(x: Array) -> Array:
    """[B, S, H, K] -> [B, H, S, K] and back: so products over all slots read a ring as it lies."""
    return x.transpose(0, 2, 1, 3)


class PixelTransformer(nn.Module):
    """Values [B, ...] of 0 .. levels - 1, labels [B] -> parameters [B, ..., outputs] of each, given those before.

    Axes after the batch are read in the order they lie in: rows, pixels, colours; or samples.

    levels:     of the values; outputs: parameters of each.
    length:     the most values T; with positions "distance" the reach of full attention.
    colours:    tables of values, taken in turn.
    row:        values of a row, colours counted, for positions "grid".
    classes:    how many; 0 takes no label.
    hidden:     width inside the inner layer; None is four times `width`.
    block, memory: of local attention; block 0 is full attention.
    scan, remat: one stacked block, parameters `blocks` of [L, ...]; activations computed again in the backward pass.
    dtype:      of the computation; parameters stay float32, outputs come out float32. Caches are of it, too.

    Raises ValueError for fields that do not fit, for more values than positions, and for labels without classes.
    """

    levels: int = 256
    outputs: int = 256
    length: int = 3072
    colours: int = 1
    row: int = 0
    classes: int = 0
    width: int = 512
    depth: int = 24
    heads: int = 8
    hidden: int | None = None
    norm: Literal["pre", "post"] = "pre"
    activation: str = "quick_gelu"
    positions: Literal["learned", "grid", "distance"] = "learned"
    block: int = 0
    memory: int = 0
    dropout: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: Any = None

    def setup(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        if self.norm not in ("pre", "post") or self.positions not in ("learned", "grid", "distance"):
            raise ValueError(f"unknown norm {self.norm!r} or positions {self.positions!r}: there are pre and post; learned, "
                             "grid and distance")  # fmt: skip
        if self.positions == "grid" and (self.row < 1 or self.width % 4):
            raise ValueError(f"positions on a grid take a row >= 1 and a width by 4, not {self.row} and {self.width}")
        if self.block < 0 or self.memory < 0 or self.memory and not self.block:
            raise ValueError(f"a memory of {self.memory} lies before a block of at least 1, not of {self.block}")
        grid = self.positions == "grid"
        init = normal(self.width**-0.5 if grid else 0.02)  # by the root of the width they are multiplied beside sines
        self.values = self.param("values", init, (self.colours * self.levels, self.width), jnp.float32)
        self.start = self.param("start", init, (self.width,), jnp.float32)
        self.labels = self.param("labels", init, (self.classes, self.width), jnp.float32) if self.classes else None
        learned, table = self.positions == "learned", (self.length, self.width)
        self.places = self.param("positions", normal(0.01), table, jnp.float32) if learned else None
        self.norm_last = RMSNorm(1e-5, dtype=self.dtype) if self.norm == "pre" else None
        self.head = Dense(self.outputs, self.norm == "post", zeros, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)

    @property
    def reach(self) -> Reach | None:
        return Reach(self.block, self.memory) if self.block else None

    def __call__(self, x: Array, label: Array | None = None, train: bool = False) -> Array:
        """Training with dropout draws from the rng `dropout`."""
        return self.transform(self.embed(x, label), train).reshape(*x.shape, self.outputs)

    def embed(self, x: Array, label: Array | None = None) -> Array:
        """h_0 [B, T, D]: at place t what is known of the value before."""
        tokens = x.reshape(len(x), -1).astype(jnp.int32)
        length = tokens.shape[1]
        self._check(length)
        h = self.values[tokens[:, :-1] + self.levels * (np.arange(length - 1) % self.colours)]
        h = jnp.concatenate([jnp.broadcast_to(self.start, (len(x), 1, self.width)), h], axis=1)
        return self._placed(h, 0, label)

    def transform(self, h: Array, train: bool = False) -> Array:
        """h_0 [B, T, D] -> parameters [B, T, outputs]."""
        return self._params(self.blocks(self.drop(h, deterministic=not train), None, 0, train)[0])

    def draw(
        self, key: Array, pick: Pick, known: Array, keep: Array | None = None, label: Array | None = None
    ) -> tuple[Array, Array]:
        """Draws in the shape and dtype of `known` [B, ...], and the parameters [B, ..., outputs] they were drawn by.

        pick: (key, params [B, 1, outputs]) -> values [B, 1]. keep: of the shape of `known`, or with a last axis of 1: where it
        is not 0, the value of `known` stands; None draws all.
        """
        batch, shape = len(known), known.shape
        given = jnp.zeros(shape, bool) if keep is None else jnp.broadcast_to(keep != 0, shape)
        length = given[0].size
        self._check(length)
        start = jnp.broadcast_to(self.start, (batch, self.width))

        def step(carry: tuple[Array, Any], now: tuple[Array, ...]) -> tuple[tuple[Array, Any], tuple[Array, Array]]:
            (before, past), (at, key, known, given) = carry, now
            h, past = self.blocks(self._placed(before[:, None], at, label), past, at)
            params = self._params(h)  # [B, 1, outputs]
            value = jnp.where(given, known, pick(key, params)[:, 0].astype(known.dtype))
            before = self.values[value.astype(jnp.int32) + self.levels * (at % self.colours)]
            return (before, past), (value, params[:, 0])

        by_place = (each.reshape(batch, -1).T for each in (known, given))  # [T, B]
        places = jnp.arange(length), jax.random.split(key, length), *by_place
        _, (x, params) = jax.lax.scan(step, (start, self.empty(batch, length)), places)
        return x.T.reshape(shape), jnp.moveaxis(params, 0, 1).reshape(*shape, self.outputs)

    def empty(self, batch: int, length: int) -> Any:
        """Rings of keys and values before the first of `length` values, no longer than what is seen."""
        slots = length if self.reach is None else min(length, self.reach.slots)
        shape = batch, self.heads, slots, self.width // self.heads
        zeros = jnp.zeros((self.depth, *shape) if self.scan else shape, self.dtype or self.values.dtype)
        return (zeros, zeros) if self.scan else ((zeros, zeros),) * self.depth

    @nn.compact
    def blocks(self, h: Array, past: Any, at: Array | int, train: bool = False) -> tuple[Array, Any]:
        """h_0 [B, T, D] -> h_L, and the past with it where there is one."""
        block = nn.remat(Block, prevent_cse=not self.scan) if self.remat else Block
        if self.scan:
            axes: Any = (0, nn.broadcast)
            block = nn.scan(block, variable_axes={"params": 0}, split_rngs={"params": True, "dropout": True},
                            in_axes=axes, length=self.depth)  # fmt: skip
        near = (self.length if self.reach is None else self.reach.slots) if self.positions == "distance" else 0
        residual_std = 0.02 / math.sqrt(2 * self.depth)
        make = partial(block, self.heads, self.hidden or 4 * self.width, self.norm, self.activation, self.reach, near,
                       residual_std, self.dropout, train, self.dtype)  # fmt: skip
        if self.scan:
            return make(name="blocks")(h, past, at)
        after = []
        for index in range(self.depth):
            h, one = make(name=f"block_{index}")(h, None if past is None else past[index], at)
            after.append(one)
        return h, None if past is None else tuple(after)

    def _placed(self, h: Array, start: Array | int, label: Array | None) -> Array:
        """h [B, t, D] with the label, and the positions of the places from `start` on."""
        check_label(label, self.classes)
        if label is not None and self.labels is not None:
            h = h + self.labels[label][:, None]
        if self.positions == "grid":
            at = start + jnp.arange(h.shape[1])
            rows, half = -(-self.length // self.row), self.width // 2
            down, along = (jnp.asarray(sinusoidal(places, half)) for places in (rows, self.row))
            h = h * math.sqrt(self.width) + jnp.concatenate([down[at // self.row], along[at % self.row]], -1)
        if self.places is not None:
            h = h + jax.lax.dynamic_slice_in_dim(self.places, start, h.shape[1])
        return h if self.dtype is None else h.astype(self.dtype)

    def _params(self, h: Array) -> Array:
        y = self.head(h if self.norm_last is None else self.norm_last(h))
        return jnp.asarray(y, jnp.promote_types(y.dtype, jnp.float32))

    def _check(self, length: int) -> None:
        """Raises ValueError where positions, or numbers for distances, end before `length`."""
        endless = self.positions == "distance" and self.reach is not None
        if length > self.length and not endless:
            raise ValueError(f"{length} values do not fit {self.length} positions")


class SoundTransformer(nn.Module):
    """`PixelTransformer` over codes of sound, as `methods.likelihood.waves` asks for: codes [B, T] -> logits [B, T, levels]."""

    values: PixelTransformer

    @property
    def levels(self) -> int:
        return self.values.levels

    @property
    def classes(self) -> int:
        return self.values.classes

    @property
    def dropout(self) -> float:
        return self.values.dropout

    def __call__(self, codes: Array, label: Array | None = None, train: bool = False) -> Array:
        return self.values(codes, label, train)

    def draw(self, key: Array, n: int, length: int, label: Array | None = None,
             temperature: float = 1.0) -> tuple[Array, Array]:  # fmt: skip
        """n draws of codes, int32 [n, length], and the logits they were drawn by, [n, length, levels].

        temperature: divides the logits; 0 takes the likeliest code. Raises ValueError where it is negative.
        """
        pick = partial(sample_categorical, temperature=temperature)
        return self.values.draw(key, pick, jnp.zeros((n, length), jnp.int32), label=label)
