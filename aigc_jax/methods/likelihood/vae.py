"""VAE: auto-encoding variational Bayes (arXiv:1312.6114).

log p(x) >= ELBO = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)),   q(z|x) = N(mean(x), diag var(x)),  p(z) = N(0, I)

is maximised through z = mean + std * noise, one draw per example (eq. 10). The KL is in closed form (appendix B), so
only the reconstruction is noisy. `beta` weighs the KL (beta-VAE): at 1 the loss is the bound itself; as a schedule it
is the warm-up of arXiv:1602.02282. The bound that is reported never has beta in it, and takes noise of its own, not
that of a training step.

The networks are given: the encoder x [B, ...] -> [B, 2 L], mean and log-variance side by side; the decoder z [B, L] ->
[B, D], the parameters of p(x|z), by default the logits of D bits.
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
from aigc_jax.probability.distributions import gaussian_kl, log_bernoulli, log_normal, sample_normal

LogLikelihood = Callable[[Array, Array], Array]  # (x [B, ...], decoded [B, ...]) -> log p(x|z) [B]


def vae(
    encoder: nn.Module,
    decoder: nn.Module,
    tx: optax.GradientTransformation,
    *,
    beta: float | Callable[[Array], ArrayLike] = 1.0,
    log_likelihood: LogLikelihood = log_bernoulli,
    expectation: Callable[[Array], Array] = jax.nn.sigmoid,
) -> Method:
    """The method over batches {"image": [B, ...]}.

    beta:           weight of the KL in the loss, a number or a schedule of the step.
    log_likelihood: log p(x|z) from x and the decoder's output.
    expectation:    the decoder's output -> E[x|z], what samples and reconstructions show.

    `evaluate`: minus the ELBO (`nll_bound`) and its two terms, nats per example. `sample`: E[x|z] of draws z ~ p(z).
    `encode`: the mean of q(z|x), [B, L].
    """

    def init(key: Array, batch: Batch) -> TrainState:
        key_encoder, key_decoder = jax.random.split(key)
        x = batch["image"]
        moments, encoder_params = encoder.init_with_output(key_encoder, x)
        z = jnp.zeros((x.shape[0], moments.shape[-1] // 2))
        params = {"encoder": encoder_params["params"], "decoder": decoder.init(key_decoder, z)["params"]}
        return new_state(params, tx, {"beta": jnp.float32(0)} if callable(beta) else {})

    def loss(params, memory, batch, key):
        reconstruction, kl = elbo_terms(encoder, decoder, params, batch["image"], key, log_likelihood)  # [B], [B]
        weight = memory["beta"] if callable(beta) else beta
        terms = {"nll_bound": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}
        return jnp.mean(reconstruction + weight * kl), (memory, jax.tree.map(jnp.mean, terms))

    def warm_up(state: TrainState, batch: Batch, key: Array):
        assert callable(beta)
        return state._replace(memory={**state.memory, "beta": jnp.float32(beta(state.step))}), {}

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        reconstruction, kl = elbo_terms(encoder, decoder, state.params, batch["image"], key, log_likelihood)
        return {"nll_bound": reconstruction + kl, "reconstruction": reconstruction, "kl": kl}

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        mean, _ = posterior(encoder, state.params, batch["image"])  # its shape alone: the compiler drops the network
        return expectation(decode(decoder, state.params, jax.random.normal(key, mean.shape), batch["image"]))

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        return posterior(encoder, state.params, batch["image"])[0]

    step = descend(loss, tx)
    return Method(init, chain(warm_up, step) if callable(beta) else step, evaluate, sample, encode)


def posterior(encoder: nn.Module, params: dict[str, Any], x: Array) -> tuple[Array, Array]:
    """Mean and log-variance of q(z|x), [B, L] each."""
    moments = cast(Array, encoder.apply({"params": params["encoder"]}, x))  # [B, 2 L]
    mean, log_var = jnp.split(moments, 2, axis=-1)
    return mean, log_var


def decode(decoder: nn.Module, params: dict[str, Any], z: Array, like: Array) -> Array:
    """The parameters of p(x|z), in the shape of the examples `like`: [B, L] -> [B, ...]."""
    return cast(Array, decoder.apply({"params": params["decoder"]}, z)).reshape(z.shape[0], *like.shape[1:])


def elbo_terms(
    encoder: nn.Module,
    decoder: nn.Module,
    params: dict[str, Any],
    x: Array,
    key: Array,
    log_likelihood: LogLikelihood = log_bernoulli,
) -> tuple[Array, Array]:
    """-log p(x|z) at one z ~ q(z|x), and KL(q(z|x) || p(z)); [B] each, their sum is minus the ELBO (eq. 10)."""
    mean, log_var = posterior(encoder, params, x)
    z = sample_normal(key, mean, log_var)
    return -log_likelihood(x, decode(decoder, params, z, x)), gaussian_kl(mean, log_var)


def log_weights(
    encoder: nn.Module, decoder: nn.Module, log_likelihood: LogLikelihood = log_bernoulli
) -> Callable[[TrainState, Batch, Array, int], Array]:
    """(state, batch, key, k) -> log p(x, z_i) / q(z_i|x) of k draws z_i ~ q(z|x), [k, B]: of the IWAE bound."""

    def weights(state: TrainState, batch: Batch, key: Array, k: int) -> Array:
        x = batch["image"]
        mean, log_var = posterior(encoder, state.params, x)  # once for all draws

        def one(key: Array) -> Array:
            z = sample_normal(key, mean, log_var)
            log_joint = log_likelihood(x, decode(decoder, state.params, z, x)) + log_normal(z, 0.0, 0.0)
            return log_joint - log_normal(z, mean, log_var)

        return jax.vmap(one)(jax.random.split(key, k))

    return weights


def reconstructions(
    encoder: nn.Module,
    decoder: nn.Module,
    n: int = 12,
    expectation: Callable[[Array], Array] = jax.nn.sigmoid,
    among: int = 10_000,
) -> Callable[[Any], np.ndarray]:
    """A panel of a run: n evaluation examples, and under each E[x|z] at the mean of its q(z|x); uint8 [H', W', 3].

    The examples are spread evenly over the first `among`: some test sets are sorted by class.
    """

    @jax.jit
    def again(params: dict[str, Any], x: Array) -> Array:
        return expectation(decode(decoder, params, posterior(encoder, params, x)[0], x))

    def panel(run: Any) -> np.ndarray:
        x = run.condition(among)["image"][:: among // n][:n]
        rows = np.stack([run.data.decode(x), run.data.decode(jax.device_get(again(run.state.params, x)))])
        rows = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)  # [2, n, H + 2, W + 2, C]
        height, width, channels = rows.shape[2:]
        picture = rows.swapaxes(1, 2).reshape(2 * height, n * width, channels)
        factor = -(-40 // height)  # small digits are enlarged by whole pixels
        return picture.repeat(factor, axis=0).repeat(factor, axis=1).repeat(3 // channels, axis=2)

    return panel
