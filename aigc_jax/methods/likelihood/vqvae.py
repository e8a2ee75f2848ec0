"""VQ-VAE: an autoencoder whose code is a picture of numbers of K codes (arXiv:1711.00937).

    z = f(x) [h, w, D],   k = the nearest code at each place,   y = g(e_k),  gradients straight through from e_k to z
    loss = ||x - y||^2 / var(x) + beta ||z - sg(e_k)||^2                                      eq. (3), as released

Both terms are means over their values, the first over pixels and the second over places and width: sums would be another
beta. There is no term for the codes: they are moving averages of the vectors that chose them, and lie in memory (appendix A.1).

While this is trained the prior over the numbers is uniform (section 3.2), which adds log K nats a place to the bound and no
gradient. Any model of pictures of integers can be the prior that is learnt after it: see `two_stage`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aigc_jax.core import Batch, Method, TrainState, descend, new_state
from aigc_jax.evals import Evaluator, name_of
from aigc_jax.evals.pictures import beside
from aigc_jax.probability.quantize import Codebook, codebook, moved, nearest, perplexity, shares, straight_through


def vqvae(
    encoder: nn.Module,
    decoder: nn.Module,
    tx: optax.GradientTransformation,
    *,
    codes: int = 512,
    beta: float = 0.25,
    decay: float = 0.99,
    variance: float = 1.0,
) -> Method:
    """The method over batches {"image": [B, H, W, C]}.

    encoder:  x -> [B, h, w, D]; its D is the width of a code. decoder: [B, h, w, D] -> [B, H, W, C].
    codes:    K.
    beta:     weight of the commitment.
    decay:    of the averages that the codes are; 0 is one step of k-means on each batch.
    variance: of the values of the training data, by which squared errors are divided.

    `evaluate`: the two terms per example, `error` (squared, over the variance) and `commitment`, and `squared_error`, the
    mean over values. `encode`: the codes of an example, flat. `sample`: the pictures of numbers drawn from the uniform prior,
    or of those a batch brings, `codes`, int [B, h, w].

    Raises ValueError for a negative beta, a variance that is not above 0 and a decay outside [0, 1).
    """
    if beta < 0 or variance <= 0 or not 0 <= decay < 1:
        raise ValueError(f"beta from 0, variance above 0 and decay in [0, 1): not {beta}, {variance} and {decay}")

    def init(key: Array, batch: Batch) -> TrainState:
        key_encoder, key_decoder, key_codes = jax.random.split(key, 3)
        z, encoder_params = encoder.init_with_output(key_encoder, batch["image"])
        params = {"encoder": encoder_params["params"], "decoder": decoder.init(key_decoder, z)["params"]}
        return new_state(params, tx, {"codebook": codebook(key_codes, codes, z.shape[-1])._asdict()})

    def terms(params: dict[str, Any], book: Codebook, x: Array) -> tuple[dict[str, Array], Array, Array]:
        z = _apply(encoder, params, "encoder", x)  # [B, h, w, D]
        index = nearest(book.codes, z)  # [B, h, w]
        chosen = book.codes[index]
        y = _apply(decoder, params, "decoder", straight_through(z, chosen))
        squared, commitment = _mean((x - y) ** 2), _mean((z - chosen) ** 2)
        return {"error": squared / variance, "commitment": commitment, "squared_error": squared}, z, index

    def loss(params, memory, batch, key):
        book = Codebook(**memory["codebook"])
        values, z, index = terms(params, book, batch["image"])
        means = jax.tree.map(jnp.mean, values)
        after = {**memory, "codebook": moved(book, z, index, decay)._asdict()}
        metrics = {**means, "perplexity": perplexity(shares(index, codes))}
        return means["error"] + beta * means["commitment"], (after, metrics)

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        return terms(state.params, Codebook(**state.memory["codebook"]), batch["image"])[0]

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        index = indices(encoder, state.params, state.memory, batch["image"])
        return state.memory["codebook"]["codes"][index].reshape(len(index), -1)

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        if "codes" in batch:
            return decoded(decoder, state.params, state.memory, batch["codes"])
        # of the network the shape alone is used: the compiler drops it
        shape = indices(encoder, state.params, state.memory, batch["image"]).shape
        uniform = jax.random.randint(key, shape, 0, codes)
        return decoded(decoder, state.params, state.memory, uniform)

    protocol = "squared_error: mean over values; error: the same over their variance"
    return Method(init, descend(loss, tx), evaluate, sample, encode, protocol=protocol)


def indices(encoder: nn.Module, params: dict[str, Any], memory: dict[str, Any], x: Array) -> Array:
    """The numbers of the codes of x, int32 [B, h, w]."""
    return nearest(memory["codebook"]["codes"], _apply(encoder, params, "encoder", x))


def decoded(decoder: nn.Module, params: dict[str, Any], memory: dict[str, Any], index: Array) -> Array:
    """Pictures [B, H, W, C] of numbers of codes, int [B, h, w]."""
    return _apply(decoder, params, "decoder", memory["codebook"]["codes"][index])


def usage(encoder: nn.Module, codes: int, split: str | None = None) -> Evaluator:
    """`perplexity` of the codes over a split, and how many of them occur (`used`)."""

    @jax.jit
    def counts(state: TrainState, batch: Batch) -> Array:
        index = indices(encoder, state.params, state.memory, batch["image"])
        real = batch["mask"][:, None, None, None] > 0
        return jnp.sum(jnp.where(real, jax.nn.one_hot(index, codes), 0), axis=(0, 1, 2))

    def measure(run: Any) -> dict[str, float]:
        total = sum(np.asarray(counts(run.state, batch), np.float64) for batch in run.data.evaluate(split))
        return {"perplexity": float(perplexity(jnp.asarray(total / np.sum(total)))), "used": float(np.sum(total > 0))}

    return Evaluator(measure, f"exp of the entropy of the codes of all places, on {name_of(split)}")


def reconstructions(encoder: nn.Module, decoder: nn.Module, n: int = 12) -> Callable[[Any], np.ndarray]:
    """A panel of a run: n evaluation examples, and under each what its codes make; uint8 [H', W', 3]."""

    def again(state: TrainState, x: Array) -> Array:
        return decoded(decoder, state.params, state.memory, indices(encoder, state.params, state.memory, x))

    return beside(again, n)


def _apply(net: nn.Module, params: dict[str, Any], name: str, x: Array) -> Array:
    return cast(Array, net.apply({"params": params[name]}, x))


def _mean(x: Array) -> Array:
    """[B, ...] -> [B]."""
    return jnp.mean(x, axis=tuple(range(1, x.ndim)))
