"""Autoencoder: a code of few numbers from which the example is restored (Hinton and Salakhutdinov 2006, Science 313).

    h = code(f(x)),   y = g(h),   loss = d(x, y)       d squared error, or the cross-entropy of bits with logits y
    denoising         loss = d(x, g(f(x~))),  x~ a corrupted x: the clean x is the target   (Vincent et al. 2010, JMLR 11)
    sparse            loss + weight * penalty(h)

A linear autoencoder with squared error finds the subspace of the principal components, though not the components
themselves: any invertible map of the code gives the same loss.

Cross-entropy to greys is a usual loss and no likelihood; so nothing here is reported in nats per example as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aigc_jax.core import Batch, Method, TrainState, descend, new_state
from aigc_jax.evals.pca import components
from aigc_jax.evals.pictures import spread, tiles
from aigc_jax.probability.distributions import log_bernoulli, sum_trailing

Corrupt = Callable[[Array, Array], Array]  # (x, key) -> x of the same shape
Penalty = Callable[[Array], Array]  # codes [B, L] -> scalar


def autoencoder(
    encoder: nn.Module,
    decoder: nn.Module,
    tx: optax.GradientTransformation,
    *,
    loss: Literal["squared", "bernoulli"] = "squared",
    code: Callable[[Array], Array] = lambda h: h,
    corrupt: Corrupt | None = None,
    penalty: Penalty | None = None,
    weight: float = 1.0,
) -> Method:
    """The method over batches {"image": [B, ...]}.

    encoder: x [B, ...] -> [B, L]. decoder: code [B, L] -> [B, D], the restored x, or the logits of its bits.
    loss:    "squared", sum_d (x_d - y_d)^2, or "bernoulli", the cross-entropy, for x in [0, 1].
    code:    nonlinearity of the code.
    corrupt: what the encoder sees of x in training (`corruption`); evaluation is on clean examples.
    penalty: of the codes of a batch (`sparsity`), with this weight in the loss.

    `evaluate`: the loss of each example, `squared_error` or `cross_entropy` (then the squared error of sigmoid(y) as well),
    without the penalty. `encode`: the code [B, L]. There is no sampler: nothing says how codes are distributed.

    Raises ValueError for another loss, and a negative weight.
    """
    if loss not in ("squared", "bernoulli"):
        raise ValueError(f"loss {loss!r}: there are squared and bernoulli")
    if weight < 0:
        raise ValueError(f"the weight of the penalty is at least 0, not {weight}")

    def init(key: Array, batch: Batch) -> TrainState:
        key_encoder, key_decoder = jax.random.split(key)
        h, encoder_params = encoder.init_with_output(key_encoder, batch["image"])
        params = {"encoder": encoder_params["params"], "decoder": decoder.init(key_decoder, h)["params"]}
        return new_state(params, tx)

    def objective(params, memory, batch, key):
        x = batch["image"]
        h = codes(encoder, params, x if corrupt is None else corrupt(x, key), code)
        error = jnp.mean(errors(x, restored(decoder, params, h, x), loss)[0])
        if penalty is None:
            return error, (memory, {})
        cost = penalty(h)
        return error + weight * cost, (memory, {"reconstruction": error, "penalty": cost, "activity": jnp.mean(h)})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        x = batch["image"]
        y = restored(decoder, state.params, codes(encoder, state.params, x, code), x)
        first, squared = errors(x, y, loss)
        return {"squared_error": squared} | ({"cross_entropy": first} if loss == "bernoulli" else {})

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        return codes(encoder, state.params, batch["image"], code)

    return Method(init, descend(objective, tx), evaluate, encode=encode, protocol="sums over the values of an example")


def codes(encoder: nn.Module, params: dict[str, Any], x: Array, code: Callable[[Array], Array]) -> Array:
    """x [B, ...] -> [B, L]."""
    return code(cast(Array, encoder.apply({"params": params["encoder"]}, x)))


def restored(decoder: nn.Module, params: dict[str, Any], h: Array, like: Array) -> Array:
    """What the decoder puts out, in the shape of the examples `like`: [B, L] -> [B, ...]."""
    return cast(Array, decoder.apply({"params": params["decoder"]}, h)).reshape(like.shape)


def errors(x: Array, y: Array, loss: Literal["squared", "bernoulli"]) -> tuple[Array, Array]:
    """The loss of each example, and its squared error; [B] each."""
    squared = sum_trailing((x - expectation(y, loss)) ** 2)
    return (-log_bernoulli(x, y) if loss == "bernoulli" else squared), squared


def expectation(y: Array, loss: Literal["squared", "bernoulli"]) -> Array:
    """What the decoder puts out, as a picture."""
    return jax.nn.sigmoid(y) if loss == "bernoulli" else y


def corruption(kind: Literal["gaussian", "masking", "salt"], level: float) -> Corrupt:
    """What a denoising autoencoder takes back (Vincent et al. 2010, section 3.3).

    kind: "gaussian"  x + level * noise
          "masking"   each value is 0 with probability `level`
          "salt"      each value is 0 or 1, by a fair coin, with probability `level`: salt and pepper

    Raises ValueError for another kind, a negative level, and a probability above 1.
    """
    if kind not in ("gaussian", "masking", "salt"):
        raise ValueError(f"corruption {kind!r}: there are gaussian, masking and salt")
    if level < 0 or (kind != "gaussian" and level > 1):
        raise ValueError(f"{kind} takes a level {'from 0' if kind == 'gaussian' else 'in [0, 1]'}, not {level}")

    def corrupt(x: Array, key: Array) -> Array:
        key_where, key_what = jax.random.split(key)
        if kind == "gaussian":
            return x + level * jax.random.normal(key_what, x.shape, x.dtype)
        hit = jax.random.bernoulli(key_where, level, x.shape)
        return jnp.where(hit, jax.random.bernoulli(key_what, 0.5, x.shape) if kind == "salt" else 0.0, x)

    return corrupt


def sparsity(kind: Literal["kl", "l1"], target: float = 0.05) -> Penalty:
    """A cost of codes [B, L] that are seldom small (Ng 2011, CS294A lecture notes on the sparse autoencoder).

    kind: "kl"  sum_j KL(Bernoulli(target) || Bernoulli(mean over the batch of h_j)), for h in (0, 1)
          "l1"  sum_j |h_j|, the mean over the batch

    Raises ValueError for another kind, and for a target outside (0, 1).
    """
    if kind not in ("kl", "l1"):
        raise ValueError(f"sparsity {kind!r}: there are kl and l1")
    if not 0 < target < 1:
        raise ValueError(f"the target of a mean activity lies between 0 and 1, not {target}")

    def divergence(h: Array) -> Array:
        mean = jnp.clip(jnp.mean(h, axis=0), 1e-6, 1 - 1e-6)  # a unit that is always on or off has a finite cost
        return jnp.sum(target * jnp.log(target / mean) + (1 - target) * jnp.log((1 - target) / (1 - mean)))

    return divergence if kind == "kl" else lambda h: jnp.mean(sum_trailing(jnp.abs(h)))


def reconstructions(
    encoder: nn.Module,
    decoder: nn.Module,
    width: int,
    loss: Literal["squared", "bernoulli"] = "squared",
    code: Callable[[Array], Array] = lambda h: h,
    corrupt: Corrupt | None = None,
    n: int = 12,
) -> Callable[[Any], np.ndarray]:
    """A panel of a run: n evaluation examples, what the encoder sees of them if it is corrupted, what comes back, and
    their `width` principal components; uint8 [H', W', 3]."""

    @jax.jit
    def again(params: dict[str, Any], seen: Array) -> Array:
        return expectation(restored(decoder, params, codes(encoder, params, seen, code), seen), loss)

    def panel(run: Any) -> np.ndarray:
        x = spread(run, n)["image"]
        seen = x if corrupt is None else np.asarray(corrupt(jnp.asarray(x), run.key))
        rows = [x] if corrupt is None else [x, seen]
        rows += [jax.device_get(again(run.state.params, seen)), components(run, width).project(seen)]
        return tiles(np.stack([run.data.decode(row) for row in rows]))

    return panel
