"""Recurrent layers as functions of their matrices: the products that need no waiting are taken out of the scan.

Elman (1990); LSTM with forget gate (Hochreiter and Schmidhuber 1997, Gers 2000); GRU (arXiv:1406.1078, arXiv:1412.3555).
Gates lie side by side in one matrix, in the order of torch and cuDNN: LSTM i, f, g, o; GRU r, z, n.

Forward, the input product of all steps is one product before the scan. Backward, the gradient of the recurrent matrix
is one product after it, sum_t h_{t-1}^T (d loss / d h_{t-1} U): differentiating the scan itself would add T outer
products to a matrix that does not fit a cache. So the layers have reverse derivatives of any order, no forward ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.layers.dense import linear

State = Any
Times = Callable[..., Array]  # (h, start=0, stop=None) -> h U[:, start:stop]


def elman(x: Array, w: Array, u: Array, b: Array | None, h: Array | None = None, *,
          mask: Array | None = None, reverse: bool = False) -> tuple[Array, Array]:  # fmt: skip
    """h_t = tanh(x_t W + h_{t-1} U + b).

    x:       [B, T, D].
    w, u, b: [D, H], [H, H], [H]; b None is 0.
    h:       [B, H], the state before the first step; zeros if None.
    mask:    [B, T] bool; where False the state is carried over unchanged: padding at either end has no effect.
    reverse: run from the last step to the first; outputs stay in the order of x.

    Returns outputs [B, T, H] and the state after the last step run.
    """
    initial = _zeros(x, u) if h is None else h
    return _run(lambda h, gates, times: jnp.tanh(gates + times(h)), initial, x, w, u, b, mask, reverse)


def lstm(x: Array, w: Array, u: Array, b: Array | None, state: tuple[Array, Array] | None = None, *,
         mask: Array | None = None, reverse: bool = False) -> tuple[Array, tuple[Array, Array]]:  # fmt: skip
    """i, f, o = sigmoid, g = tanh of x_t W + h_{t-1} U + b;  c_t = f c_{t-1} + i g;  h_t = o tanh(c_t).

    x:       [B, T, D].
    w, u, b: [D, 4 H], [H, 4 H], [4 H]; gates i, f, g, o; b None is 0.
    state:   (h, c), each [B, H]; zeros if None.
    mask, reverse: as in `elman`.

    Returns outputs h [B, T, H] and (h, c) after the last step run.
    """

    def cell(state: tuple[Array, Array], gates: Array, times: Times) -> tuple[Array, Array]:
        h, c = state
        i, f, g, o = jnp.split(gates + times(h), 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    initial = (_zeros(x, u), _zeros(x, u)) if state is None else state
    return _run(cell, initial, x, w, u, b, mask, reverse)


def gru(x: Array, w: Array, u: Array, b: Array | None, h: Array | None = None, *, recurrent_bias: Array | None = None,
        reset_after: bool = True, mask: Array | None = None, reverse: bool = False) -> tuple[Array, Array]:  # fmt: skip
    """r, z = sigmoid(x_t W + h_{t-1} U + b);  h_t = (1 - z) n + z h_{t-1}, in one of the two conventions for n.

    reset_after:    True (arXiv:1412.3555 as in cuDNN and torch) n = tanh(x_t W_n + b_n + r (h_{t-1} U_n + c_n));
                    False (arXiv:1406.1078)                      n = tanh(x_t W_n + b_n + (r h_{t-1}) U_n).
    x:              [B, T, D].
    w, u, b:        [D, 3 H], [H, 3 H], [3 H]; gates r, z, n; b None is 0.
    h:              [B, H]; zeros if None.
    recurrent_bias: [3 H], the c above (of r and z it adds to b); only with reset_after.
    mask, reverse:  as in `elman`.

    Returns outputs [B, T, H] and the last state. Raises ValueError for a recurrent bias in the form that has none.
    """
    if recurrent_bias is not None and not reset_after:
        raise ValueError("the GRU that resets before its product has one bias: recurrent_bias needs reset_after=True")
    width = u.shape[0]

    def after(h: Array, gates: Array, times: Times) -> Array:
        own = times(h)
        r, z = jnp.split(jax.nn.sigmoid(gates[:, : 2 * width] + own[:, : 2 * width]), 2, -1)
        n = jnp.tanh(gates[:, 2 * width :] + r * own[:, 2 * width :])
        return (1 - z) * n + z * h

    def before(h: Array, gates: Array, times: Times) -> Array:
        r, z = jnp.split(jax.nn.sigmoid(gates[:, : 2 * width] + times(h, 0, 2 * width)), 2, -1)
        n = jnp.tanh(gates[:, 2 * width :] + times(r * h, 2 * width, 3 * width))
        return (1 - z) * n + z * h

    initial = _zeros(x, u) if h is None else h
    return _run(after if reset_after else before, initial, x, w, u, b, mask, reverse, recurrent_bias)


def _run(cell: Callable[[State, Array, Times], State], initial: State, x: Array, w: Array, u: Array, b: Array | None,
         mask: Array | None, reverse: bool, recurrent_bias: Array | None = None) -> tuple[Array, State]:  # fmt: skip
    """A cell over time: (state, gates of the input [B, G H], product with U) -> state; its first leaf is the output."""
    gates = linear(x.swapaxes(0, 1), w)  # [T, B, G H]
    gates = gates if b is None else gates + b
    keep = None if mask is None else mask.T  # [T, B]

    def scan(initial: State, gates: Array, u: Array, c: Array | None, keep: Array | None, slack: Array | None = None):
        """(outputs, last state), and by its columns what U multiplied; `slack` [T, B, G H] is added to the products."""

        def body(state: State, xs: tuple[Array, Array | None, Array | None]):
            now, real, extra = xs
            read: dict[int, Array] = {}

            def times(h: Array, start: int = 0, stop: int | None = None) -> Array:
                read[start] = h
                y = h @ u[:, start:stop]
                y = y if c is None else y + c[start:stop]
                return y if extra is None else y + extra[:, start:stop]

            after = cell(state, now, times)
            if real is not None:
                after = jax.tree.map(lambda new, old: jnp.where(real[:, None], new, old), after, state)
            return after, (jax.tree.leaves(after)[0], read)

        if len(gates) == 1:  # one step, as when a model writes: no loop
            state, (outputs, read) = body(initial, jax.tree.map(lambda x: x[0], (gates, keep, slack)))
            return (outputs[None], state), read
        state, (outputs, read) = jax.lax.scan(body, initial, (gates, keep, slack), reverse=reverse)
        return (outputs, state), read

    @jax.custom_vjp
    def run(initial: State, gates: Array, u: Array, c: Array | None, keep: Array | None) -> tuple[Array, State]:
        return scan(initial, gates, u, c, keep)[0]

    def forward(initial: State, gates: Array, u: Array, c: Array | None, keep: Array | None):
        def of(initial: State, gates: Array, slack: Array):
            return scan(initial, gates, u, c, keep, slack)

        out, pull, read = jax.vjp(of, initial, gates, jnp.zeros_like(gates), has_aux=True)
        return out, (pull, read, c)

    def backward(kept: Any, cotangent: Any):
        pull, read, c = kept
        d_initial, d_gates, d_product = pull(cotangent)  # the last is that of h U, [T, B, G H]
        d_product = d_product.reshape(-1, d_product.shape[-1])  # [T B, G H]
        starts = sorted(read)
        columns = jnp.split(d_product, starts[1:], -1)
        rows = [read[start].reshape(len(d_product), -1) for start in starts]  # [T B, H]
        d_u = jnp.concatenate([h.T @ d for h, d in zip(rows, columns)], -1)
        return d_initial, d_gates, d_u, None if c is None else d_product.sum(0), None

    run.defvjp(forward, backward)
    if len(gates) == 1:  # the gradient of the matrix is one product as it is
        (outputs, state), _ = scan(initial, gates, u, recurrent_bias, keep)
    else:
        outputs, state = run(initial, gates, u, recurrent_bias, keep)
    return outputs.swapaxes(0, 1), state


def _zeros(x: Array, u: Array) -> Array:
    return jnp.zeros((x.shape[0], u.shape[0]), jnp.result_type(x, u))
