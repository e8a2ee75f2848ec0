"""The VAE where its likelihood has a closed form, the linear Gaussian one: there is no other parity to ask for.

x = W z + b + s * noise has p(x) = N(b, W W' + s^2 I); with orthogonal columns of W its posterior is diagonal, and a
linear encoder holds it exactly.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import multivariate_normal

from aigc_jax.core import TrainState
from aigc_jax.methods.likelihood.vae import decode, elbo_terms, kl_of_latents, log_weights, posterior, vae, warmed
from aigc_jax.networks.mlp import MLP
from aigc_jax.probability.distributions import log_bernoulli, log_mean_exp, log_normal
from aigc_jax.probability.observations import discretized_logistic, gaussian

D, L, NOISE = 5, 2, 0.6
ENCODER, DECODER = MLP((), 2 * L), MLP((), D)
BATCH = {"image": jax.random.normal(jax.random.key(11), (4, D))}
GAUSSIAN = gaussian(NOISE)


def linear_gaussian(blur=0.0):
    """Parameters whose q(z|x) is the posterior, or, with blur, off it: wider and shifted."""
    rng = np.random.default_rng(0)
    w = np.linalg.qr(rng.normal(size=(D, L)))[0] * np.array([1.5, 0.8])  # [D, L], orthogonal columns
    b = rng.normal(size=D)
    precision = 1 + (w**2).sum(0) / NOISE**2  # of each latent given x
    to_mean = w / NOISE**2 / precision
    kernel = np.concatenate([to_mean, np.zeros((D, L))], axis=1)
    bias = np.concatenate([-b @ to_mean + blur, -np.log(precision) + blur])
    encoder, decoder = {"kernel": kernel, "bias": bias}, {"kernel": w.T, "bias": b}
    as_float32 = partial(jax.tree.map, partial(jnp.asarray, dtype=jnp.float32))
    return as_float32({"encoder": {"Dense_0": encoder}, "decoder": {"Dense_0": decoder}}), w, b


def exact_log_likelihood(w, b):
    return multivariate_normal(b, w @ w.T + NOISE**2 * np.eye(D)).logpdf(np.asarray(BATCH["image"]))


def importance(params, k, key=0):
    """The IWAE bound with k draws, averaged over repetitions: its mean and standard error, [B] each."""
    method = vae(ENCODER, DECODER, optax.sgd(1.0), observed=GAUSSIAN)
    state = method.init(jax.random.key(0), BATCH)._replace(params=params)
    logs = log_weights(ENCODER, DECODER, GAUSSIAN)(state, BATCH, jax.random.key(key), 40_000)  # [40000, B]
    bounds = log_mean_exp(logs.reshape(-1, k, logs.shape[-1]), axis=1)
    return np.mean(bounds, axis=0), np.std(bounds, axis=0) / np.sqrt(len(bounds))


def test_with_the_exact_posterior_every_draw_weighs_the_exact_likelihood():
    params, w, b = linear_gaussian()
    method = vae(ENCODER, DECODER, optax.sgd(1.0), observed=GAUSSIAN)
    state = method.init(jax.random.key(0), BATCH)._replace(params=params)
    logs = log_weights(ENCODER, DECODER, GAUSSIAN)(state, BATCH, jax.random.key(1), 3)
    np.testing.assert_allclose(logs, np.broadcast_to(exact_log_likelihood(w, b), (3, 4)), rtol=1e-4)


def test_elbo_iwae_5_iwae_50_and_the_exact_value_come_in_this_order():
    params, w, b = linear_gaussian(blur=0.5)
    exact = exact_log_likelihood(w, b)
    (one, error_one), (five, error_five), (fifty, error_fifty) = (importance(params, k) for k in (1, 5, 50))
    assert np.all(one + 4 * error_one < five) and np.all(five + 4 * error_five < fifty)
    assert np.all(fifty < exact + 4 * error_fifty) and np.all(exact - fifty < 0.05)


def test_iwae_of_one_draw_is_the_elbo():
    params, _, _ = linear_gaussian(blur=0.5)
    iwae, iwae_error = importance(params, 1)
    method = vae(ENCODER, DECODER, optax.sgd(1.0), observed=GAUSSIAN)
    state = method.init(jax.random.key(0), BATCH)._replace(params=params)
    bounds = jax.vmap(lambda key: -method.evaluate(state, BATCH, key)["nll_bound"])(
        jax.random.split(jax.random.key(5), 20_000)
    )
    error = np.hypot(iwae_error, np.std(bounds, axis=0) / np.sqrt(20_000))
    assert np.all(np.abs(np.mean(bounds, axis=0) - iwae) < 4 * error)


def closed_form_loss(params, x):
    """Minus the ELBO of the linear Gaussian model with its expectation taken by hand: no draws."""
    mean, log_var = posterior(ENCODER, params, x)
    decoded = decode(DECODER, params, mean, x)
    spread = jnp.exp(log_var) @ params["decoder"]["Dense_0"]["kernel"] ** 2  # variance of W z, [B, D]
    reconstruction = -GAUSSIAN.log_prob(x, decoded) + 0.5 * jnp.sum(spread, -1) / NOISE**2
    kl = 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - log_var - 1, -1)
    return jnp.mean(reconstruction + kl)


def test_the_reparameterised_gradient_is_that_of_the_expectation():
    params, _, _ = linear_gaussian(blur=0.5)
    method = vae(ENCODER, DECODER, optax.sgd(1.0), observed=GAUSSIAN)
    state = method.init(jax.random.key(0), BATCH)._replace(params=params)

    def gradient(key):
        after, _ = method.step(state, BATCH, key)
        return jax.tree.map(jnp.subtract, params, after.params)

    draws = jax.vmap(gradient)(jax.random.split(jax.random.key(2), 20_000))
    exact = jax.grad(closed_form_loss)(params, BATCH["image"])
    for drawn, expected in zip(jax.tree.leaves(draws), jax.tree.leaves(exact), strict=True):
        error = np.std(drawn, axis=0) / np.sqrt(20_000)
        assert np.all(np.abs(np.mean(drawn, axis=0) - expected) < 4.5 * error + 1e-5)


def test_the_gradient_of_a_bernoulli_decoder_is_the_score_function_mean():
    """The same expectation differentiated another way: E[f(z) d log q(z|x)] needs no gradient through z."""
    encoder, decoder = MLP((3,), 2), MLP((3,), D)
    x = (BATCH["image"] > 0).astype(jnp.float32)[:1]
    params = vae(encoder, decoder, optax.sgd(1.0)).init(jax.random.key(0), {"image": x}).params

    def through_z(p, key):
        return elbo_terms(encoder, decoder, {**params, "encoder": p}, x, key)[0][0]

    def score(p, key):
        mean, log_var = posterior(encoder, {**params, "encoder": p}, x)
        z = jax.lax.stop_gradient(mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape))
        return (-log_bernoulli(x, decode(decoder, params, z, x)) * log_normal(z, mean, log_var))[0]

    keys = jax.random.split(jax.random.key(1), 40_000)
    one, other = (jax.vmap(jax.grad(f), in_axes=(None, 0))(params["encoder"], keys) for f in (through_z, score))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        error = np.sqrt(np.var(a, axis=0) + np.var(b, axis=0)) / 200
        assert np.all(np.abs(np.mean(a, axis=0) - np.mean(b, axis=0)) < 4.5 * error + 1e-6)


def test_the_network_of_the_paper_has_its_815_824_parameters():
    method = vae(MLP((500,), 40), MLP((500,), 784), optax.adagrad(0.01))
    batch = {"image": jax.ShapeDtypeStruct((100, 28, 28, 1), jnp.float32)}
    state = jax.eval_shape(method.init, jax.random.key(0), batch)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == 815_824


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_beta_weighs_the_kl_in_the_loss_alone(beta):
    method = vae(ENCODER, DECODER, optax.sgd(0.0), beta=beta)
    state = method.init(jax.random.key(0), BATCH)
    _, metrics = method.step(state, BATCH, jax.random.key(1))
    np.testing.assert_allclose(metrics["loss"], metrics["reconstruction"] + beta * metrics["kl"], rtol=1e-5)
    np.testing.assert_allclose(metrics["nll_bound"], metrics["reconstruction"] + metrics["kl"], rtol=1e-5)
    values = method.evaluate(state, BATCH, jax.random.key(1))
    np.testing.assert_allclose(values["nll_bound"], values["reconstruction"] + values["kl"], rtol=1e-5)


def test_warm_up_follows_the_step_of_the_state():
    method = vae(ENCODER, DECODER, optax.sgd(0.0), beta=warmed(1.0, 10))
    state = method.init(jax.random.key(0), BATCH)
    for step, weight in ((0, 0.0), (5, 0.5), (30, 1.0)):
        _, metrics = method.step(state._replace(step=jnp.int32(step)), BATCH, jax.random.key(1))
        expected = metrics["reconstruction"] + weight * metrics["kl"]
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


def test_samples_are_the_decoded_prior_and_codes_the_posterior_mean():
    params, w, b = linear_gaussian()
    method = vae(ENCODER, DECODER, optax.sgd(0.0), observed=GAUSSIAN)
    state = method.init(jax.random.key(0), BATCH)._replace(params=params)
    samples = method.sample(state, {"image": jnp.zeros((50_000, D))}, jax.random.key(1))
    np.testing.assert_allclose(np.mean(samples, axis=0), b, atol=0.03)
    np.testing.assert_allclose(np.cov(np.asarray(samples).T), w @ w.T, atol=0.05)
    codes = method.encode(state, BATCH, jax.random.key(1))
    expected = np.linalg.solve(w.T @ w + NOISE**2 * np.eye(L), w.T @ (np.asarray(BATCH["image"]) - b).T).T
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-5)


def test_pictures_keep_their_shape_and_a_repeated_batch_is_learnt():
    x = (jax.random.uniform(jax.random.key(3), (8, 4, 3, 1)) > 0.5).astype(jnp.float32)
    method = vae(MLP((16,), 4), MLP((16,), 12), optax.adam(1e-2))
    state = method.init(jax.random.key(0), {"image": x})
    step = jax.jit(lambda state, key: method.step(state, {"image": x}, key))
    first = float(step(state, jax.random.key(0))[1]["nll_bound"])
    for index in range(300):
        state, metrics = step(state, jax.random.key(index))
    assert first > 8 and float(metrics["nll_bound"]) < 0.7 * first
    assert method.sample(state, {"image": x}, jax.random.key(1)).shape == x.shape


def test_free_bits_are_a_floor_under_the_batch_mean_of_each_latent():
    """sum_j max(lambda, mean over the batch of KL_j): not of each example, and not of the sum."""
    method = vae(ENCODER, DECODER, optax.sgd(1.0), free_bits=2.0)
    state = method.init(jax.random.key(0), BATCH)
    mean, log_var = (np.asarray(m, np.float64) for m in posterior(ENCODER, state.params, BATCH["image"]))
    each = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var)  # [B, L]
    np.testing.assert_allclose(kl_of_latents(jnp.asarray(mean), jnp.asarray(log_var)), each, rtol=1e-4)
    assert each.mean(0).min() < 2 < each.mean(0).max(), "one latent below the floor, one above it"
    _, metrics = method.step(state, BATCH, jax.random.key(1))
    expected = metrics["reconstruction"] + np.maximum(each.mean(0), 2.0).sum()
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    maps = kl_of_latents(jnp.ones((2, 3, 3, 5)), jnp.zeros((2, 3, 3, 5)))
    np.testing.assert_allclose(maps, np.full((2, 5), 4.5))


def test_the_best_bound_of_a_linear_gaussian_vae_is_the_likelihood_of_probabilistic_pca():
    """Tipping and Bishop 1999: at the best W, b and noise, -2/N log L = d ln 2 pi + sum ln l_j + (d - q) ln s^2 + d."""
    with jax.enable_x64(True):
        eigenvalues = np.array([3.0, 1.2, 0.4, 0.3, 0.2])
        turn = np.linalg.qr(np.random.default_rng(3).normal(size=(D, D)))[0]
        x = np.random.default_rng(4).normal(size=(50, D))
        x = np.linalg.qr(x - x.mean(0))[0] * np.sqrt(50 * eigenvalues) @ turn.T + 0.5
        noise = eigenvalues[L:].mean()
        best = -0.5 * (D * np.log(2 * np.pi) + np.log(eigenvalues[:L]).sum() + (D - L) * np.log(noise) + D)
        w = turn[:, :L] * np.sqrt(eigenvalues[:L] - noise)  # [D, L]
        precision = 1 + (w**2).sum(0) / noise
        to_mean = w / noise / precision
        encoder = {"kernel": np.concatenate([to_mean, np.zeros((D, L))], 1),
                   "bias": np.concatenate([-0.5 * to_mean.sum(0), -np.log(precision)])}  # fmt: skip
        params = {"encoder": {"Dense_0": encoder}, "decoder": {"Dense_0": {"kernel": w.T, "bias": np.full(D, 0.5)}}}
        params = jax.tree.map(jnp.asarray, params)
        observed = gaussian(float(np.sqrt(noise)))

        state = TrainState(jnp.int32(0), params, {}, {})
        logs = log_weights(ENCODER, DECODER, observed)(state, {"image": jnp.asarray(x)}, jax.random.key(0), 2)
        np.testing.assert_allclose(np.mean(logs, axis=1), best, rtol=1e-10)  # of every draw, so of the ELBO, its mean

        def bound(params, key):
            return -jnp.mean(sum(elbo_terms(ENCODER, DECODER, params, jnp.asarray(x), key, observed)))

        keys = jax.random.split(jax.random.key(0), 4_000)
        for slope in jax.tree.leaves(jax.vmap(jax.grad(bound), in_axes=(None, 0))(params, keys)):  # no way leads up
            assert np.all(np.abs(np.mean(slope, 0)) < 4.5 * np.std(slope, 0) / np.sqrt(len(keys)) + 1e-9)


def test_pixels_of_levels_give_bits_per_dimension():
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3)) / 127.5 - 1, jnp.float32)
    method = vae(MLP((), 4), MLP((), 24), optax.sgd(1.0), observed=discretized_logistic())
    state = method.init(jax.random.key(0), {"image": x})
    values = method.evaluate(state, {"image": x}, jax.random.key(1))
    np.testing.assert_allclose(values["bpd"], values["nll_bound"] / (12 * np.log(2)), rtol=1e-5)
    assert method.sample(state, {"image": x}, jax.random.key(1)).shape == x.shape
    assert method.encode(state, {"image": x}, jax.random.key(1)).shape == (4, 2)


def test_negative_weights_are_refused():
    for options in (dict(beta=-1.0), dict(free_bits=-0.1)):
        with pytest.raises(ValueError, match="beta and free bits are at least 0, not"):
            vae(ENCODER, DECODER, optax.sgd(1.0), **options)
    with pytest.raises(ValueError, match="at least 0, not -1.0 and 10"):
        warmed(-1.0, 10)
