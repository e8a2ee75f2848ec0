"""Annealed importance sampling: the weight of a rung is taken before its transition; the estimate of Z is unbiased."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.probability.mcmc import AIS, ais

SCALE = 0.5  # of the target exp(-x^2 / (2 SCALE^2)); the base is exp(-x^2 / 2)


def log_density(x, beta):
    precision = 1 - beta + beta / SCALE**2
    return -0.5 * precision * x**2


def exact_transition(key, x, beta):
    return jax.random.normal(key, x.shape) / jnp.sqrt(1 - beta + beta / SCALE**2)


@partial(jax.jit, static_argnums=(1, 2, 3))
def anneal(key, rungs, chains, transition=exact_transition):
    key_start, key = jax.random.split(key)
    x = jax.random.normal(key_start, (chains,))
    return ais(key, x, jnp.linspace(0, 1, rungs + 1), log_density, transition, 0.5 * math.log(2 * math.pi))


def test_weights_are_taken_before_the_transition_at_both_temperatures():
    betas, x0 = [0.0, 0.25, 0.6, 1.0], np.array([0.3, -1.1])

    def shift(key, x, beta):
        return x + 10 * beta

    expected, x = np.zeros(2), x0
    for before, beta in zip(betas, betas[1:]):
        expected += log_density(x, beta) - log_density(x, before)
        x = x + 10 * beta
    estimate = ais(jax.random.key(0), jnp.asarray(x0), jnp.asarray(betas), log_density, shift, 2.0)
    np.testing.assert_allclose(estimate.log_weights, expected, rtol=1e-5)
    np.testing.assert_allclose(estimate.log_z, 2.0 + np.log(np.mean(np.exp(expected))), rtol=1e-5)
    np.testing.assert_allclose(estimate.x, x, rtol=1e-6)


def test_without_moves_it_is_importance_sampling():
    estimate = anneal(jax.random.key(0), 7, 50, transition=lambda key, x, beta: x)
    np.testing.assert_allclose(
        estimate.log_weights, log_density(estimate.x, 1.0) - log_density(estimate.x, 0.0), rtol=1e-4, atol=1e-5
    )


def test_log_z_of_a_gaussian_within_three_standard_errors():
    exact = math.log(SCALE * math.sqrt(2 * math.pi))
    for rungs in (1, 10, 100):
        estimate = anneal(jax.random.key(rungs), rungs, 4000)
        assert abs(float(estimate.log_z) - exact) < 3 * float(estimate.relative_error)
        low, high = estimate.interval()
        assert low < exact < high
    assert float(estimate.relative_error) < 0.002  # it falls with the rungs: 0.005 at one, 0.0005 at a hundred
    assert abs(float(jnp.std(estimate.x)) - SCALE) < 0.03  # and the chains end as draws of the target


def test_the_estimate_of_z_is_unbiased_on_a_short_ladder():
    z = np.exp([float(anneal(jax.random.key(seed), 2, 200).log_z) for seed in range(60)])
    exact = SCALE * math.sqrt(2 * math.pi)
    assert abs(z.mean() - exact) < 4 * z.std() / math.sqrt(len(z))


def test_the_relative_error_is_that_of_repeated_runs():
    runs = [anneal(jax.random.key(seed), 3, 100) for seed in range(60)]
    spread = np.std([float(run.log_z) for run in runs])
    stated = np.mean([float(run.relative_error) for run in runs])
    assert 0.6 < spread / stated < 1.6


def test_an_interval_that_reaches_below_zero_has_no_lower_end():
    estimate = AIS(jnp.float32(3.0), jnp.float32(0.5), jnp.zeros(2), jnp.zeros(2))
    low, high = estimate.interval()
    assert low == -jnp.inf and abs(float(high) - 3 - math.log(2.5)) < 1e-6
    low, _ = estimate.interval(width=1.0)
    assert abs(float(low) - 3 - math.log(0.5)) < 1e-6
