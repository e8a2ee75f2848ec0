"""Gated PixelCNN: two stacks without a blind spot, gates, classes (van den Oord et al. 2016, arXiv:1606.05328).

    gate(a) = tanh(a_1) * sigmoid(a_2)                                          a_1, a_2 the halves of 2 p features     (eq. 2)
    u_i     = b + conv(v, rows i - n // 2 .. i, n wide),    v <- gate(u + V_v y)                                vertical stack
    s       = conv(h, n // 2 pixels to the left and its own, mask A, then B) + link(u_{i-1}) + V_h y,
    h       <- h + out(gate(s)),    skip(gate(s)) to the output                                               horizontal stack

The vertical stack sees all rows above, the horizontal one its own row; y is the class (eq. 4), and what the horizontal stack is
told of the vertical one is one row old, so that nothing of the own row comes by it. The first layer (n = 7) has no residual.
Skips are added up and pass  relu, 1 x 1, relu, 1 x 1.  Colours are as in `pixelcnn`: the horizontal stack alone needs masks.

ImageNet's layers, width and kernel are the paper's, the rest is ours: it says nothing of the head, nor of CIFAR-10's sizes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.layers import Conv, Dense
from aigc_jax.networks.layers.raster import Pick, Raster, RasterConv, check_label, draw, pushed, signed, sum_of_rows

SIZES: dict[str, dict[str, Any]] = {
    "imagenet": dict(width=384, layers=20, kernel=5, head=1024),
    "cifar": dict(width=128, layers=15, kernel=5, head=1024),
    "mnist": dict(width=64, layers=12, kernel=3, head=32),
}


class GatedLayer(nn.Module):
    """(v [B, H, W, C], h [B, H, W, C], label [B]) -> v, h, skip, all [B, H, W, width].

    first: mask A, no residual, no skip; last: nothing but the skip comes out, v and h are None.
    """

    width: int
    kernel: int
    colours: int = 1
    classes: int = 0
    first: bool = False
    last: bool = False
    dtype: Any = None

    def setup(self) -> None:
        twice, reach = 2 * self.width, self.kernel // 2
        layer = partial(RasterConv, colours=self.colours, dtype=self.dtype)
        around = ((reach + 1, 0), (reach, reach))  # the first output is that of row -1, to which all is padding
        self.vertical = Conv(twice, (reach + 1, self.kernel), padding=around, dtype=self.dtype)
        self.link = Dense(twice, use_bias=False, dtype=self.dtype)
        mask = "A" if self.first else "B"
        self.horizontal = layer(twice, left=reach, mask=mask, halves=2)
        self.out = None if self.last else layer(self.width)
        self.skip = None if self.first else layer(self.width)
        table, init = (self.classes, twice), nn.initializers.normal(max(self.classes, 1) ** -0.5)
        self.class_v = self.param("class_v", init, table, jnp.float32) if self.classes and not self.last else None
        self.class_h = self.param("class_h", init, table, jnp.float32) if self.classes else None

    def __call__(self, v: Array, h: Array, label: Array | None) -> tuple[Array | None, Array | None, Array | float]:
        class_v, class_h = (each[:, None, None] for each in self.of_class(label))
        u = self.vertical(v)  # [B, H + 1, W, 2 p]
        y = gate(self.horizontal(h) + self.link(u[:, :-1]) + class_h)
        skip = 0.0 if self.skip is None else self.skip(y)
        if self.out is None:
            return None, None, skip
        return gate(u[:, 1:] + class_v), self.out(y) if self.first else h + self.out(y), skip

    def of_class(self, label: Array | None) -> tuple[Array, Array]:
        """What a class adds in either stack, [B, 2 p] each; without classes 0, [1, 2 p]."""
        check_label(label, self.classes)
        tables, nothing = (self.class_v, self.class_h), jnp.zeros((1, 2 * self.width))
        v, h = (nothing if label is None or table is None else table[label] for table in tables)
        return v, h

    def weights(self, label: Array | None) -> dict[str, Any]:
        """What `draw` needs of a bound layer."""
        params, (class_v, class_h) = self.variables["params"], self.of_class(label)
        return dict(
            vertical=params["vertical"]["kernel"], bias=params["vertical"]["bias"], link=params["link"]["kernel"],
            horizontal=self.horizontal.taps(), out=self.out and self.out.taps(), skip=self.skip and self.skip.taps(),
            class_v=class_v, class_h=class_h,
        )  # fmt: skip


class GatedPixelCNN(nn.Module):
    """Pixels [B, H, W, C] of 0 .. levels - 1, labels [B] -> parameters [B, H, W, C, outputs] of each, given those before.

    levels:  of the pixels; they are scaled to [-1, 1].
    outputs: parameters of each value.
    colours: C.
    classes: how many; 0 takes no label.
    width:   p.
    layers:  after the first.
    kernel:  their n, odd; `first` that of the first.
    head:    features before the last layer.
    """

    levels: int = 256
    outputs: int = 256
    colours: int = 3
    classes: int = 0
    width: int = 128
    layers: int = 15
    kernel: int = 5
    first: int = 7
    head: int = 1024
    dtype: Any = None

    def setup(self) -> None:
        if self.kernel % 2 == 0 or self.first % 2 == 0 or self.layers < 1:
            raise ValueError(
                f"kernels have a middle and there is a layer after the first: odd sides, not {self.first} and "
                f"{self.kernel}, and layers >= 1, not {self.layers}"
            )
        gated = partial(GatedLayer, self.width, colours=self.colours, classes=self.classes, dtype=self.dtype)
        more = [gated(self.kernel, last=i == self.layers - 1) for i in range(self.layers)]
        self.stack = [gated(self.first, first=True), *more]
        layer = partial(RasterConv, colours=self.colours, dtype=self.dtype)
        self.hidden, self.final = layer(self.head), layer(self.colours * self.outputs)

    def __call__(self, x: Array, label: Array | None = None) -> Array:
        v: Any = signed(x, self.levels, self.dtype)
        h: Any = v
        skips: Any = 0.0
        for layer in self.stack:
            v, h, skip = layer(v, h, label)
            skips = skips + skip
        y = self.final(nn.relu(self.hidden(nn.relu(skips))))
        return jnp.asarray(y, jnp.promote_types(y.dtype, jnp.float32)).reshape(*x.shape, self.outputs)

    def draw(
        self, key: Array, pick: Pick, known: Array, keep: Array | None = None, label: Array | None = None
    ) -> tuple[Array, Array]:
        """Pictures in the shape of `known`, whose values stand where `keep` is not 0, and their parameters; see `raster.draw`.

        For a pixel the horizontal stack costs its column; the vertical one is run once a row, for all places. In float32.
        """
        return draw(self.raster(known.shape, label), key, pick, known, keep)

    def raster(self, shape: tuple[int, ...], label: Array | None = None) -> Raster:
        """The cached network for pictures of a shape [B, H, W, C].

        The cache holds each layer's inputs: of the vertical stack in the last rows, of the horizontal one in the last pixels.
        """
        batch, _, width, _ = shape
        layers = [layer.weights(label) for layer in self.stack]
        hidden, final = self.hidden.taps(), self.final.taps()
        rows = [jnp.zeros((batch, len(w["vertical"]), width, w["vertical"].shape[2])) for w in layers]
        left = [jnp.zeros((batch, len(w["horizontal"].beside) - 1, w["horizontal"].beside.shape[1])) for w in layers]

        def column(cache: Any, context: list[Array], x: Array, place: Any) -> tuple[Array, list[Array]]:
            _, left = cache
            h, seen, skips = signed(x, self.levels), [], jnp.float32(0)
            for layer, w, beside, above in zip(self.stack, layers, left, context):
                seen.append(h)
                y = gate(w["horizontal"].column(h, beside, above))
                skips = skips if layer.first else skips + w["skip"].column(y)
                h = y if layer.last else w["out"].column(y) + (0 if layer.first else h)
            y = final.column(nn.relu(hidden.column(nn.relu(skips))))
            return y.reshape(batch, self.colours, self.outputs), seen[1:]

        def push(cache: Any, column: list[Array], x: Array, place: Any) -> tuple[Any, Array]:
            rows, left = cache
            x = signed(x, self.levels)
            return (rows, [pushed(*pair) for pair in zip(left, [x, *column])]), x

        def row(cache: Any, done: Array, i: Array) -> tuple[Any, list[Array]]:
            rows, left = cache
            v, kept, context = jnp.swapaxes(done, 0, 1), [], []  # v [B, W, C]
            for w, each in zip(layers, rows):
                kept.append(pushed(each, v))
                u = sum_of_rows(kept[-1], w["vertical"]) + w["bias"]  # [W, B, 2 p]
                context.append(u @ w["link"] + w["class_h"])
                v = jnp.swapaxes(gate(u + w["class_v"]), 0, 1)
            return (kept, jax.tree.map(jnp.zeros_like, left)), context

        nothing = [jnp.zeros((width, batch, 1)) + w["bias"] @ w["link"] + w["class_h"] for w in layers]  # of the row -1
        return Raster((rows, left), nothing, column, push, row, self.colours)


def gate(x: Array) -> Array:
    """[..., 2 p] -> [..., p] (eq. 2)."""
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * jax.nn.sigmoid(b)
