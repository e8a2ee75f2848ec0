"""One test for each formula of the survey, by enumeration or quadrature, on the functions of this library.

The methods' own tests say that the code is right; these say that it is what the survey writes down.
"""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.adversarial.gan import discriminator_loss, minimax_loss
from aigc_jax.methods.diffusion import bound
from aigc_jax.methods.diffusion.schedule import Schedule, linear, posterior_mean, predict_x0, q_sample
from aigc_jax.methods.energy import rbm as machine
from aigc_jax.methods.likelihood.vae import elbo_terms
from aigc_jax.networks.gpt import GPT
from aigc_jax.networks.mlp import MLP
from aigc_jax.probability.distributions import log_normal
from aigc_jax.probability.enumeration import bits

VOCAB, LENGTH = 3, 4


@pytest.fixture(scope="module")
def language_model():
    """Logits of the next token [B, T, V] of a small transformer, every parameter random."""
    net = GPT(vocab=VOCAB, context=LENGTH, width=8, depth=2, heads=2)
    params = net.init(jax.random.key(0), jnp.zeros((1, LENGTH), jnp.int32))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.5 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.jit(lambda tokens: net.apply(jax.tree.unflatten(tree, noisy), tokens))


def test_chain_rule(language_model):
    """p(x) = prod_d p(x_d | x_<d) is a distribution whose conditionals are the factors; the start is symbol 0."""
    x = np.array(list(itertools.product(range(VOCAB), repeat=LENGTH)))  # [81, 4], every sequence
    start = np.concatenate([np.zeros((len(x), 1), int), x[:, :-1]], axis=1)
    factors = np.asarray(jax.nn.softmax(language_model(start)), np.float64)  # [81, 4, 3]: row d is p(. | x_<d)
    p = np.prod(np.take_along_axis(factors, x[..., None], axis=2)[..., 0], axis=1)
    assert abs(p.sum() - 1) < 1e-5
    table = p.reshape((VOCAB,) * LENGTH)  # the joint, x_1 first
    for d in range(LENGTH):
        prefix = table.sum(axis=tuple(range(d + 1, LENGTH)))  # p(x_1 .. x_{d+1})
        conditional = prefix / prefix.sum(axis=-1, keepdims=True)
        rows = factors[:, d].reshape((VOCAB,) * LENGTH + (VOCAB,))
        np.testing.assert_allclose(rows[(..., *[0] * (LENGTH - d), slice(None))], conditional, rtol=1e-4)


def test_autoregressive_model_is_a_feed_forward_network_of_its_past(language_model):
    """The output at d is a function of x_<=d alone: cut the rest off, or change it, and it is the same."""
    x = jax.random.randint(jax.random.key(2), (5, LENGTH), 0, VOCAB)
    whole = language_model(x)
    for d in range(LENGTH):
        np.testing.assert_allclose(language_model(x[:, : d + 1])[:, -1], whole[:, d], atol=1e-5)
        changed = language_model(x.at[:, d].set((x[:, d] + 1) % VOCAB))
        np.testing.assert_array_equal(changed[:, :d], whole[:, :d])
        assert not np.any(np.isclose(changed[:, d], whole[:, d]).all(axis=-1))


def test_gibbs_density():
    """p(v, h) = exp(-E(v, h)) / Z: sums to one, its odds are energy differences, its marginal exp(-F(v)) / Z."""
    rbm = jax.tree.map(lambda p: p + 0.3, machine.init_rbm(jax.random.key(0), 5, 3, scale=1.0))
    v, h = bits(jnp.arange(32), 5), bits(jnp.arange(8), 3)
    pairs = jnp.repeat(v, 8, axis=0), jnp.tile(h, (32, 1))
    p = np.exp(-np.asarray(machine.energy(rbm, *pairs), np.float64) - float(machine.exact_log_z(rbm)))
    assert abs(p.sum() - 1) < 1e-5
    energy = machine.energy(rbm, *pairs)
    np.testing.assert_allclose(np.log(p[17] / p[3]), energy[3] - energy[17], rtol=1e-4)
    marginal = np.exp(-np.asarray(machine.free_energy(rbm, v)) - float(machine.exact_log_z(rbm)))
    np.testing.assert_allclose(p.reshape(32, 8).sum(axis=1), marginal, rtol=1e-4)


def value(p_data, p_model, logit, weight=1.0):
    """V(D, G) = E_data log D + E_model log(1 - D) by the losses of the library, over a table or a grid."""
    zero = jnp.zeros_like(logit)
    log_d = -(discriminator_loss(logit, zero) - jnp.log(2.0))  # log D(x)
    log_not_d = minimax_loss(logit)  # log(1 - D(G(z)))
    return jnp.sum(weight * (p_data * log_d + p_model * log_not_d))


