"""Classification: cross entropy on labelled images, for any network that gives logits and features.

    loss = mean_b -sum_c q(c | y_b) log p(c | x_b),   q = (1 - s) onehot(y_b) + s / C

s is label smoothing (arXiv:1512.00567, section 7), 0 by default. Statistics of batch normalisation are no parameters:
they lie in memory under `batch_stats`, training moves them, evaluation uses them. Averages of parameters and statistics
over the steps lie beside them under `ema`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import (
    Batch,
    Memory,
    Method,
    Metrics,
    Params,
    TrainState,
    Update,
    accumulate,
    chain,
    descend,
    new_state,
)
from aigc_jax.methods.supervised.mixing import Mix, with_partner

Features = dict[str, Any]
Objective = Callable[[Array, Features, Array, Batch, Memory], Array]


def classifier(
    net: nn.Module,
    tx: optax.GradientTransformation,
    *,
    smoothing: float = 0.0,
    mix: Mix | None = None,
    auxiliary: float = 0.0,
    ema: float | Callable[[Array], Array] | None = None,
    evaluate_ema: bool = True,
    micro_batches: int = 1,
) -> Method:
    """Learns `label` int [B] from `image` [B, H, W, C].

    net:           (image, train) -> (logits [B, classes], features by name, `pooled` [B, D] among them). In training it
                   draws from the streams "dropout" and "drop_path".
    smoothing:     s of the loss, in [0, 1).
    mix:           mixes pictures and targets before the network sees them.
    auxiliary:     weight of the cross entropy of each of the logits in `features["auxiliary"]`, which the network gives
                   in training (GoogLeNet 0.3, arXiv:1409.4842; Inception v3 0.4).
    ema:           decay of the averages of parameters and statistics, a number or a schedule of the step; None keeps none.
    evaluate_ema:  whether `evaluate`, `encode` and `predict` answer by the averages, if there are any.
    micro_batches: the gradient of a batch is summed over this many parts of it, to save memory; statistics of batch
                   normalisation are then those of a part.

    The step reports `accuracy` on its batch, of a mixed one by the larger share. `evaluate` gives, per example, `accuracy`,
    `cross_entropy` in nats (never smoothed) and, for more than five classes, `top_5`: whether the label is among the five
    likeliest. `encode` gives the pooled features, `predict` the logits. Raises ValueError for a smoothing outside [0, 1) or
    a negative weight, and where there are no auxiliary logits to weigh.
    """
    if auxiliary < 0:
        raise ValueError(f"the weight of auxiliary heads must not be negative, got {auxiliary}")

    def objective(logits: Array, features: Features, target: Array, batch: Batch, memory: Memory) -> Array:
        nats = optax.softmax_cross_entropy(logits, target)  # [B]
        if auxiliary and not features.get("auxiliary"):
            raise ValueError(f"auxiliary heads have weight {auxiliary}, but the network gives no auxiliary logits")
        for other in features["auxiliary"] if auxiliary else ():
            nats = nats + auxiliary * optax.softmax_cross_entropy(other, target)
        return nats

    return supervised(net, tx, objective, lambda logits, features: logits, smoothing=smoothing, mix=mix, ema=ema,
                      evaluate_ema=evaluate_ema, micro_batches=micro_batches, whole=auxiliary > 0)  # fmt: skip


def supervised(
    net: nn.Module,
    tx: optax.GradientTransformation,
    objective: Objective,
    answer: Callable[[Array, Features], Array],
    *,
    smoothing: float,
    mix: Mix | None,
    ema: float | Callable[[Array], Array] | None,
    evaluate_ema: bool,
    micro_batches: int,
    whole: bool = False,
    remember: Callable[[Array, Batch, int], Memory] = lambda key, batch, classes: {},
) -> Method:
    """What classification and distillation share; see `classifier` for the rest.

    objective: (logits, features, target [B, classes], the mixed batch, memory) -> nats [B].
    answer:    (logits, features) -> the logits that are judged.
    whole:     whether the network is initialized as in training, so that heads for training alone are made.
    remember:  (key, batch, classes) -> further entries of memory.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"label smoothing must lie in [0, 1), got {smoothing}")
    if mix is not None:
        mix.check()

    def init(key: Array, batch: Batch) -> TrainState:
        streams = {"params": key, "dropout": key, "drop_path": key}
        (logits, _), variables = net.init_with_output(streams, jnp.asarray(batch["image"])[:1], train=whole)
        memory = {"batch_stats": variables.get("batch_stats", {}), **remember(key, batch, logits.shape[-1])}
        if ema is not None:
            memory["ema"] = {"network": variables["params"], "batch_stats": memory["batch_stats"]}
        return new_state({"network": variables["params"]}, tx, memory)

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        key_mix, key_dropout, key_path = jax.random.split(key, 3)
        image, share = mix(batch["image"], key_mix) if mix else (batch["image"], None)
        variables = {"params": params["network"], "batch_stats": memory["batch_stats"]}
        rngs = {"dropout": key_dropout, "drop_path": key_path}
        (logits, features), moved = net.apply(variables, image, train=True, mutable=["batch_stats"], rngs=rngs)
        target = optax.smooth_labels(jax.nn.one_hot(batch["label"], logits.shape[-1]), smoothing)
        target = target if share is None else with_partner(target, share)
        nats = objective(logits, features, target, {**batch, "image": image}, memory)  # [B]
        memory = {**memory, "batch_stats": moved.get("batch_stats", {})}
        return jnp.mean(nats), (memory, {"accuracy": jnp.mean(_right(logits, jnp.argmax(target, -1)))})

    def outputs(state: TrainState, batch: Batch) -> tuple[Array, Features]:
        now = state.memory["ema"] if ema is not None and evaluate_ema else _current(state)
        variables: dict[str, Any] = {"params": now["network"], "batch_stats": now["batch_stats"]}
        answered: Any = net.apply(variables, batch["image"])
        return answer(*answered), answered[1]

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        logits, _ = outputs(state, batch)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        found = {"accuracy": _right(logits, batch["label"]), "cross_entropy": nats}
        if logits.shape[-1] > 5:
            five = jax.lax.top_k(logits, 5)[1]  # [B, 5]
            found["top_5"] = jnp.any(five == batch["label"][:, None], -1).astype(jnp.float32)
        return found

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        return outputs(state, batch)[1]["pooled"]

    def predict(state: TrainState, batch: Batch, key: Array) -> Array:
        return outputs(state, batch)[0]

    step = descend(loss, tx)
    step = accumulate(micro_batches, step) if micro_batches > 1 else step
    return Method(init, step if ema is None else chain(step, _average(ema)), evaluate, encode=encode, predict=predict)


def _average(decay: float | Callable[[Array], Array]) -> Update:
    """memory["ema"] <- decay * memory["ema"] + (1 - decay) * what the step left, statistics included."""

    def update(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        keep = decay(state.step) if callable(decay) else decay
        mean = jax.tree.map(lambda m, x: keep * m + (1 - keep) * x, state.memory["ema"], _current(state))
        return state._replace(memory={**state.memory, "ema": mean}), {}

    return update


def _current(state: TrainState) -> dict[str, Any]:
    """What is averaged: the network with its statistics."""
    return {"network": state.params["network"], "batch_stats": state.memory["batch_stats"]}


def _right(logits: Array, label: Array) -> Array:
    """Whether the likeliest class is the label: 0. or 1., [B]."""
    return (jnp.argmax(logits, -1) == label).astype(jnp.float32)
