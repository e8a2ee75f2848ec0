"""Recurrent layers as functions of their matrices: the input product of all steps at once, then a scan over time.

Elman (1990); LSTM with forget gate (Hochreiter and Schmidhuber 1997, Gers 2000); GRU (arXiv:1406.1078, arXiv:1412.3555).
Gates lie side by side in one matrix, in the order of torch and cuDNN: LSTM i, f, g, o; GRU r, z, n.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def elman(x: Array, w: Array, u: Array, b: Array, h: Array | None = None, *,
          mask: Array | None = None, reverse: bool = False) -> tuple[Array, Array]:  # fmt: skip
    """h_t = tanh(x_t W + h_{t-1} U + b).

    x:       [B, T, D].
    w, u, b: [D, H], [H, H], [H].
    h:       [B, H], the state before the first step; zeros if None.
    mask:    [B, T] bool; where False the state is carried over unchanged: padding at either end has no effect.
    reverse: run from the last step to the first; outputs stay in the order of x.

    Returns outputs [B, T, H] and the state after the last step run.
    """
    initial = _zeros(x, u) if h is None else h
    return _scan(lambda h, gates: jnp.tanh(gates + h @ u), lambda h: h, initial, x @ w + b, mask, reverse)


def lstm(x: Array, w: Array, u: Array, b: Array, state: tuple[Array, Array] | None = None, *,
         mask: Array | None = None, reverse: bool = False) -> tuple[Array, tuple[Array, Array]]:  # fmt: skip
    """i, f, o = sigmoid, g = tanh of x_t W + h_{t-1} U + b;  c_t = f c_{t-1} + i g;  h_t = o tanh(c_t).

    x:       [B, T, D].
    w, u, b: [D, 4 H], [H, 4 H], [4 H]; gates i, f, g, o.
    state:   (h, c), each [B, H]; zeros if None.
    mask, reverse: as in `elman`.

    Returns outputs h [B, T, H] and (h, c) after the last step run.
    """

    def cell(state: tuple[Array, Array], gates: Array) -> tuple[Array, Array]:
        h, c = state
        i, f, g, o = jnp.split(gates + h @ u, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    initial = (_zeros(x, u), _zeros(x, u)) if state is None else state
    return _scan(cell, lambda state: state[0], initial, x @ w + b, mask, reverse)


def gru(x: Array, w: Array, u: Array, b: Array, h: Array | None = None, *, recurrent_bias: Array | None = None,
        reset_after: bool = True, mask: Array | None = None, reverse: bool = False) -> tuple[Array, Array]:  # fmt: skip
    """r, z = sigmoid(x_t W + h_{t-1} U + b);  h_t = (1 - z) n + z h_{t-1}, in one of the two conventions for n.

    reset_after:    True (arXiv:1412.3555 as in cuDNN and torch) n = tanh(x_t W_n + b_n + r (h_{t-1} U_n + c_n));
                    False (arXiv:1406.1078)                      n = tanh(x_t W_n + b_n + (r h_{t-1}) U_n).
    x:              [B, T, D].
    w, u, b:        [D, 3 H], [H, 3 H], [3 H]; gates r, z, n.
    h:              [B, H]; zeros if None.
    recurrent_bias: [3 H], the c above (of r and z it adds to b); only with reset_after.
    mask, reverse:  as in `elman`.

    Returns outputs [B, T, H] and the last state. Raises ValueError for a recurrent bias in the form that has none.
    """
    if recurrent_bias is not None and not reset_after:
        raise ValueError("the GRU that resets before its product has one bias: recurrent_bias needs reset_after=True")
    width = u.shape[0]

    def after(h: Array, gates: Array) -> Array:
        own = h @ u if recurrent_bias is None else h @ u + recurrent_bias
        r, z = jnp.split(jax.nn.sigmoid(gates[:, : 2 * width] + own[:, : 2 * width]), 2, -1)
        n = jnp.tanh(gates[:, 2 * width :] + r * own[:, 2 * width :])
        return (1 - z) * n + z * h

    def before(h: Array, gates: Array) -> Array:
        r, z = jnp.split(jax.nn.sigmoid(gates[:, : 2 * width] + h @ u[:, : 2 * width]), 2, -1)
        n = jnp.tanh(gates[:, 2 * width :] + (r * h) @ u[:, 2 * width :])
        return (1 - z) * n + z * h

    initial = _zeros(x, u) if h is None else h
    return _scan(after if reset_after else before, lambda h: h, initial, x @ w + b, mask, reverse)


def _scan(cell: Callable, output: Callable, initial: Any, gates: Array, mask: Array | None, reverse: bool) -> Any:
    """Runs a cell over time. gates [B, T, G H] are the input products; the scan holds the recurrent product alone."""

    def body(state: Any, xs: tuple[Array, Array | None]) -> tuple[Any, Array]:
        now, keep = xs
        after = cell(state, now)
        if keep is not None:
            after = jax.tree.map(lambda new, old: jnp.where(keep[:, None], new, old), after, state)
        return after, output(after)

    xs = (gates.swapaxes(0, 1), None if mask is None else mask.T)  # [T, B, G H], [T, B]
    state, outputs = jax.lax.scan(body, initial, xs, reverse=reverse)
    return outputs.swapaxes(0, 1), state


def _zeros(x: Array, u: Array) -> Array:
    return jnp.zeros((x.shape[0], u.shape[0]), jnp.result_type(x, u))
