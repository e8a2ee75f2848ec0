"""Classification: cross entropy on labelled images, for any network that gives logits and features.

    loss = mean_b -sum_c q(c | y_b) log p(c | x_b),   q = (1 - s) onehot(y_b) + s / C

s is label smoothing (arXiv:1512.00567, section 7), 0 by default. Statistics of batch normalisation are no parameters:
they lie in memory under `batch_stats`, training moves them, evaluation uses them.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, Metrics, Params, TrainState, accumulate, descend, new_state


def classifier(
    net: nn.Module, tx: optax.GradientTransformation, *, smoothing: float = 0.0, micro_batches: int = 1
) -> Method:
    """Learns `label` int [B] from `image` [B, H, W, C].

    net:           (image, train) -> (logits [B, classes], features by name, `pooled` [B, D] among them).
    smoothing:     s of the loss, in [0, 1).
    micro_batches: the gradient of a batch is summed over this many parts of it, to save memory; statistics of batch
                   normalisation are then those of a part.

    The step reports `accuracy` on its batch. `evaluate` gives, per example, `accuracy`, `cross_entropy` in nats (never
    smoothed) and, for more than five classes, `top_5`: whether the label is among the five likeliest. `encode` gives
    the pooled features. Raises ValueError for a smoothing outside [0, 1).
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"label smoothing must lie in [0, 1), got {smoothing}")

    def init(key: Array, batch: Batch) -> TrainState:
        variables = net.init(key, jnp.asarray(batch["image"])[:1])
        return new_state({"network": variables["params"]}, tx, {"batch_stats": variables.get("batch_stats", {})})

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        variables = {"params": params["network"], "batch_stats": memory["batch_stats"]}
        (logits, _), moved = net.apply(
            variables, batch["image"], train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        target = optax.smooth_labels(jax.nn.one_hot(batch["label"], logits.shape[-1]), smoothing)
        nats = optax.softmax_cross_entropy(logits, target)  # [B]
        memory = {**memory, "batch_stats": moved.get("batch_stats", {})}
        return jnp.mean(nats), (memory, {"accuracy": jnp.mean(_right(logits, batch["label"]))})

    def outputs(state: TrainState, batch: Batch) -> tuple[Array, dict[str, Array]]:
        variables: dict[str, Any] = {"params": state.params["network"], "batch_stats": state.memory["batch_stats"]}
        answer: Any = net.apply(variables, batch["image"])
        return answer

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

    step = descend(loss, tx)
    return Method(init, accumulate(micro_batches, step) if micro_batches > 1 else step, evaluate, encode=encode)


def _right(logits: Array, label: Array) -> Array:
    """Whether the likeliest class is the label: 0. or 1., [B]."""
    return (jnp.argmax(logits, -1) == label).astype(jnp.float32)
