"""Translation: one sequence from another, log p(y | x) = sum_t log p(y_t | y_<t, x), written greedily.

In training the decoder is given the true tokens before each (teacher forcing); when it writes, its own. The end is a
token like any other, 0, and stands before the first. What a source is, tokens, vectors or one picture, only the network knows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, Metrics, Params, TrainState, descend, new_state
from aigc_jax.generate import generate
from aigc_jax.methods.language.gpt import token_nats

END = 0


def translator(
    net: nn.Module, tx: optax.GradientTransformation, *, average: Literal["tokens", "sentences"] = "tokens"
) -> Method:
    """Learns `target` int [B, T], `target_length` [B] tokens with the end, from `source` (of `source_length` [B] steps).

    net:     (source, tokens, length) -> (logits [B, T, V], attention), with `start` and `step` for writing.
    average: the loss is a mean over tokens, or over sentences of the sum over their tokens (arXiv:1409.3215).

    `evaluate` gives, per example, `nats_per_token` and `accuracy` with the true tokens before each, and `exact`: whether what
    is written without them, as long as the target at most, is the target. `sample` writes it, [B, T].
    """

    def init(key: Array, batch: Batch) -> TrainState:
        source, target = (jnp.asarray(batch[name])[:1] for name in ("source", "target"))
        return new_state({"network": net.init(key, source, target)["params"]}, tx)

    def nats_of(params: Params, batch: Batch, **options: Any) -> tuple[Array, Array, Array]:
        target = batch["target"]
        answer: Any = net.apply(
            {"params": params["network"]}, batch["source"], shifted(target), batch.get("source_length"), **options
        )
        logits, _ = answer
        mask = jnp.arange(target.shape[1]) < batch["target_length"][:, None]
        return jnp.where(mask, token_nats(logits, target), 0), mask, jnp.argmax(logits, -1) == target

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        nats, mask, right = nats_of(params, batch, train=True, rngs={"dropout": key})
        count = jnp.maximum(jnp.sum(mask), 1)
        over = count if average == "tokens" else len(nats)
        return jnp.sum(nats) / over, (memory, {"accuracy": jnp.sum(right & mask) / count})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        nats, mask, right = nats_of(state.params, batch)
        count = jnp.maximum(jnp.sum(mask, -1), 1)
        return {
            "nats_per_token": jnp.sum(nats, -1) / count,
            "accuracy": jnp.sum(right & mask, -1) / count,
            "exact": jnp.all((write(state, batch, key) == batch["target"]) | ~mask, -1).astype(jnp.float32),
        }

    def extend(params: Params, tokens: Array, at: Any) -> tuple[Array, Any]:
        answer: Any = net.apply({"params": params}, tokens, at, method="step")
        return answer

    def write(state: TrainState, batch: Batch, key: Array) -> Array:
        params, source = state.params["network"], batch["source"]
        at = net.apply({"params": params}, source, batch.get("source_length"), method="start")
        first = jnp.full((len(source), 1), END, jnp.int32)
        return generate(extend, params, at, first, batch["target"].shape[1], key, temperature=0)

    return Method(init, descend(loss, tx), evaluate, write)


def shifted(target: Array) -> Array:
    """The true tokens before each of a target [B, T], the end before the first."""
    return jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=END)


def attention_map(net: nn.Module, examples: int = 4) -> Callable[[Any], Any]:
    """The panel of what a decoder looks at: a row of weights over the source for each token it writes (`load_pairs`)."""

    def panel(run: Any) -> Any:
        from matplotlib.figure import Figure

        def names(tokens: np.ndarray, side: int) -> list[str]:
            return ["end" if token == END else tokenizers[side].decode([token - 1]) for token in tokens.tolist()]

        batch, tokenizers = run.condition(examples), run.data.info["tokenizers"]
        written = run.sample(batch)  # [B, T]
        variables = {"params": run.state.params["network"]}
        answer: Any = jax.jit(net.apply)(variables, batch["source"], shifted(written), batch["source_length"])
        alpha = np.asarray(answer[1])  # [B, T, S]
        figure = Figure(figsize=(3 * examples, 4))
        for row, axes in enumerate(np.atleast_1d(figure.subplots(1, examples))):
            source = names(batch["source"][row, : batch["source_length"][row]], 0)
            words = names(written[row], 1)
            words = words[: words.index("end") + 1] if "end" in words else words
            axes.imshow(alpha[row, : len(words), : len(source)], cmap="Greys", vmin=0, vmax=1, aspect="auto")
            axes.set_xticks(range(len(source)), source)
            axes.set_yticks(range(len(words)), words, fontsize=7)
        figure.tight_layout()
        return figure

    return panel
