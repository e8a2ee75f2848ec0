"""The Transformer as a translator: smoothed labels, a rate that warms up, beams (arXiv:1706.03762, sections 5 and 6).

Against each token, smoothed by eps (section 5.4, arXiv:1512.00567), the cost is

    (1 - eps) (-log p(y)) + eps mean_v (-log p(v)),   averaged over the tokens of the batch, the end included,

which gives eps / V to every token, the right one as well; the authors' code spreads eps over the V - 1 others.

What translates is a mean of the last parameters, as in section 6.1, where it is that of the last 5 checkpoints; here one
that forgets step by step, in memory as `average`.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import PartitionSpec as P

from aigc_jax.core import Batch, Memory, Method, Metrics, Params, TrainState, chain, descend, track
from aigc_jax.generate import Stop, beam_search
from aigc_jax.methods.language.gpt import token_nats
from aigc_jax.methods.language.translation import END, shifted, translator
from aigc_jax.networks.transformer import Transformer, beam_step
from aigc_jax.optimizers import rising

RULES = (
    (r"(qkv|query|key_value|up)\.kernel$", P("fsdp", "model")),
    (r"(out|down)\.kernel$", P("model", "fsdp")),
    (r".*", "fsdp"),
)
"""Placement: layers cut over `model` as in Megatron-LM (arXiv:1909.08053, section 3), all over `fsdp`."""


def transformer_translator(
    net: Transformer,
    tx: optax.GradientTransformation,
    *,
    smoothing: float = 0.1,
    average: float = 0.0,
    beams: int = 4,
    alpha: float = 0.6,
    form: Literal["gnmt", "power"] = "gnmt",
    stop: Stop = "bound",
) -> Method:
    """Learns `target` from `source` as `translator` does, which gives `evaluate`: what it calls `exact` is written greedily.

    smoothing: eps, above.
    average:   decay of the mean, at step n at most (1 + n) / (10 + n), so that first parameters are soon forgotten; 0 is no
               mean.
    beams, alpha, form, stop: of `sample`, see `beam_search`. It writes [B, T], as long as the target's rows.

    Raises ValueError for a smoothing outside 0 .. 1, and for such an average.
    """
    if not (0 <= smoothing < 1 and 0 <= average < 1):
        raise ValueError(f"smoothing and average are shares, 0 <= share < 1, not {smoothing} and {average}")

    plain = translator(net, tx)

    def init(key: Array, batch: Batch) -> TrainState:
        state = plain.init(key, batch)
        return state._replace(memory={"average": state.params["network"]}) if average else state

    def mean(state: TrainState) -> TrainState:
        return state._replace(params={"network": state.memory["average"]}) if average else state

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        target, length = batch["target"], batch["target_length"]
        answer: Any = net.apply({"params": params["network"]}, batch["source"], shifted(target), batch["source_length"],
                                train=True, rngs={"dropout": key})  # fmt: skip
        mask = jnp.arange(target.shape[1]) < length[:, None]
        count = jnp.maximum(jnp.sum(mask), 1)
        nats, cost = token_nats(answer[0], target), smoothed_nats(answer[0], target, smoothing)  # [B, T]
        metrics = {"nats_per_token": jnp.sum(jnp.where(mask, nats, 0)) / count}
        return jnp.sum(jnp.where(mask, cost, 0)) / count, (memory, metrics)

    extend = beam_step(net)

    def write(state: TrainState, batch: Batch, key: Array) -> Array:
        variables, target = {"params": mean(state).params["network"]}, batch["target"]
        at: Any = net.apply(variables, batch["source"], batch["source_length"], target.shape[1], method="start")
        first = jnp.full(len(target), END, jnp.int32)
        texts, _ = beam_search(extend, (variables, at.memory), (at.past, at.length), first, target.shape[1],
                               beams=beams, end=END, alpha=alpha, form=form, stop=stop)  # fmt: skip
        return texts[:, 0]

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        return plain.evaluate(mean(state), batch, key)

    step = descend(loss, tx)
    if average:
        step = chain(step, track("average", lambda params: params["network"], rising(average)))
    return Method(init, step, evaluate, write)


def smoothed_nats(logits: Array, targets: Array, smoothing: float) -> Array:
    """The cost above of each target: logits [..., V], targets int [...] -> [...]."""
    spread = jax.nn.logsumexp(logits, -1) - jnp.mean(logits, -1)  # mean_v (-log p(v))
    return (1 - smoothing) * token_nats(logits, targets) + smoothing * spread


def warmed_adam(
    width: int, warmup: int = 4000, scale: float = 1.0, b2: float = 0.98, eps: float = 1e-9
) -> optax.GradientTransformation:
    """Adam as in section 5.3, its rate by `inverse_sqrt`."""
    return optax.adam(inverse_sqrt(width, warmup, scale), b1=0.9, b2=b2, eps=eps)


def inverse_sqrt(width: int, warmup: int, scale: float = 1.0) -> optax.Schedule:
    """scale * width^-0.5 * min(n^-0.5, n warmup^-1.5) at step n = 1, 2, ..., eq. (3); optax counts from 0."""

    def rate(count: Any) -> Array:
        n = jnp.asarray(count, jnp.float32) + 1
        return scale * width**-0.5 * jnp.minimum(n**-0.5, n * warmup**-1.5)

    return rate
