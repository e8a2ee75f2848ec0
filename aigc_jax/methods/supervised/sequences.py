"""Learning from sequences with labels at every step, or with numbers as answers.

    tagger      loss = sum_t m_t (-log p(y_t | x)) / sum_t m_t,  m_t = 1 up to the end of the row     many to many, aligned
    regressor   loss = mean_b (y_b - f(x_b))^2                                                          many to one

One label for a sequence is classification (`classification`), whose network may read an image row by row.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, Metrics, Params, TrainState, descend, new_state
from aigc_jax.networks.recurrent import Reader


def tagger(net: Reader, tx: optax.GradientTransformation, *, noise: float = 0.0) -> Method:
    """Learns `labels` int [B, T] from `inputs`, tokens [B, T] or vectors [B, T, D], of `length` [B] steps.

    net:   an answer at every step.
    noise: deviation of normal noise on the vectors in training.

    Steps past the end of a row count nowhere. `evaluate` gives, per example, the means over its steps of `accuracy` and
    `cross_entropy`, and `whole`: whether all of its labels are right. Raises ValueError for a net that answers once.
    """
    if not net.every:
        raise ValueError("a tagger needs an answer at every step: Reader(..., every=True)")

    def init(key: Array, batch: Batch) -> TrainState:
        return new_state({"network": net.init(key, jnp.asarray(batch["inputs"])[:1])["params"]}, tx)

    def nats_of(params: Params, inputs: Array, batch: Batch, **options: Any) -> tuple[Array, Array, Array]:
        logits, _ = net.apply({"params": params["network"]}, inputs, length=batch["length"], **options)
        nats = optax.softmax_cross_entropy_with_integer_labels(logits, batch["labels"])
        mask = jnp.arange(nats.shape[1]) < batch["length"][:, None]
        return jnp.where(mask, nats, 0), mask, jnp.argmax(logits, -1) == batch["labels"]  # three times [B, T]

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        key_noise, key_dropout = jax.random.split(key)
        inputs = batch["inputs"]
        if noise:
            inputs = inputs + noise * jax.random.normal(key_noise, inputs.shape)
        nats, mask, right = nats_of(params, inputs, batch, train=True, rngs={"dropout": key_dropout})
        count = jnp.maximum(jnp.sum(mask), 1)
        return jnp.sum(nats) / count, (memory, {"accuracy": jnp.sum(right & mask) / count})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        nats, mask, right = nats_of(state.params, batch["inputs"], batch)
        count = jnp.maximum(jnp.sum(mask, -1), 1)
        return {
            "accuracy": jnp.sum(right & mask, -1) / count,
            "cross_entropy": jnp.sum(nats, -1) / count,
            "whole": jnp.all(right | ~mask, -1).astype(jnp.float32),
        }

    return Method(init, descend(loss, tx), evaluate)


def regressor(net: Reader, tx: optax.GradientTransformation) -> Method:
    """Learns `value` float [B] from `inputs` [B, T, D]; the net gives one number. `evaluate` gives `mse`, per example."""

    def init(key: Array, batch: Batch) -> TrainState:
        return new_state({"network": net.init(key, jnp.asarray(batch["inputs"])[:1])["params"]}, tx)

    def squares(params: Params, batch: Batch, **options: Any) -> Array:
        answer: Any = net.apply({"params": params["network"]}, batch["inputs"], **options)
        return (answer[0][:, 0] - batch["value"]) ** 2

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        return jnp.mean(squares(params, batch, train=True, rngs={"dropout": key})), (memory, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        return {"mse": squares(state.params, batch)}

    return Method(init, descend(loss, tx), evaluate)
