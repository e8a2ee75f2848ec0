"""The one abstraction: a method is a few pure functions over a `TrainState`, and its step is a composition of updates.

    descend     one gradient step of an optax optimizer on some of the parameters
    track       an exponential moving average, kept in memory
    chain       one update after another, in the order of the paper
    repeat      the same update n times
    every       an update on every n-th step only
    accumulate  the gradient of the whole batch at the memory of one micro-batch

A GAN is `chain(repeat(k, descend(d_loss, tx_d, "discriminator")), descend(g_loss, tx_g, "generator"))`; MoCo is
`chain(track("key_encoder", ...), descend(loss, tx))` with its queue in memory. Nothing here knows a trainer, a mesh or
a data set; nothing is kept between calls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array

Batch = Mapping[str, Any]  # name -> array with the batch as its first axis
Metrics = dict[str, Array]
Params = dict[str, Any]
Memory = dict[str, Any]
Loss = Callable[[Params, Memory, Batch, Array], tuple[Array, tuple[Memory, Metrics]]]


class TrainState(NamedTuple):
    """Everything a run carries from step to step.

    step:      int32 scalar; the trainer alone advances it, an update only reads it.
    params:    what gradients touch, by network: `{"generator": ..., "discriminator": ...}`.
    opt_state: optimizer state by group, as `new_state` lays it out.
    memory:    all else a method carries, under the name its paper gives it: ema, key encoder, queue, chains, batch
               statistics.
    """

    step: Array
    params: Params
    opt_state: dict[str, Any]
    memory: Memory


Update = Callable[[TrainState, Batch, Array], tuple[TrainState, Metrics]]


class Method(NamedTuple):
    """A technique as pure functions; state comes in, state goes out.

    init:     (key, batch) -> TrainState. The batch gives shapes, and values where an initialisation depends on data.
    step:     (state, batch, key) -> (TrainState, metrics). Metrics are scalars.
    evaluate: (state, batch, key) -> {name: [B]}. Per example; the loop averages under `batch["mask"]`.
    sample:   (state, batch, key) -> samples. The batch is the condition, or only gives the shape.
    encode:   (state, batch, key) -> features [B, D], for probes and retrieval.
    predict:  (state, batch, key) -> class logits [B, classes], for a student to learn from.
    protocol: what the numbers of `evaluate` are, in a line that is printed and kept beside them.
    """

    init: Callable[[Array, Batch], TrainState]
    step: Update
    evaluate: Callable[[TrainState, Batch, Array], dict[str, Array]]
    sample: Callable[[TrainState, Batch, Array], Any] | None = None
    encode: Callable[[TrainState, Batch, Array], Array] | None = None
    predict: Callable[[TrainState, Batch, Array], Array] | None = None
    protocol: str = ""


def new_state(
    params: Params,
    tx: optax.GradientTransformation | Mapping[str, optax.GradientTransformation],
    memory: Memory | None = None,
) -> TrainState:
    """The state at step 0.

    params: trainable arrays, by network.
    tx:     one optimizer for all of `params` (group "all"), or one for each group that a `descend(..., wrt=group)` of
            the method names; networks that one `descend` trains together are a group "a+b".
    memory: what else the method carries.

    Raises ValueError if a group names a network that `params` has not.
    """
    groups = tx if isinstance(tx, Mapping) else {"all": tx}
    opt_state = {group: one.init(_select(params, _networks(group))) for group, one in groups.items()}
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, dict(memory or {}))


@dataclasses.dataclass(frozen=True)
class _Descend:
    loss: Loss
    tx: optax.GradientTransformation
    wrt: tuple[str, ...] | None
    parts: int = 1
    weight: Callable[[Batch], Array] | None = None

    def __call__(self, state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        group = "+".join(self.wrt) if self.wrt else "all"
        if group not in state.opt_state:
            raise ValueError(f"no optimizer state for group {group!r}: new_state was given {sorted(state.opt_state)}")

        def objective(trained: Params, memory: Memory, batch: Batch, key: Array):
            return self.loss({**state.params, **trained}, memory, batch, key)

        trained = _select(state.params, self.wrt)
        gradient_of = jax.value_and_grad(objective, has_aux=True)
        if self.weight is not None:
            gradient_of = _accumulated(gradient_of, self.parts, self.weight)
        (value, (memory, metrics)), gradient = gradient_of(trained, state.memory, batch, key)
        updates, opt_state = self.tx.update(gradient, state.opt_state[group], trained)
        trained = cast(Params, optax.apply_updates(trained, updates))
        prefix = f"{group}/" if self.wrt else ""
        named = {f"{prefix}loss": value, f"{prefix}grad_norm": optax.tree.norm(gradient)}
        params, opt_state = {**state.params, **trained}, {**state.opt_state, group: opt_state}
        return state._replace(params=params, opt_state=opt_state, memory=memory), _merge(named, metrics)


def descend(loss: Loss, tx: optax.GradientTransformation, wrt: str | Sequence[str] | None = None) -> Update:
    """One optimizer step on `loss`.

    loss: (params, memory, batch, key) -> (scalar, (memory, metrics)); it sees all parameters and returns the memory as
          it shall be after the step.
    tx:   the optimizer, the one `new_state` was given for this group.
    wrt:  the network, or networks, of `params` that the gradient touches; None means all.

    Metrics are those of the loss, with `loss` and `grad_norm` (the global norm before the optimizer clips it) added;
    where `wrt` is given these two carry it as a prefix: `generator/loss`. Raises ValueError if the state has no
    optimizer state for the group.
    """
    return _Descend(loss, tx, (wrt,) if isinstance(wrt, str) else tuple(wrt) if wrt else None)


def track(name: str, read: Callable[[Params], Any], decay: float | Callable[[Array], Array]) -> Update:
    """memory[name] <- decay * memory[name] + (1 - decay) * read(params): an exponential moving average.

    read:  picks what is averaged: `lambda params: params["encoder"]`.
    decay: a number, or a schedule of `state.step`. 1 freezes the average, 0 copies.

    Raises ValueError if the memory has no entry of this name.
    """

    def update(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        if name not in state.memory:
            raise ValueError(f"no {name!r} in memory to track: new_state was given {sorted(state.memory)}")
        keep = decay(state.step) if callable(decay) else decay
        mean = jax.tree.map(lambda m, p: keep * m + (1 - keep) * p, state.memory[name], read(state.params))
        return state._replace(memory={**state.memory, name: mean}), {}

    return update


def chain(*updates: Update) -> Update:
    """One update after another; each sees the state the one before left.

    Raises ValueError where two report one metric.
    """

    def update(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        metrics: Metrics = {}
        for index, one in enumerate(updates):
            state, more = one(state, batch, jax.random.fold_in(key, index))
            metrics = _merge(metrics, more)
        return state, metrics

    return update


def repeat(n: int, update: Update, split: bool = False) -> Update:
    """The update n times; metrics are those of the last time.

    split: False gives every repetition the whole batch; True cuts the batch into n parts, one for each, as the n critic
           steps of a Wasserstein GAN see n different batches.
    """
    if n < 1:
        raise ValueError(f"repeat needs n >= 1, got {n}")

    def repeated(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        parts = micro_batches(batch, n) if split else None

        def body(state: TrainState, xs: tuple[Array, Any]) -> tuple[TrainState, Metrics]:
            index, part = xs
            return update(state, batch if part is None else part, jax.random.fold_in(key, index))

        state, metrics = jax.lax.scan(body, state, (jnp.arange(n), parts))
        return state, jax.tree.map(lambda m: m[-1], metrics)

    return repeated


def every(n: int, update: Update) -> Update:
    """The update on steps 0, n, 2n, ...; on the others the state passes through unchanged.

    The update's metrics are dropped: on most steps they would have no value.
    """
    if n < 1:
        raise ValueError(f"every needs n >= 1, got {n}")

    def periodic(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        state = jax.lax.cond(state.step % n == 0, lambda s: update(s, batch, key)[0], lambda s: s, state)
        return state, {}

    return periodic


def mask_weight(batch: Batch) -> Array:
    """How much a (micro-)batch counts in an average: the sum of its `mask`, or its number of examples without one."""
    if "mask" in batch:
        return jnp.sum(batch["mask"], dtype=jnp.float32)
    return jnp.float32(jax.tree.leaves(dict(batch))[0].shape[0])


def accumulate(k: int, update: Update, weight: Callable[[Batch], Array] = mask_weight) -> Update:
    """A `descend` whose gradient is that of the whole batch, computed over k micro-batches at the memory of one.

    The loss must be an average in which an example, or a token, counts by its weight: then the loss of the whole batch
    is the weighted mean of the losses of its parts, and so is the gradient. Micro-batches run one after another; memory
    (batch statistics, a queue) passes through them in order, and each has a key of its own. A micro-batch of weight 0
    changes nothing.

    k:      a divisor of the batch; `micro_batches` says which rows go together.
    update: what `descend` returned. Inside a `chain`, wrap each `descend`.
    weight: batch -> scalar, the normaliser of the loss: the number of examples, or of tokens that count.

    Raises TypeError for an update that is no `descend`, ValueError if k is below 1 or does not divide the batch.
    """
    if k < 1:
        raise ValueError(f"accumulate needs k >= 1, got {k}")
    if not isinstance(update, _Descend):
        raise TypeError("accumulate takes what descend(...) returned; inside a chain wrap each descend by itself")
    return dataclasses.replace(update, parts=k, weight=weight)


def _accumulated(gradient_of: Callable, k: int, weight: Callable[[Batch], Array]) -> Callable:
    """`value_and_grad` of the weighted mean over k micro-batches, one after another."""

    def accumulated(trained: Params, memory: Memory, batch: Batch, key: Array):
        total = weight(batch)

        def body(carry, xs):
            gradient, memory = carry
            index, part = xs
            share = weight(part) / total
            (value, (after, metrics)), g = gradient_of(trained, memory, part, jax.random.fold_in(key, index))

            # a part without weight may divide by zero in its loss: it counts for nothing, whatever came out
            def scaled(a):
                return jnp.where(share > 0, share * a, 0)

            memory = jax.tree.map(lambda new, old: jnp.where(share > 0, new, old), after, memory)
            gradient = jax.tree.map(lambda sum_, a: sum_ + scaled(a), gradient, g)
            return (gradient, memory), jax.tree.map(scaled, (value, metrics))

        zero = jax.tree.map(jnp.zeros_like, trained)
        xs = (jnp.arange(k), micro_batches(batch, k))
        (gradient, memory), summed = jax.lax.scan(body, (zero, memory), xs)
        value, metrics = jax.tree.map(lambda m: m.sum(0), summed)
        return (value, (memory, metrics)), gradient

    return accumulated


def micro_batches(batch: Batch, k: int) -> dict[str, Any]:
    """{name: [B, ...]} -> {name: [k, B // k, ...]}; part i holds rows i, i + k, i + 2 k, ...

    Rows are dealt out in turn because the batch is sharded by rows: every device then owns its share of every part.
    Parts of neighbouring rows would lie on few devices: XLA gathers each on all, which then all do the same work.

    Raises ValueError if k does not divide B.
    """

    def cut(x):
        if x.shape[0] % k:
            raise ValueError(f"{k} micro-batches do not divide a batch of {x.shape[0]}")
        return jnp.swapaxes(x.reshape(x.shape[0] // k, k, *x.shape[1:]), 0, 1)

    return jax.tree.map(cut, dict(batch))


def examples(batch: Batch) -> Array:
    """The examples of a batch that has one kind of them: its pictures `image`, or the rows `x` of its table."""
    return jnp.asarray(batch["image"] if "image" in batch else batch["x"])


def _networks(group: str) -> tuple[str, ...] | None:
    return None if group == "all" else tuple(group.split("+"))


def _select(params: Params, names: tuple[str, ...] | None) -> Params:
    missing = [name for name in names or () if name not in params]
    if missing:
        raise ValueError(f"no network named {', '.join(missing)} in params: there are {', '.join(params)}")
    return dict(params) if names is None else {name: params[name] for name in names}


def _merge(one: Metrics, other: Metrics) -> Metrics:
    twice = one.keys() & other.keys()
    if twice:
        raise ValueError(f"two updates report the metric {', '.join(sorted(twice))}: give each a name of its own")
    return {**one, **other}
