"""PixelCNN++: whole pixels, two streams, three resolutions (Salimans et al. 2017, arXiv:1701.05517; the released code).

    u  sees all rows above,  ul sees them and what lies to the left:          each begins with a shifted convolution of the
       pixels and a one, by which the padding is known from black
    block   u  <- resnet(u; shortcut),    ul <- resnet(ul; u, shortcut)
    resnet  h = conv(e(x)) + W e(a),      c_1, c_2 = conv(dropout(e(h))) + V_y,     x <- x + c_1 * sigmoid(c_2)
            e(x) = elu([x, -x]),  a what comes from the side, y the class
    way     blocks, half the size, blocks, half the size, blocks; and back up by transposed convolutions, where each block
            takes, last first, the output of one on the way down (or what its first was given) by a shortcut
    out     elu(ul), 1 x 1 -> parameters of a pixel

Convolutions of u are 2 x 3, of ul 2 x 2: a row above and the own row; nothing is masked, since u began one row and ul one pixel
behind. All colours of a pixel are put out at once: how one depends on another lies in `output`
(`aigc_jax.probability.pixel_outputs.logistics`). Every layer is weight-normalised and initialised by the first batch.

Draws work on a pixel of the streams at a time (as in Ramachandran et al. 2017, arXiv:1704.06001): u a row at once, ul a pixel;
of a coarser resolution every second row, every second pixel of it.

Departure: at the beginning, a transposed convolution is normalised over its output, the released code's over its output and a
border of zeros that is cut off.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.layers import concat_elu, conv, conv_transpose, linear
from aigc_jax.networks.layers.raster import Pick, Raster, check_label, draw, signed
from aigc_jax.networks.layers.weight_norm import WeightNorm
from aigc_jax.networks.pixelcnn_pp_columns import nothing, pixel, prepare, state_above

U: dict[str, Any] = dict(taps=(2, 3), padding=((1, 0), (1, 1)))  # what the convolutions of a stream see
UL: dict[str, Any] = dict(taps=(2, 2), padding=((1, 0), (1, 0)))
GROWN = ((1, 1), (1, 2)), ((1, 1), (1, 1))  # padding of transposed convolutions: output 2 i + a is tap 1 - a of input i


def shifted(features: int, taps: tuple[int, int], padding: Any, stride: int = 1, **fields: Any) -> WeightNorm:
    """A weight-normalised convolution that sees rows up to its own."""
    return WeightNorm(features, taps, partial(conv, strides=stride, padding=padding), **fields)


class Resnet(nn.Module):
    """x [B, H, W, F], aside [B, H, W, k F] -> [B, H, W, F].

    sees: taps and padding of its convolutions.
    """

    width: int
    sees: Any
    classes: int = 0
    dropout: float = 0.0
    dtype: Any = None

    def setup(self) -> None:
        self.first = shifted(self.width, **self.sees, dtype=self.dtype)
        self.aside = WeightNorm(self.width, dtype=self.dtype)
        self.second = shifted(2 * self.width, **self.sees, scale=0.1, dtype=self.dtype)
        self.drop = nn.Dropout(self.dropout)
        table, init = (self.classes, 2 * self.width), nn.initializers.normal(0.05)
        self.of_class = self.param("of_class", init, table, jnp.float32) if self.classes else None

    def __call__(self, x: Array, aside: Array | None = None, label: Array | None = None, train: bool = False) -> Array:
        h = self.first(concat_elu(x))
        if aside is not None:
            h = h + self.aside(concat_elu(aside))
        y = self.second(self.drop(concat_elu(h), deterministic=not train))
        return x + jax.nn.glu(y if self.of_class is None else y + self.of_class[label][:, None, None])

    def weights(self, label: Array | None, sources: int) -> dict[str, Any]:
        """What `draw` needs of a bound layer; `aside` a matrix for each of the sources that come from the side, [2 F, F]."""
        (first, bias), (second, of_class) = self.first.kernel(), self.second.kernel()
        if self.of_class is not None:
            of_class = of_class + self.of_class[label]  # [B, 2 F]
        aside = []
        if sources:
            matrix, more = self.aside.kernel()
            bias, matrix = bias + more, matrix.reshape(2, sources, self.width, self.width)
            aside = [matrix[:, i].reshape(2 * self.width, self.width) for i in range(sources)]
        return dict(first=first, bias=bias, second=second, of_class=of_class, aside=aside)


class Block(nn.Module):
    """u, ul [B, H, W, F] -> the same; `shortcut` the u and ul of a block before."""

    width: int
    classes: int = 0
    dropout: float = 0.0
    dtype: Any = None

    def setup(self) -> None:
        fields: dict[str, Any] = dict(classes=self.classes, dropout=self.dropout, dtype=self.dtype)
        self.u = Resnet(self.width, U, **fields)
        self.ul = Resnet(self.width, UL, **fields)

    def __call__(self, u: Array, ul: Array, shortcut: Any = None, **given: Any) -> tuple[Array, Array]:
        if shortcut is None:
            u = self.u(u, **given)
            return u, self.ul(ul, u, **given)
        u = self.u(u, shortcut[0], **given)
        return u, self.ul(ul, jnp.concatenate([u, shortcut[1]], axis=-1), **given)

    def weights(self, label: Array | None, shortcut: bool) -> dict[str, Any]:
        return dict(u=self.u.weights(label, int(shortcut)), ul=self.ul.weights(label, 1 + shortcut))


class Resolution(nn.Module):
    """u, ul [B, H, W, F] -> the same: blocks, what lies below at half the size, blocks with shortcuts.

    below: how many resolutions.
    """

    width: int
    resnets: int
    below: int
    classes: int = 0
    dropout: float = 0.0
    dtype: Any = None

    def setup(self) -> None:
        fields: dict[str, Any] = dict(classes=self.classes, dropout=self.dropout, dtype=self.dtype)
        self.down = [Block(self.width, **fields) for _ in range(self.resnets)]
        self.up = [Block(self.width, **fields) for _ in range(self.resnets + bool(self.below))]
        if self.below:
            shrink = partial(shifted, self.width, stride=2, dtype=self.dtype)
            self.shrink_u, self.shrink_ul = shrink(**U), shrink(**UL)
            grow = [partial(conv_transpose, strides=2, padding=padding) for padding in GROWN]
            self.grow_u = WeightNorm(self.width, U["taps"], grow[0], dtype=self.dtype)
            self.grow_ul = WeightNorm(self.width, UL["taps"], grow[1], dtype=self.dtype)
            self.coarse = Resolution(self.width, self.resnets, self.below - 1, **fields)

    def __call__(self, u: Array, ul: Array, **given: Any) -> tuple[Array, Array]:
        kept = [(u, ul)]
        for block in self.down:
            kept.append(block(*kept[-1], **given))
        u, ul = kept[-1]
        if self.below:
            u, ul = self.coarse(self.shrink_u(u), self.shrink_ul(ul), **given)
            u, ul = self.grow_u(u), self.grow_ul(ul)
        else:
            kept.pop()  # the way up begins with it
        for block in self.up:
            u, ul = block(u, ul, kept.pop(), **given)
        return u, ul

    def weights(self, label: Array | None) -> dict[str, Any]:
        """What `draw` needs, of this resolution and those below."""
        w = dict(down=[block.weights(label, False) for block in self.down],
                 up=[block.weights(label, True) for block in self.up])  # fmt: skip
        if self.below:
            names = ("shrink_u", "shrink_ul", "grow_u", "grow_ul")
            w |= {name: getattr(self, name).kernel() for name in names} | dict(coarse=self.coarse.weights(label))
        return w


class PixelCNNpp(nn.Module):
    """Pixels [B, H, W, C] of 0 .. levels - 1, labels [B] -> parameters [B, H, W, outputs] of each, given those before.

    levels:      of the pixels; they are scaled to [-1, 1].
    outputs:     parameters of a pixel.
    classes:     how many; 0 takes no label.
    width:       F.
    resnets:     in each stream, at each resolution, on the way down.
    resolutions: how many; 2^(resolutions - 1) divides H and W.
    dropout:     rate.
    """

    levels: int = 256
    outputs: int = 100
    classes: int = 0
    width: int = 160
    resnets: int = 5
    resolutions: int = 3
    dropout: float = 0.5
    dtype: Any = None

    def setup(self) -> None:
        if self.resnets < 1 or self.resolutions < 1:
            raise ValueError(f"resnets and resolutions are 1 at least, not {self.resnets} and {self.resolutions}")
        layer = partial(shifted, self.width, dtype=self.dtype)
        self.above = layer((2, 3), ((1, 0), (1, 1)))
        self.row_above = layer((1, 3), ((0, 0), (1, 1)))
        self.left = layer((2, 1), ((1, 0), (0, 0)))
        self.net = Resolution(self.width, self.resnets, self.resolutions - 1, self.classes, self.dropout, self.dtype)
        self.out = WeightNorm(self.outputs, dtype=self.dtype)

    def __call__(self, x: Array, label: Array | None = None, train: bool = False) -> Array:
        self.check(x.shape, label)
        x = with_one(signed(x, self.levels, self.dtype))
        u = behind(self.above(x), 1)
        ul = behind(self.row_above(x), 1) + behind(self.left(x), 2)
        _, ul = self.net(u, ul, label=label, train=train)
        y = self.out(nn.elu(ul))
        return jnp.asarray(y, jnp.promote_types(y.dtype, jnp.float32))

    def check(self, shape: tuple[int, ...], label: Array | None) -> None:
        """Raises ValueError for a size that cannot be halved, and for a label where there is no class, or the other way."""
        _, height, width, _ = shape
        factor = 2 ** (self.resolutions - 1)
        if height % factor or width % factor:
            raise ValueError(f"{self.resolutions} resolutions need sides that {factor} divides, not {height} x {width}")
        check_label(label, self.classes)

    def draw(
        self, key: Array, pick: Pick, known: Array, keep: Array | None = None, label: Array | None = None
    ) -> tuple[Array, Array]:
        """Pictures in the shape of `known`, whose values stand where `keep` is not 0, and their parameters; see `raster.draw`.

        For a pixel ul costs its column at the resolutions where that is a new one; u is run once a row. In float32.
        """
        self.check(known.shape, label)
        return draw(self.raster(known.shape, label), key, pick, known, keep)

    def raster(self, shape: tuple[int, ...], label: Array | None = None) -> Raster:
        """The cached network for pictures of a shape [B, H, W, C].

        The cache: what the convolutions of u saw in the row before and what they add to those of ul (`prepare`); of the latest
        column of ul what its convolutions see of it (`column`).
        """
        batch, _, width, colours = shape
        w, (out, out_bias) = self.net.weights(label), self.out.kernel()
        (above, above_bias), (row_above, row_bias), (left, left_bias) = (
            layer.kernel() for layer in (self.above, self.row_above, self.left)
        )

        def begin(rows: Array, i: Array) -> tuple[Array, Array]:
            """u and what is known of ul, [B, W, F], in row i after these two [B, 2, W, C + 1]: nothing lies above the first."""
            u = conv(rows, above, padding=((0, 0), (1, 1)))[:, 0] + above_bias
            ul = conv(rows[:, 1:], row_above, padding=((0, 0), (1, 1)))[:, 0] + row_bias
            shift = jnp.pad(linear(rows[:, 1], left[0, 0]) + left_bias, ((0, 0), (1, 0), (0, 0)))[:, :-1]
            return jnp.where(i > 0, u, 0), jnp.where(i > 0, ul, 0) + shift

        def ready(rows: Array, state: Any, done: Any, i: Array) -> Any:
            """The cache before row i."""
            u, ul = begin(rows, i)
            _, state = prepare(w, state, done, u, i)
            return rows, state, jnp.moveaxis(ul, 1, 0), *fresh

        def column(cache: Any, context: Any, x: Array, place: tuple[Array, Array]) -> tuple[Array, Any]:
            _, state, known, held, beside = cache
            ul = known[place[1]] + beside @ left[1, 0]
            ul, held = pixel(w, state, held, ul, *place)
            return nn.elu(ul) @ out + out_bias, held

        def push(cache: Any, column: Any, x: Array, place: tuple[Array, Array]) -> tuple[Any, Any]:
            *rest, _, _ = cache
            x = with_one(signed(x, self.levels))
            return (*rest, column, x), (column, x)

        def row(cache: Any, done: Any, i: Array) -> tuple[Any, Any]:
            rows, state, *_ = cache
            done, x = done
            rows = jnp.stack([rows[:, 1], jnp.moveaxis(x, 0, 1)], axis=1)
            return ready(rows, state, done, i + 1), ()

        fresh = nothing(w, batch), jnp.zeros((batch, colours + 1))
        rows = jnp.zeros((batch, 2, width, colours + 1))
        cache = ready(rows, state_above(w, batch, width), nothing(w, width, batch), jnp.int32(0))
        return Raster(cache, (), column, push, row, stages=1)


def with_one(x: Array) -> Array:
    """A channel of ones added."""
    return jnp.concatenate([x, jnp.ones_like(x[..., :1])], axis=-1)


def behind(x: Array, axis: int) -> Array:
    """Everything moved on by one place along the axis, zeros first."""
    pads = [(int(a == axis), 0) for a in range(x.ndim)]
    return jax.lax.slice_in_dim(jnp.pad(x, pads), 0, x.shape[axis], axis=axis)