def divergence(p, q, weight=1.0):
    """Jensen-Shannon."""
    middle = (p + q) / 2
    return float(jnp.sum(weight * (p * jnp.log(p / middle) + q * jnp.log(q / middle))) / 2)


def test_minimax_value_of_the_gan():
    """max_D V = 2 JSD(p_d, p_g) - log 4, at D = p_d / (p_d + p_g); over G it is least, -log 4, at p_g = p_d."""
    p_d, p_g = jax.nn.softmax(jax.random.normal(jax.random.key(0), (2, 7)))
    best = jnp.log(p_d / p_g)  # the logit of p_d / (p_d + p_g)
    np.testing.assert_allclose(jax.nn.sigmoid(best), p_d / (p_d + p_g), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(value, argnums=2)(p_d, p_g, best), np.zeros(7), atol=1e-6)
    v = float(value(p_d, p_g, best))
    assert abs(v - (2 * divergence(p_d, p_g) - math.log(4))) < 1e-6
    for key in jax.random.split(jax.random.key(1), 20):
        assert float(value(p_d, p_g, best + 0.5 * jax.random.normal(key, (7,)))) < v
    assert abs(float(value(p_d, p_d, jnp.zeros(7))) + math.log(4)) < 1e-6 < v + math.log(4)


def test_minimax_value_of_two_gaussians():
    """p_d = N(0, 1), p_g = N(1, 1): V(D*) and JSD by quadrature."""
    x = jnp.linspace(-9, 10, 4001)
    p_d, p_g = jnp.exp(log_normal(x[:, None], 0.0, 0.0)), jnp.exp(log_normal(x[:, None], 1.0, 0.0))
    assert abs(float(value(p_d, p_g, 0.5 - x, 19 / 4000)) + 1.1634513967559736) < 1e-5
    assert abs(divergence(p_d, p_g, 19 / 4000) - 0.1114214822) < 1e-5


def test_one_step_kernel_and_closed_form():
    """q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I); t of them composed are q(x_t | x_0), in float64."""
    schedule = linear(1000)
    scale, variance = 1.0, 0.0
    for t in range(schedule.steps):
        scale, variance = math.sqrt(1 - schedule.beta[t]) * scale, (1 - schedule.beta[t]) * variance + schedule.beta[t]
        np.testing.assert_allclose([scale**2, variance], [schedule.alpha_bar[t], 1 - schedule.alpha_bar[t]], rtol=1e-9)
    rows, unit = jnp.array([0, 499, 999]), jnp.ones((3, 1))
    signal = q_sample(schedule, unit, rows, 0 * unit)[:, 0]
    noise = q_sample(schedule, 0 * unit, rows, unit)[:, 0]
    np.testing.assert_allclose(signal, np.sqrt(schedule.alpha_bar[[0, 499, 999]]), rtol=1e-6)
    np.testing.assert_allclose(noise, np.sqrt(1 - schedule.alpha_bar[[0, 499, 999]]), rtol=1e-6)


def test_noising_by_steps_has_the_moments_of_the_closed_form():
    schedule = Schedule(np.array([0.1, 0.3, 0.2]), np.arange(3))
    n, x0 = 200_000, 1.7
    x = jnp.full((n, 1), x0)
    for t, key in enumerate(jax.random.split(jax.random.key(0), 3)):
        x = math.sqrt(1 - schedule.beta[t]) * x + math.sqrt(schedule.beta[t]) * jax.random.normal(key, x.shape)
    drawn = q_sample(schedule, jnp.full((n, 1), x0), jnp.full(n, 2), jax.random.normal(jax.random.key(9), (n, 1)))
    for sample in (x, drawn):
        assert abs(float(sample.mean()) - math.sqrt(schedule.alpha_bar[2]) * x0) < 4 / math.sqrt(n)
        assert abs(float(sample.var()) - (1 - schedule.alpha_bar[2])) < 4 * math.sqrt(2 / n)


