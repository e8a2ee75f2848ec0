"""IWAE: importance weighted autoencoders (arXiv:1509.00519), of one stochastic layer or several.

    p(x, z) = p(x|z_1) p(z_1|z_2) ... p(z_L),   q(z|x) = q(z_1|x) q(z_2|z_1) ... q(z_L|z_{L-1}),   p(z_L) = N(0, I)
    L_k = E log 1/k sum_i w_i,   w_i = p(x, z_i) / q(z_i|x),  z_i ~ q(z|x)                                (eq. 8)

L_1 is the ELBO, L_k rises with k to log p(x). The gradient of the log-mean-exp through the draws is sum_i w~_i grad log w_i
with w~ the normalised weights (eq. 14); `objective="elbo"` trains on the mean of log w_i instead, the VAE of the paper's
tables with k draws. All terms are by draws, as in the paper: below the top layer the other Gaussian depends on a draw, and
the divergence has no closed form. Where one layer and one draw are wanted, `vae` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Method, TrainState, descend, new_state
from aigc_jax.probability.distributions import log_mean_exp, log_normal, sample_normal
from aigc_jax.probability.observations import BERNOULLI, Observation


class Layers(NamedTuple):
    """The networks of L stochastic layers, from the pictures up; encoders[0] reads x, decoders[0] tells of it.

    encoders: z_l [B, Z_l] -> mean and log-variance of z_{l+1}, side by side [B, 2 Z_{l+1}], with z_0 = x.
    decoders: z_{l+1} -> those of z_l, [B, 2 Z_l]; the first the numbers of p(x|z_1).
    """

    encoders: Sequence[nn.Module]
    decoders: Sequence[nn.Module]
    observed: Observation = BERNOULLI


def iwae(
    layers: Layers,
    tx: optax.GradientTransformation,
    *,
    draws: int = 50,
    objective: Literal["iwae", "elbo"] = "iwae",
) -> Method:
    """The method over batches {"image": [B, ...]}.

    draws:     k, in training. `importance_bound(log_weights(layers), k)` evaluates with any k.
    objective: what is maximised: L_k, or the mean over k draws of the ELBO.

    `evaluate`: minus the ELBO (`nll_bound`) by one draw, nats per example, and its terms: `reconstruction`, -log p(x|z_1), and
    `kl_1`, `kl_2`, ..., log q(z_l|.) / p(z_l|.) at the draw, which for single examples may be below 0. `sample`: E[x|z_1] of
    draws from the prior. `encode`: the mean of q(z_1|x).

    Raises ValueError for less than one draw, another objective, and as many decoders as there are not encoders.
    """
    if draws < 1:
        raise ValueError(f"the bound takes at least one draw, not {draws}")
    if objective not in ("iwae", "elbo"):
        raise ValueError(f"objective {objective!r}: there are iwae and elbo")
    if not len(layers.encoders) == len(layers.decoders) >= 1:
        raise ValueError(
            f"each layer has an encoder and a decoder, not {len(layers.encoders)} and {len(layers.decoders)}"
        )

    def init(key: Array, batch: Batch) -> TrainState:
        params, z = {}, batch["image"]
        for level, (encoder, decoder) in enumerate(zip(layers.encoders, layers.decoders), 1):
            key_encoder, key_decoder = jax.random.split(jax.random.fold_in(key, level))
            moments, variables = encoder.init_with_output(key_encoder, z)
            z = jnp.zeros((len(z), moments.shape[-1] // 2))
            params[f"encoder_{level}"] = variables["params"]
            params[f"decoder_{level}"] = decoder.init(key_decoder, z)["params"]
        return new_state(params, tx)

    def loss(params, memory, batch, key):
        terms = log_terms(layers, params, batch["image"], key, draws)
        log_w = cast(Array, sum(terms.values()))  # [k, B]
        bound = log_mean_exp(log_w) if objective == "iwae" else jnp.mean(log_w, axis=0)
        return -jnp.mean(bound), (memory, {"nll_bound": -jnp.mean(log_w)})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        costs = {name: -term[0] for name, term in log_terms(layers, state.params, batch["image"], key, 1).items()}
        values = {"nll_bound": cast(Array, sum(costs.values())), **costs}
        return values | layers.observed.bpd(values["nll_bound"], batch["image"])

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        z = draw_prior(layers, state.params, batch["image"], key)
        told = _apply(layers.decoders[0], state.params, "decoder_1", z)
        return layers.observed.mean(layers.observed.shaped(told, batch["image"]))

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        return _moments(layers.encoders[0], state.params, "encoder_1", batch["image"])[0]

    protocol = "nll_bound: minus the ELBO in nats, by one draw"
    return Method(init, descend(loss, tx), evaluate, sample, encode, protocol=protocol)


def log_terms(layers: Layers, params: dict[str, Any], x: Array, key: Array, k: int) -> dict[str, Array]:
    """The terms of log p(x, z) / q(z|x) at k draws z ~ q(z|x), [k, B] each.

    `reconstruction` is log p(x|z_1), `kl_l` is log p(z_l|z_{l+1}) / q(z_l|z_{l-1}): minus a divergence, in the mean.
    """
    top, batch = len(layers.encoders), len(x)
    keys = jax.random.split(key, top)
    terms: dict[str, Array] = {}

    def of_draws(values: Array) -> Array:  # [k B] -> [k, B]
        return values.reshape(k, batch)

    # The first encoder sees x once, not once for each draw; from there on all draws are rows of one matrix.
    mean, log_var = (jnp.tile(m, (k, 1)) for m in _moments(layers.encoders[0], params, "encoder_1", x))
    z = sample_normal(keys[0], mean, log_var)  # [k B, Z_1]
    told = layers.observed.shaped(_apply(layers.decoders[0], params, "decoder_1", z), x)  # [k B, ...]
    told = told.reshape(k, batch, *told.shape[1:])
    terms["reconstruction"] = jax.vmap(layers.observed.log_prob, in_axes=(None, 0))(x, told)
    for level in range(1, top):
        log_q = log_normal(z, mean, log_var)
        mean, log_var = _moments(layers.encoders[level], params, f"encoder_{level + 1}", z)
        above = sample_normal(keys[level], mean, log_var)
        prior = _moments(layers.decoders[level], params, f"decoder_{level + 1}", above)
        terms[f"kl_{level}"], z = of_draws(log_normal(z, *prior) - log_q), above
    terms[f"kl_{top}"] = of_draws(log_normal(z, 0.0, 0.0) - log_normal(z, mean, log_var))
    return terms


def log_weights(layers: Layers) -> Callable[[TrainState, Batch, Array, int], Array]:
    """(state, batch, key, k) -> log p(x, z_i) / q(z_i|x) of k draws, [k, B]: what `importance_bound` takes."""
    return lambda state, batch, key, k: cast(
        Array, sum(log_terms(layers, state.params, batch["image"], key, k).values())
    )


def draw_prior(layers: Layers, params: dict[str, Any], like: Array, key: Array) -> Array:
    """z_1 of draws from p(z), from the top down, as many as there are examples in `like`: [B, Z_1]."""
    z = like
    for level, encoder in enumerate(layers.encoders, 1):  # for the width of z_L alone: the compiler drops the networks
        z = _moments(encoder, params, f"encoder_{level}", z)[0]
    z = jax.random.normal(key, z.shape)
    for level in range(len(layers.decoders), 1, -1):
        z = sample_normal(
            jax.random.fold_in(key, level), *_moments(layers.decoders[level - 1], params, f"decoder_{level}", z)
        )
    return z


def _apply(net: nn.Module, params: dict[str, Any], name: str, x: Array) -> Array:
    return cast(Array, net.apply({"params": params[name]}, x))


def _moments(net: nn.Module, params: dict[str, Any], name: str, x: Array) -> tuple[Array, Array]:
    mean, log_var = jnp.split(_apply(net, params, name, x), 2, axis=-1)
    return mean, log_var
