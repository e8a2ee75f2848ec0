"""PCD: with chains at the model's own distribution its mean step is the exact gradient; the chains live in memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aigc_jax.methods.energy import rbm as m
from aigc_jax.methods.energy.contrastive_divergence import pcd
from aigc_jax.probability.enumeration import bits
from aigc_jax.probability.mcmc import iterate

V, H = 5, 3
DATA = {"image": jnp.array([[1, 0, 1, 1, 0], [0, 0, 1, 0, 1], [1, 1, 1, 0, 0], [1, 0, 1, 1, 1]], jnp.float32)}


def machine(scale=0.7):
    keys = jax.random.split(jax.random.key(7), 3)
    shapes = {"kernel": (V, H), "visible_bias": (V,), "hidden_bias": (H,)}
    return {name: scale * jax.random.normal(key, shape) for key, (name, shape) in zip(keys, shapes.items())}


def state_of(method, rbm=None, chains=None):
    state = method.init(jax.random.key(0), DATA)
    rbm = state.params["rbm"] if rbm is None else rbm
    return state._replace(params={"rbm": rbm}, memory={"chains": state.memory["chains"] if chains is None else chains})


def moved(method, state, key=None):
    """The gradient that a step follows: with SGD of rate 1, what it subtracts."""
    after, _ = method.step(state, DATA, jax.random.key(1) if key is None else key)
    return jax.tree.map(jnp.subtract, state.params["rbm"], after.params["rbm"])


def nll(rbm, v):
    return jnp.mean(m.free_energy(rbm, v)) + m.exact_log_z(rbm)


def test_the_mean_step_is_the_exact_gradient_when_the_chains_are_at_the_model():
    """CD-infinity: the expectation over one chain at p, by enumeration of p, with no sweep at all."""
    rbm, method = machine(), pcd(optax.sgd(1.0), hidden=H, chains=1, sweeps=0)
    v = bits(jnp.arange(2**V), V)
    p = jnp.exp(-m.free_energy(rbm, v) - m.exact_log_z(rbm))
    each = jax.vmap(lambda chain: moved(method, state_of(method, rbm, chain[None])))(v)
    mean = jax.tree.map(lambda g: jnp.tensordot(p, g, 1), each)
    exact = jax.grad(nll)(rbm, DATA["image"])
    for name in rbm:
        np.testing.assert_allclose(mean[name], exact[name], atol=2e-6)


def test_many_sweeps_from_anywhere_reach_the_exact_gradient():
    rbm, method = machine(), pcd(optax.sgd(1.0), hidden=H, chains=20_000, sweeps=30)
    gradient = moved(method, state_of(method, rbm, jnp.zeros((20_000, V))))
    exact = jax.grad(nll)(rbm, DATA["image"])
    for name in rbm:
        np.testing.assert_allclose(gradient[name], exact[name], atol=4 * 0.5 / np.sqrt(20_000))


def test_one_chain_statistics_are_probabilities_of_the_hidden_units_at_its_state():
    rbm, method = machine(), pcd(optax.sgd(1.0), hidden=H, chains=2, sweeps=1)
    state = state_of(method, rbm)
    after, _ = method.step(state, DATA, jax.random.key(1))
    v0, vk = DATA["image"], after.memory["chains"]
    h0, hk = (jax.nn.sigmoid(m.hidden_logits(rbm, v)) for v in (v0, vk))
    gradient = moved(method, state)
    np.testing.assert_allclose(gradient["kernel"], vk.T @ hk / 2 - v0.T @ h0 / 4, atol=1e-6)
    np.testing.assert_allclose(gradient["visible_bias"], vk.mean(0) - v0.mean(0), atol=1e-6)
    np.testing.assert_allclose(gradient["hidden_bias"], hk.mean(0) - h0.mean(0), atol=1e-6)


def test_chains_move_from_where_they_were_by_the_kernel_of_the_old_parameters():
    rbm, method = machine(), pcd(optax.sgd(0.1), hidden=H, chains=6, sweeps=3)
    state, key = state_of(method, rbm), jax.random.key(9)
    first, _ = method.step(state, DATA, key)
    np.testing.assert_array_equal(first.memory["chains"], iterate(m.gibbs_kernel(rbm), key, state.memory["chains"], 3))
    second, _ = method.step(first, DATA, jax.random.key(10))
    expected = iterate(m.gibbs_kernel(first.params["rbm"]), jax.random.key(10), first.memory["chains"], 3)
    np.testing.assert_array_equal(second.memory["chains"], expected)
    assert set(np.unique(second.memory["chains"])) <= {0.0, 1.0}


def test_the_data_does_not_reset_the_chains():
    method = pcd(optax.sgd(0.1), hidden=H, chains=6)
    state, key = state_of(method, machine()), jax.random.key(9)
    one, _ = method.step(state, DATA, key)
    other, _ = method.step(state, {"image": 1 - DATA["image"]}, key)
    np.testing.assert_array_equal(one.memory["chains"], other.memory["chains"])


def test_it_learns_a_distribution_that_independent_units_cannot_hold():
    """Two patterns and their mirror: log 4 nats at best, V log 2 without weights; exact likelihood by enumeration."""
    patterns = jnp.array([[1, 1, 1, 0, 0], [0, 0, 0, 1, 1], [1, 0, 1, 0, 1], [0, 1, 0, 1, 0]], jnp.float32)
    method = pcd(optax.sgd(optax.linear_schedule(0.2, 0.0, 4000)), hidden=8, chains=100, scale=0.1)
    state = method.init(jax.random.key(0), {"image": patterns})

    @jax.jit
    def train(state):
        def body(index, state):
            return method.step(state, {"image": patterns}, jax.random.fold_in(jax.random.key(1), index))[0]

        return jax.lax.fori_loop(0, 4000, body, state)

    before = float(nll(state.params["rbm"], patterns))
    after = float(nll(train(state).params["rbm"], patterns))
    assert abs(before - V * np.log(2)) < 0.1
    assert 0 < after - np.log(4) < 0.35


def test_shapes_of_pictures_pass_through_and_samples_are_probabilities():
    method = pcd(optax.sgd(0.1), hidden=H, chains=4, sample_sweeps=5)
    batch = {"image": jnp.ones((7, 2, 3, 1))}
    state = method.init(jax.random.key(0), batch)
    assert state.memory["chains"].shape == (4, 6)
    samples = jax.jit(method.sample)(state, batch, jax.random.key(1))
    assert samples.shape == (7, 2, 3, 1) and samples.min() > 0 and samples.max() < 1
    assert method.encode(state, batch, jax.random.key(1)).shape == (7, H)
    values = method.evaluate(state, batch, jax.random.key(1))
    assert {name: value.shape for name, value in values.items()} == {"free_energy": (7,), "pseudo_log_likelihood": (7,)}


def test_samples_are_of_the_model():
    rbm, method = machine(2.0), pcd(optax.sgd(0.1), hidden=H, chains=3, sample_sweeps=50)
    state = state_of(method, rbm, jnp.zeros((3, V)))
    samples = method.sample(state, {"image": jnp.zeros((30_000, V))}, jax.random.key(2))
    v = bits(jnp.arange(2**V), V)
    p = jnp.exp(-m.free_energy(rbm, v) - m.exact_log_z(rbm))
    np.testing.assert_allclose(samples.mean(0), p @ v, atol=0.015)
