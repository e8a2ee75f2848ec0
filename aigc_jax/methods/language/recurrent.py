"""Recurrent language models: the next token from a state that is carried along the text (Mikolov et al. 2010).

log p(x) = sum_t log p(x_t | h_t), h_t of all tokens before. Where the state is carried from batch to batch, row b of a
batch goes on where row b of the batch before ended (`load_text(..., contiguous=True)`), and the gradient ends at the
border: backpropagation through time truncated to a batch's length (arXiv:1409.2329, section 4.1). The states lie in memory.

Perplexity is exp of the mean of -log p over tokens. `evaluate` begins every window with a state of zeros, so that
rows are independent; `carried`, an evaluator, reads a split from its beginning to its end as published figures do.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, Metrics, Params, TrainState, descend, new_state
from aigc_jax.evals import Evaluator
from aigc_jax.generate import generate
from aigc_jax.methods.language.gpt import token_nats, token_weights
from aigc_jax.networks.recurrent import LanguageModel, States
from aigc_jax.probability.distributions import check_temperature


def recurrent_language_model(
    net: LanguageModel,
    tx: optax.GradientTransformation,
    *,
    carry: bool = False,
    prompt: int = 1,
    steps: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Method:
    """Learns `tokens` [B, T + 1]: the first T are read, the last T predicted, by `weights` [B, T] where there are any.

    carry:         training batches are contiguous, and the states go from one to the next.
    prompt, steps: `sample` reads the first `prompt` tokens of a batch and continues them by `steps`; both come back
                   together, int32 [B, prompt + steps]. It costs the same for every token: the state is all the past.
    temperature, top_k, top_p: how a token is drawn, see `aigc_jax.generate`; a temperature of 0 takes the likeliest.

    `evaluate` gives, per example, `nats_per_token` and `accuracy`. Raises ValueError for less than one token of either,
    and for a negative temperature.
    """
    check_temperature(temperature)
    if min(prompt, steps) < 1:
        raise ValueError(f"a sample needs a prompt and new tokens, got {prompt} and {steps}")

    def init(key: Array, batch: Batch) -> TrainState:
        tokens = jnp.asarray(batch["tokens"])
        params = {"network": net.init(key, tokens[:1, :-1])["params"]}
        return new_state(params, tx, {"states": net.stack.zero_states(len(tokens))} if carry else {})

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        tokens, weights = batch["tokens"], token_weights(batch)
        logits, states = _read(net, params["network"], tokens, memory.get("states"), train=True, rngs={"dropout": key})
        # no gradient crosses the border anyway, as memory is no parameter; kept because the method rests on it
        memory = {**memory, "states": jax.lax.stop_gradient(states)} if carry else memory
        nats = token_nats(logits, tokens[:, 1:])  # [B, T]
        return jnp.sum(weights * nats) / jnp.maximum(jnp.sum(weights), 1), (memory, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        tokens, weights = batch["tokens"], token_weights(batch)
        logits, _ = _read(net, state.params["network"], tokens, None)
        share = weights / jnp.maximum(weights.sum(-1, keepdims=True), 1)  # [B, T]
        right = jnp.argmax(logits, -1) == tokens[:, 1:]
        return {
            "nats_per_token": (share * token_nats(logits, tokens[:, 1:])).sum(-1),
            "accuracy": (share * right).sum(-1),
        }

    def extend(params: Params, tokens: Array, states: States) -> tuple[Array, States]:
        answer: Any = net.apply({"params": params}, tokens, states, method="step")
        return answer

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        start = jnp.asarray(batch["tokens"])[:, :prompt]
        states = net.stack.zero_states(len(start))
        new = generate(extend, state.params["network"], states, start, steps, key,
                       temperature=temperature, top_k=top_k, top_p=top_p)  # fmt: skip
        return jnp.concatenate([start, new], axis=1)

    return Method(init, descend(loss, tx), evaluate, sample)


def carried(net: LanguageModel, split: str | None = None) -> Evaluator:
    """run -> `nats_per_token` and `perplexity` of a split read in contiguous rows, the states carried all the way."""

    @jax.jit
    def read(params: Params, states: States, tokens: Array, weights: Array) -> tuple[States, Array]:
        logits, states = _read(net, params, tokens, states)
        return states, jnp.sum(weights * token_nats(logits, tokens[:, 1:]))

    def measure(run: Any) -> dict[str, float]:
        states, nats, count = None, 0.0, 0.0
        for batch in run.data.evaluate(split):
            tokens = jnp.asarray(batch["tokens"])
            weights = token_weights(batch) * (batch["mask"] > 0)[:, None]
            states = net.stack.zero_states(len(tokens)) if states is None else states
            states, total = read(run.state.params["network"], states, tokens, weights)
            nats, count = nats + float(total), count + float(weights.sum())
        return {"nats_per_token": nats / count, "perplexity": math.exp(nats / count)}

    where = f"split {split}" if split else "the evaluation split"
    return Evaluator(measure, f"{where} in as many contiguous rows as a batch has, the state carried from end to end")


def _read(net: LanguageModel, params: Params, tokens: Array, states: States | None, **options: Any) -> Any:
    return net.apply({"params": params}, tokens[:, :-1], states, **options)
