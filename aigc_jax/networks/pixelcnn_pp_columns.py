"""What a pixel costs when PixelCNN++ draws: a row of the stream u, a column of the stream ul, at every resolution.

`w` is a resolution's `weights` (`pixelcnn_pp`). Of ul, a column is what its convolutions see of a pixel: the inputs (x, h) of
every resnet, what enters the coarser resolution, its column there, and what comes out. A coarse column stands for two pixels.

    prepare   once a row: u in all places, and what it and the row above add to the columns of ul
    pixel     once a pixel: its column
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.layers import concat_elu, conv, conv_transpose, linear

Seen = tuple[Array, Array]  # the inputs x and h of the two convolutions of a resnet


def nothing(w: Any, *lead: int) -> dict[str, Any]:
    """A column of zeros, or one for each of the places `lead`: what lies outside."""
    width = w["down"][0]["u"]["first"].shape[-1]
    zeros = jnp.zeros((*lead, width))
    column: dict[str, Any] = dict(resnets=[(zeros, zeros) for _ in (*w["down"], *w["up"])], out=zeros)
    if "coarse" in w:
        column |= dict(entering=zeros, coarse=nothing(w["coarse"], *lead))
    return column


def state_above(w: Any, batch: int, width: int) -> dict[str, Any]:
    """What `prepare` keeps of the row before, above the first."""
    features = w["down"][0]["u"]["first"].shape[-1]
    zeros, half = jnp.zeros((batch, width, features)), jnp.zeros((batch, width // 2, features))
    by_place = jnp.swapaxes(zeros, 0, 1)
    resnets = [*w["down"], *w["up"]]
    state: dict[str, Any] = dict(
        before=[(zeros, zeros) for _ in resnets],
        beside=[(by_place, jnp.concatenate([by_place] * 2, axis=-1)) for _ in resnets],
    )
    if "coarse" in w:
        state |= dict(entering=zeros, u=half, entry=jnp.swapaxes(half, 0, 1), grown=by_place)
        state |= dict(seen=nothing(w["coarse"], width // 2, batch), coarse=state_above(w["coarse"], batch, width // 2))
    return state


def prepare(w: Any, state: Any, seen: Any, u: Array, i: Array) -> tuple[Array, Any]:
    """A row of u [B, W, F] through a resolution, and what it and the columns `seen` in the row before [W, ...] add to ul.

    i: number of the row at this resolution. A coarser one is run in even rows; in odd ones its row still holds.
    """
    above, kept = list(zip(state["before"], seen["resnets"])), [u]
    before, beside = [], []
    for block, (was, columns) in zip(w["down"], above):
        u, now = along(block["u"], was, u)
        kept.append(u)
        before.append(now)
        beside.append(told(block["ul"], columns, u))
    new = {}
    if "coarse" in w:
        (shrink, shrink_bias), (grow, grow_bias) = w["shrink_u"], w["grow_u"]
        (shrink_ul, entry_bias), (grow_ul, grown_bias) = w["shrink_ul"], w["grow_ul"]
        odd = i % 2 == 1
        coarse_seen = jax.tree.map(lambda new, old: jnp.where(odd, new[::2], old), seen["coarse"], state["seen"])

        def run() -> tuple[Array, Any, Array]:
            pair = jnp.stack([state["entering"], u], axis=1)
            v = conv(pair, shrink, strides=2, padding=((0, 0), (1, 1)))[:, 0] + shrink_bias  # [B, W / 2, F]
            v, coarse = prepare(w["coarse"], state["coarse"], coarse_seen, v, i // 2)
            last = jnp.swapaxes(seen["entering"], 0, 1)[:, None]
            entry = conv(last, shrink_ul[:1], strides=2, padding=((0, 0), (1, 0)))[:, 0] + entry_bias
            return v, coarse, jnp.swapaxes(entry, 0, 1)

        v, coarse, entry = jax.lax.cond(odd, lambda: (state["u"], state["coarse"], state["entry"]), run)
        last = jnp.swapaxes(coarse_seen["out"], 0, 1)[:, None]
        grown = conv_transpose(last, grow_ul[:1], (1, 2), ((0, 0), (1, 1)))[:, 0]
        grown = jnp.swapaxes(jnp.where(odd, grown, 0) + grown_bias, 0, 1)
        new = dict(entering=u, u=v, entry=entry, grown=grown, seen=coarse_seen, coarse=coarse)
        u = conv_transpose(v[:, None], grow[1 - i % 2][None], (1, 2), ((0, 0), (1, 2)))[:, 0] + grow_bias
    else:
        kept.pop()
    for block, (was, columns) in zip(w["up"], above[len(w["down"]) :]):
        u, now = along(block["u"], was, u, kept.pop())
        before.append(now)
        beside.append(told(block["ul"], columns, u))
    return u, dict(before=before, beside=beside, **new)


def along(w: Any, before: Seen, x: Array, aside: Array | None = None) -> tuple[Array, Seen]:
    """A resnet of u for a row x [B, W, F], of which `before` is the row before, and what the next row sees of this one."""

    def see(last: Array, own: Array, kernel: Array) -> Array:
        return conv(concat_elu(jnp.stack([last, own], axis=1)), kernel, padding=((0, 0), (1, 1)))[:, 0]

    h = see(before[0], x, w["first"]) + w["bias"]
    if aside is not None:
        h = h + linear(concat_elu(aside), w["aside"][0])
    of_class = w["of_class"] if w["of_class"].ndim == 1 else w["of_class"][:, None]
    return x + jax.nn.glu(see(before[1], h, w["second"]) + of_class), (x, h)


def told(w: Any, above: Seen, u: Array) -> Seen:
    """What a resnet of ul adds up of the row above, [W, B, F] of x and h, and of u [B, W, F]: [W, B, F] and [W, B, 2 F]."""

    def see(row: Array, kernel: Array) -> Array:
        row = jnp.swapaxes(concat_elu(row), 0, 1)[:, None]  # [B, 1, W, 2 F]
        return jnp.swapaxes(conv(row, kernel[:1], padding=((0, 0), (1, 0)))[:, 0], 0, 1)

    first = see(above[0], w["first"]) + w["bias"] + jnp.swapaxes(linear(concat_elu(u), w["aside"][0]), 0, 1)
    return first, see(above[1], w["second"]) + w["of_class"]


def pixel(w: Any, state: Any, left: Any, ul: Array, i: Array, j: Array) -> tuple[Array, Any]:
    """A pixel of ul [B, F] in row i, place j, through a resolution, and its column; `left` the column to the left."""
    known, resnets, kept = iter(zip(state["beside"], left["resnets"])), [], [ul]
    for block in w["down"]:
        ul, column = beside_of(block["ul"], next(known), ul, j)
        kept.append(ul)
        resnets.append(column)
    more = {}
    if "coarse" in w:

        def run() -> Any:
            x = state["entry"][j // 2] + own_row(left["entering"], ul, w["shrink_ul"][0])
            return pixel(w["coarse"], state["coarse"], left["coarse"], x, i // 2, j // 2)[1]

        coarse = jax.lax.cond((i % 2 == 0) & (j % 2 == 0), run, lambda: left["coarse"])
        more = dict(entering=ul, coarse=coarse)
        ul = state["grown"][j] + coarse["out"] @ w["grow_ul"][0][1, 1 - j % 2]  # in odd rows the column is one of zeros
    else:
        kept.pop()
    for block in w["up"]:
        ul, column = beside_of(block["ul"], next(known), ul, j, kept.pop())
        resnets.append(column)
    return ul, dict(resnets=resnets, out=ul, **more)


def beside_of(w: Any, known: tuple[Seen, Seen], x: Array, j: Array, aside: Array | None = None) -> tuple[Array, Seen]:
    """A resnet of ul for a pixel x [B, F], and what later pixels see of this one."""
    (first, second), left = known
    h = first[j] + own_row(concat_elu(left[0]), concat_elu(x), w["first"])
    if aside is not None:
        h = h + concat_elu(aside) @ w["aside"][1]
    y = second[j] + own_row(concat_elu(left[1]), concat_elu(h), w["second"])
    return x + jax.nn.glu(y), (x, h)


def own_row(left: Array, x: Array, kernel: Array) -> Array:
    """What a kernel [2, 2, C, F] sees of its own row, the left pixel and its own, [B, C] each: [B, F]."""
    return jnp.concatenate([left, x], axis=-1) @ kernel[1].reshape(-1, kernel.shape[-1])
