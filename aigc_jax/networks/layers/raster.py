"""Raster order: the convolution that sees earlier pixels alone, and the loop that draws pictures pixel by pixel.

Pixels come row by row, from left to right, and colours within a pixel one after another. `RasterConv` sees, of its own pixel,
the features of the colours before (mask A) or of those and its own (mask B), arXiv:1601.06759, section 3.4. Features belong to
colours by contiguous groups: feature f of F to colour floor(f C / F).

`draw` runs a network whose work for a pixel is one column: what lies in rows above is summed up once a row, for all of its
places at once, and what lies to the left is kept. A network says how by a `Raster`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from jax import Array

from aigc_jax.networks.layers.conv import conv


class RasterConv(nn.Module):
    """x [B, H, W, C] -> [B, H, W, features], a sum over `above` rows before and `left` pixels before in the same row.

    mask:    what it sees of its own pixel: "A" the colours before, "B" its own, too.
    colours: in how many groups features are.
    halves:  how many times the groups of the output stand one after another: 2 for the two halves of a gate.

    Of the rows above, as many pixels are seen behind the own one as before it. The kernel [above + 1, 2 left + 1, C, features],
    or [1, left + 1, C, features] without rows above, has no rows below the pixel; weights of its last row that the mask takes
    out are there and count.
    """

    features: int
    above: int = 0
    left: int = 0
    mask: Literal["A", "B"] = "B"
    colours: int = 1
    halves: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        right = self.left if self.above else 0
        shape = (self.above + 1, self.left + 1 + right, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        x, kernel, bias = promote_dtype(x, kernel * self.allowed(shape), bias, dtype=self.dtype)
        return conv(x, kernel, padding=((self.above, 0), (self.left, right))) + bias

    def allowed(self, shape: tuple[int, ...]) -> np.ndarray:
        """The mask, 0. and 1. in the shape of the kernel."""
        own = np.tile(groups(shape[3] // self.halves, self.colours), self.halves)
        seen = groups(shape[2], self.colours)[:, None] - own
        allowed = np.ones(shape, np.float32)
        allowed[-1, self.left + 1 :] = 0
        allowed[-1, self.left] = seen < 0 if self.mask == "A" else seen <= 0
        return allowed

    def taps(self) -> Taps:
        """The kernel as `draw` wants it; of a bound layer."""
        params = self.variables["params"]
        kernel = params["kernel"] * self.allowed(params["kernel"].shape)
        return Taps(kernel[:-1], kernel[-1, : self.left + 1], params["bias"])


class Taps(NamedTuple):
    """A kernel, cut: rows above [above, width, C, F], left and own pixel [left + 1, C, F], and bias [F]."""

    above: Array
    beside: Array
    bias: Array

    def column(self, x: Array, left: Array | None = None, above: Array | float = 0.0) -> Array:
        """The output [B, F] of a pixel, from its x [B, C], those to the left [B, left, C] and the sum of rows above [B, F]."""
        seen = x if left is None else jnp.concatenate([left.reshape(len(x), -1), x], axis=-1)
        return seen @ self.beside.reshape(-1, self.beside.shape[-1]) + self.bias + above


def groups(features: int, colours: int) -> np.ndarray:
    """The colour that each feature belongs to. Raises ValueError for fewer features than colours."""
    if features < colours:
        raise ValueError(f"{features} features cannot be shared among {colours} colours: each needs one at least")
    return np.arange(features) * colours // features


def pushed(line: Array, new: Array) -> Array:
    """The line [B, n, ...] with its first element gone and new [B, ...] as its last."""
    return jnp.concatenate([line[:, 1:], new[:, None]], axis=1)


def sum_of_rows(rows: Array, kernel: Array) -> Array:
    """What a kernel [n, k, C, F] sees of n rows [B, n, W, C], k odd, in every place: [W, B, F]."""
    side = kernel.shape[1] // 2
    return jnp.moveaxis(conv(rows, kernel, padding=((0, 0), (side, side)))[:, 0], 1, 0)


def signed(x: Array, levels: int, dtype: Any = None) -> Array:
    """Pixels 0 .. levels - 1 of any dtype as floats -1 .. 1: the zeros around a picture are neither black nor white.

    With 0 .. 1 its edge would look as if black pixels lay there, and a network would hardly know where it is.
    """
    return jnp.asarray(x, dtype or jnp.result_type(float)) * (2 / (levels - 1)) - 1


def check_label(label: Array | None, classes: int) -> None:
    """Raises ValueError for a label where there is no class, and for none where there are."""
    if (label is None) != (not classes):
        raise ValueError(
            f"labels are given where there are classes: {'no' if label is None else 'a'} label for {classes} classes"
        )


class Raster(NamedTuple):
    """How a network is drawn from, by pure functions over a cache. Arrays of a row have its places as their first axis.

    cache:   what is known before the first pixel.
    context: what the first row is told of the rows above it, [W, ...].
    column:  (cache, context of this place, x [B, C], place (row, column)) -> (params of the pixel [B, ...], column). Only the
             colours of x that were drawn so far count; the rest are 0.
    push:    (cache, column, x [B, C], place) -> (cache, done): the whole pixel is known.
    row:     (cache, done [W, ...], row number) -> (cache, context [W, ...] of the next row): the whole row is known.
    stages:  1, all colours of a pixel are drawn at once; C, one after another, each by the column of those before.
    """

    cache: Any
    context: Any
    column: Callable[[Any, Any, Array, tuple[Array, Array]], tuple[Array, Any]]
    push: Callable[[Any, Any, Array, tuple[Array, Array]], tuple[Any, Any]]
    row: Callable[[Any, Any, Array], tuple[Any, Any]]
    stages: int


Pick = Callable[[Array, Array], Array]  # (key, params) -> values; see aigc_jax.probability.pixel_outputs


def draw(raster: Raster, key: Array, pick: Pick, known: Array, keep: Array | None = None) -> tuple[Array, Array]:
    """Pictures in the shape and dtype of `known` [B, H, W, C], and the parameters they were drawn by, [B, H, W, ...].

    keep: [B, H, W, C or 1], where it is not 0 the value of `known` stands; None draws all.
    """
    batch, height, width, colours = known.shape
    given = jnp.zeros(known.shape, bool) if keep is None else jnp.broadcast_to(keep != 0, known.shape)
    stages = [slice(c, c + 1) for c in range(colours)] if raster.stages > 1 else [slice(0, colours)]

    def pixel(cache: Any, place: tuple[Array, ...]) -> tuple[Any, tuple[Array, Array, Any]]:
        i, j, context, keys, known, given = place  # known, given [B, C]
        x = jnp.zeros(known.shape, jnp.float32)
        for stage, part in enumerate(stages):
            params, column = raster.column(cache, context, x, (i, j))
            value = pick(keys[stage], params[:, part] if raster.stages > 1 else params)
            x = x.at[:, part].set(jnp.where(given[:, part], known[:, part], value))
        cache, done = raster.push(cache, column, x, (i, j))
        return cache, (x, params, done)

    def row(carry: tuple[Any, Any], given: tuple[Array, ...]) -> tuple[tuple[Any, Any], tuple[Array, Array]]:
        cache, context = carry
        i, *rest = given
        places = jnp.full(width, i), jnp.arange(width), context, *rest
        cache, (x, params, done) = jax.lax.scan(pixel, cache, places)
        return raster.row(cache, done, i), (x, params)

    keys = jax.random.split(key, (height, width, len(stages)))
    by_place = (jnp.moveaxis(each, 0, 2) for each in (known.astype(jnp.float32), given))  # [H, W, B, C]
    _, (x, params) = jax.lax.scan(row, (raster.cache, raster.context), (jnp.arange(height), keys, *by_place))
    return jnp.moveaxis(x, 2, 0).astype(known.dtype), jnp.moveaxis(params, 2, 0)