def denoise(x, t):
    return 0.4 * x + 0.05 * t[:, None]  # any network will do


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_denoising_objective_is_the_bound_it_comes_from(variance):
    """L_{t-1} = beta_t^2 / (2 sigma_t^2 alpha_t (1 - alpha_bar_t)) |eps - eps_theta|^2 + a constant without theta."""
    schedule = linear(1000)
    t = jnp.array([1, 50, 500, 999])
    x0, noise = jax.random.normal(jax.random.key(0), (2, 4, 6))
    terms = bound.term(schedule, denoise, x0, t, noise, variance, clip=False)
    least = bound.term(schedule, lambda x, t: noise, x0, t, noise, variance, clip=False)  # the constant
    x_t = q_sample(schedule, x0, t, noise)
    error = np.sum((np.asarray(noise) - np.asarray(denoise(x_t, t))) ** 2, axis=1)
    rows = np.asarray(t)
    beta, sigma_squared = schedule.beta[rows], np.exp(schedule.model_log_variance(variance)[rows])
    weight = beta**2 / (2 * sigma_squared * (1 - beta) * (1 - schedule.alpha_bar[rows]))
    np.testing.assert_allclose(terms - least, weight * error, rtol=2e-3)
    ratio = schedule.posterior_variance[rows] / sigma_squared  # KL of two Gaussians with one mean
    np.testing.assert_allclose(least, 0.5 * 6 * (ratio - 1 - np.log(ratio)), atol=1e-3)


def test_diffusion_model_is_a_hierarchical_vae():
    """Its bound is the ELBO of latents x_1 .. x_T with encoder q(x_t | x_{t-1}): E_q log p(x_0:T) / q(x_1:T | x_0)."""
    schedule = Schedule(np.array([0.05, 0.2, 0.4, 0.6]), np.arange(4))
    n, data = 100_000, jnp.array([0.5, -0.2])
    x = [jnp.broadcast_to(data, (n, 2))]
    log_ratio = jnp.zeros(n)
    for t, key in enumerate(jax.random.split(jax.random.key(0), 4)):  # the encoder, bottom up
        mean, log_var = math.sqrt(1 - schedule.beta[t]) * x[-1], math.log(schedule.beta[t])
        x.append(mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape))
        log_ratio -= log_normal(x[-1], mean, log_var)
    log_ratio += log_normal(x[-1], 0.0, 0.0)  # the prior of the top latent
    for t in reversed(range(4)):  # the decoder, top down; its last step is a distribution over bins
        rows = jnp.full(n, t)
        x0_hat = jnp.clip(predict_x0(schedule, x[t + 1], rows, denoise(x[t + 1], rows)), -1, 1)
        mean = posterior_mean(schedule, x0_hat, x[t + 1], rows)
        log_var = jnp.float32(schedule.model_log_variance("fixed_large")[t])
        bins = jnp.sum(bound.log_decoder(x[0], mean, 0.5 * log_var), axis=1)
        log_ratio += log_normal(x[t], mean, log_var) if t else bins
    terms = bound.full_bound(schedule, denoise, x[0], jax.random.key(1))
    nats = np.asarray(terms["bits_per_dim"], np.float64) * 2 * math.log(2)
    elbo = np.asarray(log_ratio, np.float64)
    error = math.hypot(nats.std(), elbo.std()) / math.sqrt(n)
    assert abs(nats.mean() + elbo.mean()) < 4 * error < 0.05


def test_evidence_lower_bound():
    """log p(x) - ELBO = KL(q(z|x) || p(z|x)) >= 0, by quadrature over a single latent."""
    encoder, decoder = MLP((3,), 2), MLP((4,), 5)
    x = jnp.array([[1.0, 0.0, 1.0, 1.0, 0.0]])
    params = {
        "encoder": encoder.init(jax.random.key(0), x)["params"],
        "decoder": decoder.init(jax.random.key(1), x[:, :1])["params"],
    }
    z = jnp.linspace(-9, 9, 6001)[:, None]
    step = 18 / 6000
    logits = decoder.apply({"params": params["decoder"]}, z)
    log_bits = jax.nn.log_sigmoid(jnp.where(x > 0, logits, -logits))
    log_joint = jnp.sum(log_bits, axis=1) + log_normal(z, 0.0, 0.0)
    log_evidence = jax.nn.logsumexp(log_joint) + math.log(step)
    mean, log_var = jnp.split(encoder.apply({"params": params["encoder"]}, x), 2, axis=1)
    log_q = log_normal(z, mean[0], log_var[0])
    gap = jnp.sum(jnp.exp(log_q) * (log_q - (log_joint - log_evidence))) * step  # KL(q(z|x) || p(z|x))
    keys = jax.random.split(jax.random.key(2), 100_000)
    terms = jax.vmap(lambda key: sum(elbo_terms(encoder, decoder, params, x, key)))(keys)  # minus the ELBO, by draws
    error = float(jnp.std(terms)) / math.sqrt(100_000)
    assert float(gap) > 0.005 and abs(float(log_evidence) - float(gap) + float(jnp.mean(terms))) < 4 * error + 1e-4
