"""PixelCNN: masked convolutions that see the pixels before (van den Oord et al. 2016, arXiv:1601.06759, section 3.5).

    7 x 7 mask A, C -> 2 h;   blocks of   x + (relu, 1 x 1, h; relu, 3 x 3, h; relu, 1 x 1, 2 h)(x), mask B;
    relu, 1 x 1; relu, 1 x 1, mask B -> parameters of each value

A stack of square masked kernels has a blind spot. To the right it goes in rows above alone: the first layer 3 pixels, and each
block 1 pixel in a row higher by one. From a rows above, pixels further to the right than 3 + min(blocks, a - 1) are not seen;
`gated_pixelcnn` mends that.

Features of a layer are in one group for each colour; the groups need not be equal, so that h need not be a multiple of 3.
Sizes of the CIFAR-10 model are the paper's. Those of MNIST are ours but for the 32 features of the last layer.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.layers.raster import Pick, Raster, RasterConv, Taps, draw, pushed, signed, sum_of_rows

SIZES: dict[str, dict[str, Any]] = {
    "cifar": dict(width=128, blocks=15, head=1024),
    "mnist": dict(width=64, blocks=15, head=32),
}


class Block(nn.Module):
    """x [B, H, W, 2 h] -> the same, x added."""

    width: int
    colours: int = 1
    dtype: Any = None

    def setup(self) -> None:
        layer = partial(RasterConv, colours=self.colours, dtype=self.dtype)
        self.narrow = layer(self.width)
        self.middle = layer(self.width, above=1, left=1)
        self.widen = layer(2 * self.width)

    def __call__(self, x: Array) -> Array:
        h = self.narrow(nn.relu(x))
        h = self.middle(nn.relu(h))
        return x + self.widen(nn.relu(h))

    def taps(self) -> tuple[Taps, Taps, Taps]:
        return self.narrow.taps(), self.middle.taps(), self.widen.taps()


class PixelCNN(nn.Module):
    """Pixels [B, H, W, C] of 0 .. levels - 1 -> parameters [B, H, W, C, outputs] of each, given those before.

    levels:  of the pixels; they are scaled to [-1, 1].
    outputs: parameters of each value.
    colours: C.
    width:   h; between blocks there are 2 h features.
    blocks:  how many.
    head:    features before the last layer.
    kernel:  side of the first, odd.
    """

    levels: int = 256
    outputs: int = 256
    colours: int = 3
    width: int = 128
    blocks: int = 15
    head: int = 1024
    kernel: int = 7
    dtype: Any = None

    def setup(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"the first kernel has a middle: its side is odd, not {self.kernel}")
        layer, reach = partial(RasterConv, colours=self.colours, dtype=self.dtype), self.kernel // 2
        self.first = layer(2 * self.width, above=reach, left=reach, mask="A")
        self.layers = [Block(self.width, self.colours, self.dtype) for _ in range(self.blocks)]
        self.hidden = layer(self.head)
        self.last = layer(self.colours * self.outputs)

    def __call__(self, x: Array) -> Array:
        h = self.first(signed(x, self.levels, self.dtype))  # [B, H, W, 2 h]
        for layer in self.layers:
            h = layer(h)
        y = self.last(nn.relu(self.hidden(nn.relu(h))))
        return jnp.asarray(y, jnp.promote_types(y.dtype, jnp.float32)).reshape(*x.shape, self.outputs)

    def draw(self, key: Array, pick: Pick, known: Array, keep: Array | None = None) -> tuple[Array, Array]:
        """Pictures in the shape of `known`, whose values stand where `keep` is not 0, and their parameters; see `raster.draw`.

        For a pixel each layer costs its column: sums over rows above are made once a row, for all places. In float32.
        """
        return draw(self.raster(known.shape), key, pick, known, keep)

    def raster(self, shape: tuple[int, ...]) -> Raster:
        """The cached network for pictures of a shape [B, H, W, C].

        The cache holds, for the first layer and the 3 x 3 of each block, their inputs in the last rows and in the last pixels.
        """
        batch, _, width, _ = shape
        first, hidden, last = self.first.taps(), self.hidden.taps(), self.last.taps()
        blocks = [layer.taps() for layer in self.layers]
        seeing = [first, *(middle for _, middle, _ in blocks)]
        rows = [jnp.zeros((batch, len(taps.above), width, taps.beside.shape[1])) for taps in seeing]
        left = [jnp.zeros((batch, len(taps.beside) - 1, taps.beside.shape[1])) for taps in seeing]

        def column(cache: Any, context: list[Array], x: Array, place: Any) -> tuple[Array, list[Array]]:
            _, left = cache
            h, seen = first.column(signed(x, self.levels), left[0], context[0]), []
            for (narrow, middle, widen), beside, above in zip(blocks, left[1:], context[1:]):
                seen.append(nn.relu(narrow.column(nn.relu(h))))
                h = h + widen.column(nn.relu(middle.column(seen[-1], beside, above)))
            y = last.column(nn.relu(hidden.column(nn.relu(h))))
            return y.reshape(batch, self.colours, self.outputs), seen

        def push(cache: Any, column: list[Array], x: Array, place: Any) -> tuple[Any, list[Array]]:
            rows, left = cache
            done = [signed(x, self.levels), *column]
            return (rows, [pushed(*pair) for pair in zip(left, done)]), done

        def row(cache: Any, done: list[Array], i: Array) -> tuple[Any, list[Array]]:
            rows, left = cache
            rows = [pushed(each, jnp.swapaxes(new, 0, 1)) for each, new in zip(rows, done)]
            return (rows, jax.tree.map(jnp.zeros_like, left)), above(rows)

        def above(rows: list[Array]) -> list[Array]:
            return [sum_of_rows(each, taps.above) for each, taps in zip(rows, seeing)]

        return Raster((rows, left), above(rows), column, push, row, self.colours)
