"""The restricted Boltzmann machine against enumeration of all its states, in float64.

No independent implementation is needed: with 6 visible and 4 hidden units everything has a closed form.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.energy import rbm as m
from aigc_jax.probability.enumeration import bits

V, H = 6, 4
LOG_Z = 9.715558611030668  # of the machine below, by summing out either layer


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rbm():
    rng = np.random.RandomState(0)
    kernel = rng.normal(0, 0.5, (V, H))
    return {
        "kernel": jnp.asarray(kernel),
        "visible_bias": jnp.asarray(rng.normal(0, 0.5, V)),
        "hidden_bias": jnp.asarray(rng.normal(0, 0.5, H)),
    }


def states(units):
    return bits(jnp.arange(2**units), units).astype(jnp.float64)


def joint_energy(rbm):
    """E of every pair of states, [2^V, 2^H], written out."""
    v, h = np.asarray(states(V)), np.asarray(states(H))
    w, b, c = (np.asarray(rbm[name]) for name in ("kernel", "visible_bias", "hidden_bias"))
    return -(v @ b)[:, None] - (h @ c)[None] - v @ w @ h.T


def transition_matrix(rbm, beta=1.0, base=0.0):
    """T[v, v'] = sum_h p(h|v) p(v'|h) from the conditionals of the machine at beta."""

    def probabilities(logits, outcomes):  # of each outcome [n, units] under each row of logits: [rows, n]
        p = np.asarray(jax.nn.sigmoid(logits))[:, None]
        return np.prod(np.where(np.asarray(outcomes) > 0, p, 1 - p), axis=-1)

    v, h = states(V), states(H)
    up = probabilities(beta * m.hidden_logits(rbm, v), h)
    down = probabilities((1 - beta) * base + beta * m.visible_logits(rbm, h), v)
    return up @ down


def test_energy_is_its_double_sum(rbm):
    v, h = states(V)[jnp.array([5, 40, 63])], states(H)[jnp.array([3, 9, 14])]
    for row in range(3):
        expected = -sum(v[row, i] * rbm["visible_bias"][i] for i in range(V))
        expected -= sum(h[row, j] * rbm["hidden_bias"][j] for j in range(H))
        expected -= sum(v[row, i] * h[row, j] * rbm["kernel"][i, j] for i in range(V) for j in range(H))
        np.testing.assert_allclose(m.energy(rbm, v, h)[row], expected, rtol=1e-12)


def test_free_energy_sums_out_the_hidden_layer(rbm):
    expected = -np.log(np.exp(-joint_energy(rbm)).sum(axis=1))
    np.testing.assert_allclose(m.free_energy(rbm, states(V)), expected, rtol=1e-12)


def test_conditionals_are_those_of_the_joint(rbm):
    p = np.exp(-joint_energy(rbm))
    h_given_v = p @ np.asarray(states(H)) / p.sum(1, keepdims=True)
    v_given_h = p.T @ np.asarray(states(V)) / p.sum(0)[:, None]
    np.testing.assert_allclose(jax.nn.sigmoid(m.hidden_logits(rbm, states(V))), h_given_v, rtol=1e-12)
    np.testing.assert_allclose(jax.nn.sigmoid(m.visible_logits(rbm, states(H))), v_given_h, rtol=1e-12)


def test_log_z_both_ways_is_the_golden_value(rbm):
    over_visible = jax.nn.logsumexp(-m.free_energy(rbm, states(V)))
    over_hidden = jax.nn.logsumexp(-m.free_energy(m.transposed(rbm), states(H)))
    for log_z in (over_visible, over_hidden, m.exact_log_z(rbm), m.exact_log_z(m.transposed(rbm))):
        assert abs(float(log_z) - LOG_Z) < 1e-10


def test_log_z_of_a_machine_too_large_to_enumerate_is_refused():
    rbm = m.init_rbm(jax.random.key(0), 30, 21)
    with pytest.raises(ValueError, match="21 bits"):
        m.exact_log_z(rbm)


def test_a_sweep_leaves_p_invariant(rbm):
    p = np.exp(-np.asarray(m.free_energy(rbm, states(V))) - LOG_Z)
    assert abs(p.sum() - 1) < 1e-12
    np.testing.assert_allclose(p @ transition_matrix(rbm), p, atol=1e-12)


def test_a_sweep_at_beta_leaves_the_annealed_density_invariant(rbm):
    beta, base = 0.3, np.linspace(-1, 1, V)
    v = np.asarray(states(V))
    log_p = v @ ((1 - beta) * base + beta * np.asarray(rbm["visible_bias"]))
    log_p += np.asarray(jax.nn.softplus(beta * m.hidden_logits(rbm, states(V)))).sum(-1)
    p = np.exp(log_p) / np.exp(log_p).sum()
    np.testing.assert_allclose(p @ transition_matrix(rbm, beta, base), p, atol=1e-12)


@pytest.mark.parametrize("beta", [1.0, 0.4])
def test_draws_of_the_kernel_follow_the_transition_matrix(rbm, beta):
    start, n, base = 11, 200_000, jnp.linspace(-1, 1, V)
    v = jnp.broadcast_to(states(V)[start], (n, V))
    after = np.asarray(m.gibbs_kernel(rbm, beta, base)(jax.random.key(0), v)) @ 2 ** np.arange(V)
    counts = np.bincount(after.astype(int), minlength=2**V)
    p = transition_matrix(rbm, beta, base)[start]
    assert np.all(np.abs(counts / n - p) < 4.5 * np.sqrt(p * (1 - p) / n))


@pytest.mark.parametrize(("rungs", "base"), [(10, 0.0), (100, 0.0), (1000, 0.0), (100, 1.5)])
def test_annealing_finds_log_z(rbm, rungs, base):
    estimate = m.annealed_log_z(rbm, jax.random.key(4), m.ladder((rungs,), (1.0,)), chains=1000, base=base)
    assert abs(float(estimate.log_z) - LOG_Z) < 3 * float(estimate.relative_error)
    assert float(estimate.relative_error) < {10: 0.03, 100: 0.02, 1000: 0.003}[rungs]


def test_chains_of_the_annealing_end_as_draws_of_the_machine(rbm):
    estimate = m.annealed_log_z(rbm, jax.random.key(5), m.ladder((100,), (1.0,)), chains=40_000)
    p = np.exp(-np.asarray(m.free_energy(rbm, states(V))) - LOG_Z)
    np.testing.assert_allclose(np.asarray(estimate.x).mean(0), p @ np.asarray(states(V)), atol=0.015)


def test_pseudo_log_likelihood_is_unbiased(rbm):
    v = states(V)[jnp.array([0, 13, 50])]
    log_p = -np.asarray(m.free_energy(rbm, states(V)))
    exact = []
    for row in np.asarray(v).astype(int):
        index = row @ 2 ** np.arange(V)
        exact.append(sum(log_p[index] - np.logaddexp(log_p[index], log_p[index ^ 2**i]) for i in range(V)))
    draws = jax.vmap(lambda key: m.pseudo_log_likelihood(rbm, v, key))(jax.random.split(jax.random.key(0), 20_000))
    error = np.std(draws, axis=0) / np.sqrt(20_000)
    assert np.all(np.abs(np.mean(draws, axis=0) - np.array(exact)) < 4 * error)


def test_ladder_has_the_published_rungs():
    betas = np.asarray(m.ladder((500, 4000, 10_000)))
    assert len(betas) == 14_501 and betas[0] == 0 and betas[-1] == 1
    np.testing.assert_allclose(betas[[500, 4500]], [0.5, 0.9], rtol=1e-6)
    np.testing.assert_allclose(np.diff(betas)[[0, 600, 9000]], [1e-3, 1e-4, 1e-5], rtol=0.01)
    with pytest.raises(ValueError, match="3 positive numbers"):
        m.ladder((100,))
