"""GPT: a language model trained to predict the next token (GPT-2: Radford et al. 2019).

log p(x) = sum_t log p(x_t | x_<t). The loss is the mean over tokens of -log p(x_t | x_<t) = logsumexp(z) - z[x_t], z
the logits at t. A batch holds `tokens` [B, T + 1]: the first T are read, the last T are predicted. Where it also holds
`weights` [B, T], a predicted token counts by its weight: 0 leaves it out.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import PartitionSpec as P

from aigc_jax.core import Batch, Memory, Method, Metrics, Params, TrainState, accumulate, descend, new_state
from aigc_jax.generate import generate
from aigc_jax.networks.gpt import GPT
from aigc_jax.optimizers import are_kernels
from aigc_jax.probability.distributions import check_temperature

RULES = (
    (r"blocks\.(qkv|up)\.kernel$", P(None, "fsdp", "model")),  # [L, D, ...], columns over `model`
    (r"blocks\.(out|down)\.kernel$", P(None, "model", "fsdp")),  # [L, ..., D], rows over `model`
    (r"block_\d+\.(qkv|up)\.kernel$", P("fsdp", "model")),
    (r"block_\d+\.(out|down)\.kernel$", P("model", "fsdp")),
    (r".*", "fsdp"),
)
"""Placement of a GPT: blocks cut over `model` as in Megatron-LM (arXiv:1909.08053, section 3), all over `fsdp`."""


def language_model(
    net: GPT,
    tx: optax.GradientTransformation,
    *,
    prompt: int = 1,
    steps: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    micro_batches: int = 1,
) -> Method:
    """A causal language model.

    net:           tokens [B, T] -> logits [B, T, V], with `step` and `empty_cache` for generation.
    tx:            the optimizer; `adamw` is the usual one.
    prompt, steps: `sample` reads the first `prompt` tokens of a batch and continues them by `steps`, by default up to
                   the context; prompt and continuation come back together, int32 [B, prompt + steps].
    temperature, top_k, top_p: how a token is drawn, see `aigc_jax.generate`; a temperature of 0 takes the likeliest.
    micro_batches: the gradient of a batch is summed over this many parts of it, to save memory; the result is the same.

    `evaluate` gives, per example, `nats_per_token` and `accuracy` (the likeliest token is the right one).
    Raises ValueError if prompt and continuation do not fit the context, and for a negative temperature.
    """
    check_temperature(temperature)
    steps = net.context - prompt if steps is None else steps
    if prompt < 1 or steps < 1 or prompt + steps > net.context:
        raise ValueError(f"a prompt of {prompt} and {steps} new tokens do not fit a context of {net.context}")

    def init(key: Array, batch: Batch) -> TrainState:
        params = {"network": net.init(key, jnp.asarray(batch["tokens"])[:1, :-1])["params"]}
        return new_state(params, tx)

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        tokens = batch["tokens"]
        logits: Any = net.apply({"params": params["network"]}, tokens[:, :-1], train=True, rngs={"dropout": key})
        nats = token_nats(logits, tokens[:, 1:])  # [B, T]
        weights = token_weights(batch)
        return jnp.sum(weights * nats) / jnp.maximum(jnp.sum(weights), 1), (memory, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        tokens = batch["tokens"]
        logits: Any = net.apply({"params": state.params["network"]}, tokens[:, :-1])
        weights = token_weights(batch)
        share = weights / jnp.maximum(weights.sum(-1, keepdims=True), 1)  # [B, T]
        right = jnp.argmax(logits, -1) == tokens[:, 1:]
        return {
            "nats_per_token": (share * token_nats(logits, tokens[:, 1:])).sum(-1),
            "accuracy": (share * right).sum(-1),
        }

    def read(params: Params, tokens: Array, cache: Any) -> tuple[Array, Any]:
        return net.apply({"params": params}, tokens, cache, method="step")

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        start = jnp.asarray(batch["tokens"])[:, :prompt]
        cache = net.empty_cache(start.shape[0], prompt + steps)
        new = generate(read, state.params["network"], cache, start, steps, key,
                       temperature=temperature, top_k=top_k, top_p=top_p)  # fmt: skip
        return jnp.concatenate([start, new], axis=1)

    step = descend(loss, tx)
    if micro_batches > 1:
        step = accumulate(micro_batches, step, weight=lambda batch: token_weights(batch).sum())
    return Method(init, step, evaluate, sample)


def token_nats(logits: Array, targets: Array) -> Array:
    """-log softmax(logits)[target] in nats: logits [..., V], targets int [...] -> [...].

    The target's logit is picked by comparison, not by gather: the gradient is then softmax - one-hot in one pass over
    the logits, where a gather would scatter into zeros as large as they.
    """
    picked = jnp.arange(logits.shape[-1]) == targets[..., None]
    return jax.nn.logsumexp(logits, -1) - jnp.sum(jnp.where(picked, logits, 0), -1)


def token_weights(batch: Batch) -> Array:
    """How much each predicted token counts, [B, T]: `weights` of the batch, else 1."""
    if "weights" in batch:
        return batch["weights"]
    return jnp.ones(batch["tokens"][:, 1:].shape, jnp.float32)


def adamw(
    lr: float, steps: int, *, warmup: int, final: float = 0.1, b1: float = 0.9, b2: float = 0.95,
    weight_decay: float = 0.1, clip: float = 1.0
) -> optax.GradientTransformation:  # fmt: skip
    """AdamW as language models use it: global clipping, linear warm-up, cosine to `final` times the peak at the end.

    Weight decay falls on the kernels of linear maps alone. It is a pull towards 0, and 0 is no neutral value for a
    norm's scale; a bias shifts a map without making it more complex; and a row of an embedding table would decay in
    every step but learn only in those where its token occurs. Kernels are told by name, as stacked norm scales are
    matrices too.
    """
    schedule = optax.warmup_cosine_decay_schedule(0.0, lr, min(warmup, steps - 1), steps, final * lr)
    return optax.chain(
        optax.clip_by_global_norm(clip),
        optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=are_kernels),
    )
