"""Importance weighting where log p(x) is known: chains of linear Gaussians, of one layer and of two."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import multivariate_normal

from aigc_jax.evals.likelihood import importance_bound
from aigc_jax.methods.likelihood.iwae import Layers, draw_prior, iwae, log_terms, log_weights
from aigc_jax.methods.likelihood.vae import elbo_terms
from aigc_jax.networks.mlp import MLP
from aigc_jax.probability.distributions import log_mean_exp
from aigc_jax.probability.observations import gaussian

D, NOISE, KEY = 3, 0.7, jax.random.key(0)
ONE = Layers([MLP((), 4)], [MLP((), D)], gaussian(NOISE))
TWO = Layers([MLP((), 4), MLP((), 2)], [MLP((), D), MLP((), 4)], gaussian(NOISE))
BATCH = {"image": jax.random.normal(jax.random.key(11), (4, D))}


def begun(layers, tx=None, **options):
    method = iwae(layers, tx or optax.sgd(1.0), **options)
    return method, method.init(KEY, BATCH)


def exact(params):
    """log p(x) of the two-layer chain: z_2 ~ N(0, 1), z_1 | z_2 and x | z_1 linear, the variance of z_1 constant."""
    up, down = params["decoder_2"]["Dense_0"], params["decoder_1"]["Dense_0"]
    mean, log_var = np.split(np.asarray(up["bias"], np.float64), 2)
    a = np.asarray(up["kernel"], np.float64)[:, :2]  # [1, 2]: the mean of z_1 from z_2
    w = np.asarray(down["kernel"], np.float64)  # [2, D]
    covariance = w.T @ (a.T @ a + np.diag(np.exp(log_var))) @ w + NOISE**2 * np.eye(D)
    return multivariate_normal(mean @ w + np.asarray(down["bias"]), covariance).logpdf(np.asarray(BATCH["image"]))


def constant_variance(params):
    """The variance of z_1 given z_2 does not depend on z_2: then log p(x) is in closed form."""
    up = params["decoder_2"]["Dense_0"]
    return {**params, "decoder_2": {"Dense_0": {**up, "kernel": up["kernel"].at[:, 2:].set(0)}}}


def test_two_layers_elbo_iwae_5_iwae_50_and_exact_come_in_this_order():
    _, state = begun(TWO)

    def shrunk(name, net):  # q broad, near the prior: then no draw outweighs all others
        return jax.tree.map(lambda p: (0.2 if name.startswith("encoder") else 0.5) * p, net)

    params = {name: shrunk(name, net) for name, net in constant_variance(state.params).items()}
    logs = jax.jit(lambda params, key: log_weights(TWO)(state._replace(params=params), BATCH, key, 40_000))(params, KEY)
    values, errors = [], []
    for k in (1, 5, 50):
        bounds = log_mean_exp(logs.reshape(-1, k, 4), axis=1)
        values.append(np.mean(bounds, 0))
        errors.append(np.std(bounds, 0) / np.sqrt(len(bounds)))
    assert np.all(values[0] + 4 * errors[0] < values[1]) and np.all(values[1] + 4 * errors[1] < values[2])
    assert np.all(values[2] < exact(params) + 4 * errors[2])
    np.testing.assert_allclose(log_mean_exp(logs), exact(params), atol=0.05)  # all draws at once are the exact value


def test_terms_of_one_layer_are_those_of_the_vae_in_the_mean():
    method, state = begun(ONE)
    params = {"encoder": state.params["encoder_1"], "decoder": state.params["decoder_1"]}
    terms = log_terms(ONE, state.params, BATCH["image"], jax.random.key(1), 10_000)
    assert list(terms) == ["reconstruction", "kl_1"]
    keys = jax.random.split(jax.random.key(2), 2_000)
    cost, kl = jax.vmap(
        lambda key: elbo_terms(ONE.encoders[0], ONE.decoders[0], params, BATCH["image"], key, ONE.observed)
    )(keys)
    error = np.std(terms["kl_1"], 0) / 100
    assert np.all(np.abs(np.mean(terms["kl_1"], 0) + kl[0]) < 4.5 * error)
    error = np.hypot(np.std(cost, 0) / np.sqrt(2_000), np.std(terms["reconstruction"], 0) / 100)
    assert np.all(np.abs(np.mean(terms["reconstruction"], 0) + np.mean(cost, 0)) < 4.5 * error)
    values = method.evaluate(state, BATCH, KEY)
    np.testing.assert_allclose(values["nll_bound"], values["reconstruction"] + values["kl_1"], rtol=1e-5)


def test_the_gradient_weighs_draws_by_their_importance():
    """Eq. (14): sum_i w~_i grad log w_i, against that of each draw by itself; "elbo" weighs them alike."""
    k = 3
    for objective in ("iwae", "elbo"):
        method, state = begun(TWO, draws=k, objective=objective)
        after, metrics = jax.jit(method.step)(state, BATCH, KEY)
        moved = jax.tree.map(jnp.subtract, after.params, state.params)  # minus the gradient of the loss

        def log_w(params):
            return sum(log_terms(TWO, params, BATCH["image"], KEY, k).values())

        logs = log_w(state.params)
        weights = jax.nn.softmax(logs, axis=0) if objective == "iwae" else jnp.full((k, 4), 1 / k)
        expected = jax.jit(jax.grad(lambda params, weights: jnp.sum(weights / 4 * log_w(params))))(
            state.params, weights
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), moved, expected)
        bound = log_mean_exp(logs) if objective == "iwae" else jnp.mean(logs, 0)
        np.testing.assert_allclose(metrics["loss"], -jnp.mean(bound), rtol=1e-5)


def test_one_draw_makes_both_objectives_one():
    losses = []
    for objective in ("iwae", "elbo"):
        method, state = begun(ONE, draws=1, objective=objective)
        losses.append(float(jax.jit(method.step)(state, BATCH, KEY)[1]["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_prior_draws_have_the_covariance_of_the_chain():
    method, state = begun(TWO)
    params = constant_variance(state.params)
    up = params["decoder_2"]["Dense_0"]
    z = np.asarray(draw_prior(TWO, params, jnp.zeros((50_000, D)), KEY))
    expected = up["kernel"][:, :2].T @ up["kernel"][:, :2] + np.diag(np.exp(up["bias"][2:]))
    np.testing.assert_allclose(np.cov(z.T), expected, atol=0.05)
    assert method.sample(state, BATCH, KEY).shape == (4, D)
    assert method.encode(state, BATCH, KEY).shape == (4, 2)


def test_nonsense_is_refused():
    tx = optax.sgd(1.0)
    with pytest.raises(ValueError, match="at least one draw, not 0"):
        iwae(ONE, tx, draws=0)
    with pytest.raises(ValueError, match="there are iwae and elbo"):
        iwae(ONE, tx, objective="map")
    with pytest.raises(ValueError, match="not 2 and 1"):
        iwae(Layers(TWO.encoders, ONE.decoders), tx)
    with pytest.raises(ValueError, match="at least one sample, not 0"):
        importance_bound(log_weights(ONE), 0)
