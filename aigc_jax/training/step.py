"""The compiled training step: several steps in one call where they are short, one where they are not.

A short step costs less than the dispatch of its call, so it runs in a loop inside one compiled function. The loop's trip
count is an argument, not a constant: one executable serves every number of steps, so a run that is cut anywhere and resumed
goes through the very same code, and its numbers are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core as jex

from aigc_jax.core import Batch, Method, TrainState

SHORT = 2e9  # FLOPs worth one call on a CPU: some 20 ms, against which a dispatch of 0.2 ms is nothing
MOST = 32  # steps in a call, and with it the batches that are held at once
MOST_BYTES = 64e6  # of batches in a call


def steps_per_call(flops: int, batch_bytes: int, has_native_convolution: bool) -> int:
    """How many steps go into one call. It depends on the experiment and the backend alone, so resuming does not change it.

    A native convolution in a loop falls to a form 20 to 40 times slower in XLA's CPU backend: such steps go one by one.
    """
    if has_native_convolution and jax.default_backend() == "cpu":
        return 1
    short = SHORT if jax.default_backend() == "cpu" else 100 * SHORT
    return max(1, int(min(MOST, short // max(flops, 1), MOST_BYTES // max(batch_bytes, 1))))


def has_primitive(jaxpr: jex.Jaxpr, name: str) -> bool:
    """Whether a primitive stands anywhere in a jaxpr, its inner ones included."""
    return any(equation.primitive.name == name for equation in jaxpr.eqns) or any(
        has_primitive(inner, name) for inner in jex.subjaxprs(jaxpr)
    )


def train_step(method: Method, seed_key: Array) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]:
    """One step as the trainer runs it: the key is `fold_in(seed_key, step)`, and the step is advanced afterwards."""

    def step(state: TrainState, batch: Batch):
        state, metrics = method.step(state, batch, jax.random.fold_in(seed_key, state.step))
        return state._replace(step=state.step + 1), metrics

    return step


def compile_steps(method: Method, seed_key: Array, shardings: TrainState, calls: int) -> Callable:
    """(state, bad, batches, n) -> (state, bad, metrics), jitted with the state donated.

    batches: one batch [B, ...], or for calls > 1 `calls` of them stacked, [calls, B, ...], of which the first n are used.
    bad:     int32 placed like `state.step`: the first step whose metrics were not finite, -1 before that.
    metrics: of the last of the n steps.
    """
    one = train_step(method, seed_key)

    def guarded(state: TrainState, bad: Array, batch: Batch):
        at = state.step
        state, metrics = one(state, batch)
        finite = jnp.all(jnp.array([jnp.isfinite(value).all() for value in metrics.values()]))
        return state, jnp.where((bad < 0) & ~finite, at, bad), metrics

    def several(state: TrainState, bad: Array, batches: Batch, n: Array):
        def body(index: Array, carry):
            state, bad, _ = carry
            return guarded(state, bad, jax.tree.map(lambda rows: rows[index], batches))

        shapes = jax.eval_shape(guarded, state, bad, jax.tree.map(lambda rows: rows[0], batches))[2]
        empty = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.fori_loop(0, n, body, (state, bad, empty))

    def single(state: TrainState, bad: Array, batch: Batch, n: Array):
        return guarded(state, bad, batch)

    everywhere = shardings.step  # a scalar's placement: the whole of it on every device
    return jax.jit(
        several if calls > 1 else single, donate_argnums=0, out_shardings=(shardings, everywhere, everywhere)
    )
