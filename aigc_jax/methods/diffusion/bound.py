"""The variational bound of a Gaussian diffusion model, in bits per dimension (arXiv:2006.11239, eqs. 5 to 7 and 13).

    -log p(x_0) <= L_T + sum_{t > 1} L_{t-1} + L_0
    L_T     = KL(q(x_T | x_0) || N(0, I))
    L_{t-1} = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))
    L_0     = -log p(x_0 | x_1),   p a Gaussian cut into the 256 bins of an 8-bit image

It is the ELBO of a hierarchical VAE whose encoder, q, is fixed. All terms are nats per example, summed over its
dimensions. As in the released code x0_hat is clipped to [-1, 1] and the normal distribution function is the tanh
approximation, so numbers compare with published ones.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.methods.diffusion.samplers import Denoise
from aigc_jax.methods.diffusion.schedule import Schedule, Variance, at, posterior_mean, predict_x0, q_sample
from aigc_jax.probability.distributions import bits_per_dimension, gaussian_kl, sum_trailing


def prior_term(schedule: Schedule, x0: Array) -> Array:
    """L_T [B]: what x_T still says about x_0."""
    a = schedule.alpha_bar[-1]  # float64 here: of var - 1 - log var, var = 1 - a, float32 would leave rounding alone
    return sum_trailing(0.5 * (a * x0**2 - a - np.log1p(-a)))


def term(
    schedule: Schedule, denoise: Denoise, x0: Array, t: Array, noise: Array,
    variance: Variance = "fixed_large", clip: bool = True,
) -> Array:  # fmt: skip
    """L_{t-1} [B] of the rows t [B] at x_t = q_sample(x0, t, noise); where a row is the first, L_0.

    x0, noise [B, ...], x0 in [-1, 1] for L_0 to mean pixels.
    """
    x_t = q_sample(schedule, x0, t, noise)
    x0_hat = predict_x0(schedule, x_t, t, denoise(x_t, jnp.asarray(schedule.timestep)[t]))
    x0_hat = jnp.clip(x0_hat, -1, 1) if clip else x0_hat
    mean = posterior_mean(schedule, x0_hat, x_t, t)
    log_var = at(schedule.model_log_variance(variance), t, x0)
    posterior = posterior_mean(schedule, x0, x_t, t), at(schedule.posterior_log_variance, t, x0)
    kl = gaussian_kl(*posterior, mean, log_var)  # [B]
    return jnp.where(t == 0, -sum_trailing(log_decoder(x0, mean, 0.5 * log_var)), kl)


def log_decoder(x: Array, mean: Array, log_std: Array) -> Array:
    """log P(the 8-bit bin of x) under N(mean, std), elementwise; x in [-1, 1], eq. (13).

    The two outer bins reach to infinity, so the 256 bins have probability 1 together.
    """
    above = _normal_cdf((x + 1 / 255 - mean) * jnp.exp(-log_std))
    below = _normal_cdf((x - 1 / 255 - mean) * jnp.exp(-log_std))
    mass = jnp.where(x > 0.999, 1.0, above) - jnp.where(x < -0.999, 0.0, below)
    return jnp.log(jnp.maximum(mass, 1e-12))


def full_bound(
    schedule: Schedule, denoise: Denoise, x0: Array, key: Array, variance: Variance = "fixed_large"
) -> dict[str, Array]:
    """{"prior", "denoising", "decoder", "bits_per_dim"}, each [B]: every t in turn with one draw of x_t, N calls of
    the network.

    The first three are in bits per dimension as well, and add up to the last.
    """

    def one(total: Array, t: Array) -> tuple[Array, Array]:
        noise = jax.random.normal(jax.random.fold_in(key, t), x0.shape, x0.dtype)
        value = term(schedule, denoise, x0, jnp.full(len(x0), t), noise, variance)
        return total + jnp.where(t > 0, value, 0), value

    denoising, values = jax.lax.scan(one, jnp.zeros(len(x0), x0.dtype), jnp.arange(schedule.steps))
    terms = {"prior": prior_term(schedule, x0), "denoising": denoising, "decoder": values[0]}
    terms = {name: bits_per_dimension(nats, x0[0].size) for name, nats in terms.items()}
    return {**terms, "bits_per_dim": terms["prior"] + terms["denoising"] + terms["decoder"]}


def estimated_bound(
    schedule: Schedule, denoise: Denoise, x0: Array, key: Array, terms: int, variance: Variance = "fixed_large"
) -> Array:
    """An unbiased estimate [B] of `full_bound`'s bits per dimension from `terms` + 1 calls of the network.

    L_T and L_0 are computed, since L_0 alone is a large part. The sum over the other t is estimated by random t, drawn for
    each example by itself and uniform in log t within `terms` equal strata of it: the terms fall so fast with t that of
    uniform draws most see nothing of the sum.
    """
    key_t, key_noise = jax.random.split(key)
    width = np.log(schedule.steps) / terms  # of a stratum of log t, t from 1 up to `steps`

    def one(total: Array, stratum: Array) -> tuple[Array, None]:
        u = jax.random.uniform(jax.random.fold_in(key_t, stratum), (len(x0),))
        t = jnp.clip(jnp.exp((stratum + u) * width).astype(jnp.int32), 1, schedule.steps - 1)
        first = stratum < 0
        weight = jnp.where(first, 1, width / jnp.log1p(1 / t))  # t has all of [log t, log(t + 1)) to be drawn from
        noise = jax.random.normal(jax.random.fold_in(key_noise, stratum), x0.shape, x0.dtype)
        return total + weight * term(schedule, denoise, x0, jnp.where(first, 0, t), noise, variance), None

    total, _ = jax.lax.scan(one, prior_term(schedule, x0), jnp.arange(-1, terms))
    return bits_per_dimension(total, x0[0].size)


def _normal_cdf(x: Array) -> Array:
    return 0.5 * (1 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
