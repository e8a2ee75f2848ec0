"""VAE: auto-encoding variational Bayes (arXiv:1312.6114).

log p(x) >= ELBO = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)),   q(z|x) = N(mean(x), diag var(x)),  p(z) = N(0, I)

is maximised through z = mean + std * noise, one draw per example (eq. 10). The KL is in closed form (appendix B), so
only the reconstruction is noisy. `beta` weighs the KL (beta-VAE): at 1 the loss is the bound itself; as a schedule it
is the warm-up of arXiv:1602.02282. `free_bits` (arXiv:1606.04934, eq. 15) leaves each latent some nats at no cost,

    loss = E -log p(x|z) + beta sum_j max(free_bits, E KL_j),     E over the batch, j a latent, or a map of a picture of them.

The bound that is reported has neither in it, and takes noise of its own, not that of a training step.

The networks are given: the encoder x [B, ...] -> [B, ..., 2 L], mean and log-variance side by side; the decoder z [B, ..., L]
-> the numbers of p(x|z), for D bits [B, D] logits.
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
from jax.typing import ArrayLike

from aigc_jax.core import Batch, Method, TrainState, chain, descend, new_state
from aigc_jax.evals.pictures import beside
from aigc_jax.probability.distributions import gaussian_kl, log_normal, sample_normal
from aigc_jax.probability.observations import BERNOULLI, Observation


def vae(
    encoder: nn.Module,
    decoder: nn.Module,
    tx: optax.GradientTransformation,
    *,
    beta: float | Callable[[Array], ArrayLike] = 1.0,
    free_bits: float = 0.0,
    observed: Observation = BERNOULLI,
) -> Method:
    """The method over batches {"image": [B, ...]}.

    beta:      weight of the KL in the loss, a number or a schedule of the step.
    free_bits: nats that each latent, averaged over the batch, may cost without being pushed lower.
    observed:  p(x|z) by the numbers that the decoder puts out.

    `evaluate`: minus the ELBO (`nll_bound`) and its two terms, nats per example; of grey levels `bpd`, the bound in bits per
    dimension, as well. `sample`: E[x|z] of draws z ~ p(z). `encode`: the mean of q(z|x), flat.

    Raises ValueError for a negative beta or negative free bits.
    """
    if free_bits < 0 or (not callable(beta) and beta < 0):
        raise ValueError(f"beta and free bits are at least 0, not {beta} and {free_bits}")

    def init(key: Array, batch: Batch) -> TrainState:
        key_encoder, key_decoder = jax.random.split(key)
        moments, encoder_params = encoder.init_with_output(key_encoder, batch["image"])
        z = jnp.zeros((*moments.shape[:-1], moments.shape[-1] // 2))
        params = {"encoder": encoder_params["params"], "decoder": decoder.init(key_decoder, z)["params"]}
        return new_state(params, tx, {"beta": jnp.float32(0)} if callable(beta) else {})

    def loss(params, memory, batch, key):
        reconstruction, kl = elbo_terms(encoder, decoder, params, batch["image"], key, observed)  # [B], [B]
        weight = memory["beta"] if callable(beta) else beta
        terms = {"nll_bound": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
        means = jax.tree.map(jnp.mean, terms)
        if free_bits:
            each = kl_of_latents(*posterior(encoder, params, batch["image"]))
            return means["reconstruction"] + weight * floored(each, free_bits), (memory, means)
        return jnp.mean(reconstruction + weight * kl), (memory, means)

    def warm_up(state: TrainState, batch: Batch, key: Array):
        assert callable(beta)
        return state._replace(memory={**state.memory, "beta": jnp.float32(beta(state.step))}), {}

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        reconstruction, kl = elbo_terms(encoder, decoder, state.params, batch["image"], key, observed)
        values = {"nll_bound": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
        return values | observed.bpd(values["nll_bound"], batch["image"])

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        mean, _ = posterior(encoder, state.params, batch["image"])  # its shape alone: the compiler drops the network
        z = jax.random.normal(key, mean.shape)
        return observed.mean(decode(decoder, state.params, z, batch["image"], observed))

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        return posterior(encoder, state.params, batch["image"])[0].reshape(len(batch["image"]), -1)

    step = descend(loss, tx)
    update = chain(warm_up, step) if callable(beta) else step
    bits = "" if observed.bin is None else "; bpd: it in bits per dimension, of grey levels"
    protocol = f"nll_bound: minus the ELBO in nats, by one draw of z{bits}"
    return Method(init, update, evaluate, sample, encode, protocol=protocol)


def warmed(beta: float, steps: int) -> float | Callable[[Array], ArrayLike]:
    """The weight of the KL: beta, or a rise from 0 to it over so many steps. Raises ValueError if either is negative."""
    if min(beta, steps) < 0:
        raise ValueError(f"beta and the steps it rises over are at least 0, not {beta} and {steps}")
    return optax.linear_schedule(0.0, beta, steps) if steps else beta


def posterior(encoder: nn.Module, params: dict[str, Any], x: Array) -> tuple[Array, Array]:
    """Mean and log-variance of q(z|x), [B, L] each."""
    moments = cast(Array, encoder.apply({"params": params["encoder"]}, x))  # [B, ..., 2 L]
    mean, log_var = jnp.split(moments, 2, axis=-1)
    return mean, log_var


def decode(
    decoder: nn.Module, params: dict[str, Any], z: Array, like: Array, observed: Observation = BERNOULLI
) -> Array:
    """The numbers of p(x|z) for examples like `like` [B, ..., C]: z [B, ..., L] -> [B, ..., C * observed.numbers]."""
    return observed.shaped(cast(Array, decoder.apply({"params": params["decoder"]}, z)), like)


def elbo_terms(
    encoder: nn.Module,
    decoder: nn.Module,
    params: dict[str, Any],
    x: Array,
    key: Array,
    observed: Observation = BERNOULLI,
) -> tuple[Array, Array]:
    """-log p(x|z) at one z ~ q(z|x), and KL(q(z|x) || p(z)); [B] each, their sum is minus the ELBO (eq. 10)."""
    mean, log_var = posterior(encoder, params, x)
    z = sample_normal(key, mean, log_var)
    return -observed.log_prob(x, decode(decoder, params, z, x, observed)), gaussian_kl(mean, log_var)


def kl_of_latents(mean: Array, log_var: Array) -> Array:
    """The KL of each latent of q(z|x), or of each map of a picture of latents: [B, ..., L] -> [B, L]."""
    return jax.vmap(gaussian_kl, in_axes=-1, out_axes=-1)(mean, log_var)


def floored(each: Array, free_bits: float) -> Array:
    """sum_j max(free_bits, mean over the batch of KL_j), for KLs [B, L]; a scalar."""
    return jnp.sum(jnp.maximum(jnp.mean(each, axis=0), free_bits))


def log_weights(
    encoder: nn.Module, decoder: nn.Module, observed: Observation = BERNOULLI
) -> Callable[[TrainState, Batch, Array, int], Array]:
    """(state, batch, key, k) -> log p(x, z_i) / q(z_i|x) of k draws z_i ~ q(z|x), [k, B]: of the IWAE bound."""

    def weights(state: TrainState, batch: Batch, key: Array, k: int) -> Array:
        x = batch["image"]
        mean, log_var = posterior(encoder, state.params, x)  # once for all draws

        def one(key: Array) -> Array:
            z = sample_normal(key, mean, log_var)
            log_joint = observed.log_prob(x, decode(decoder, state.params, z, x, observed)) + log_normal(z, 0.0, 0.0)
            return log_joint - log_normal(z, mean, log_var)

        return jax.vmap(one)(jax.random.split(key, k))

    return weights


def reconstructions(
    encoder: nn.Module, decoder: nn.Module, n: int = 12, observed: Observation = BERNOULLI
) -> Callable[[Any], np.ndarray]:
    """A panel of a run: n evaluation examples, and under each E[x|z] at the mean of its q(z|x); uint8 [H', W', 3]."""

    def again(state: TrainState, x: Array) -> Array:
        return observed.mean(decode(decoder, state.params, posterior(encoder, state.params, x)[0], x, observed))

    return beside(again, n)
