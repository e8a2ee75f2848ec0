"""Mixtures of members and the loss for all orders at once, beside their definitions."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.likelihood.autoregressive import autoregressive, nll, order_agnostic_nll
from aigc_jax.networks.fvsbn import FVSBN
from aigc_jax.networks.made import MADE
from aigc_jax.networks.nade import EoNADE

D = 3
STATES = jnp.asarray(list(itertools.product((0.0, 1.0), repeat=D)))  # [8, 3]


def noisy(params):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    )


def test_the_loss_for_all_orders_is_unbiased():
    """Its mean over draws is the mean of -log p(x) over all 3! orders, each variable asked for from a mask."""
    net = EoNADE(D, (5,))
    params = noisy(net.init(jax.random.key(0), STATES)["params"])

    def along(order):
        total = np.zeros(len(STATES))
        for d, variable in enumerate(order):
            known = jnp.zeros(D).at[jnp.asarray(order[:d], int)].set(1.0)
            logits = net.apply({"params": params}, STATES, jnp.broadcast_to(known, STATES.shape), method="given")
            logit = np.asarray(logits[:, variable], np.float64)
            total += np.logaddexp(0, logit) - np.asarray(STATES[:, variable]) * logit
        return total

    exact = np.mean([along(order) for order in itertools.permutations(range(D))], axis=0)
    x = jnp.tile(STATES, (20_000, 1))
    draws = np.asarray(jax.jit(lambda key: order_agnostic_nll(net, params, x, key))(jax.random.key(2)), np.float64)
    draws = draws.reshape(-1, len(STATES))
    error = draws.std(axis=0) / math.sqrt(len(draws))
    assert np.all(np.abs(draws.mean(axis=0) - exact) < 4.5 * error) and np.all(error < 0.05)


def test_several_members_are_a_mixture_of_their_probabilities():
    net = MADE(D, (6,), order=1, members=4, activation="tanh")
    method = autoregressive(net, optax.sgd(0.0), members=4)
    state = method.init(jax.random.key(0), {"x": STATES})
    state = state._replace(params=noisy(state.params))
    p = np.mean([np.exp(-nll(net, state.params["net"], STATES, member)) for member in range(4)], axis=0)
    values = method.evaluate(state, {"x": STATES}, jax.random.key(0))["nll"]
    np.testing.assert_allclose(values, -np.log(p), rtol=1e-5)
    assert abs(p.sum() - 1) < 1e-5


def test_members_that_the_network_has_not_are_refused():
    for net, members, found in ((MADE(D, (6,), members=3), 4, 3), (FVSBN(D), 2, 1)):
        with pytest.raises(ValueError, match=f"the network has {found} members, not {members}"):
            autoregressive(net, optax.sgd(0.0), members=members)


def test_members_are_trained_in_turn():
    net = MADE(D, (6,), order=1, members=3, activation="tanh")
    method = autoregressive(net, optax.sgd(0.0), members=3)
    state = method.init(jax.random.key(0), {"x": STATES})
    for step in range(5):
        expected = jnp.mean(nll(net, state.params["net"], STATES, step % 3))
        state, metrics = method.step(state, {"x": STATES}, jax.random.key(0))
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)
    assert int(state.memory["turn"]) == 5 % 3


def test_samples_have_the_shape_of_the_examples_and_the_frequencies_of_the_mixture():
    """One member for a call, drawn anew each time: over many calls it is the mixture that is drawn from."""
    net = MADE(4, (5,), order=1, members=3, activation="tanh")
    method = autoregressive(net, optax.sgd(0.0), members=3)
    batch = {"image": jnp.zeros((2, 2, 2, 1))}
    state = method.init(jax.random.key(0), batch)
    state = state._replace(params=noisy(state.params))
    keys = jax.random.split(jax.random.key(3), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: method.sample(state, batch, key)))(keys))
    assert drawn.shape == (20_000, 2, 2, 2, 1)
    states = jnp.asarray(list(itertools.product((0.0, 1.0), repeat=4)))
    p = np.exp(-method.evaluate(state, {"x": states}, keys[0])["nll"])
    counts = np.bincount((drawn[:, 0].reshape(-1, 4) @ [8, 4, 2, 1]).astype(int), minlength=16)
    assert np.all(np.abs(counts / 20_000 - p) < 4.5 * np.sqrt(p * (1 - p) / 20_000))


def test_fvsbn_learns_the_table_that_it_can_hold():
    """A Markov chain of bits is a logistic regression at every place: the loss reaches its entropy."""
    rng = np.random.default_rng(0)
    x = np.zeros((4000, 4), np.float32)
    x[:, 0] = rng.random(4000) < 0.5
    for d in range(1, 4):
        x[:, d] = rng.random(4000) < np.where(x[:, d - 1] > 0, 0.9, 0.2)
    method = autoregressive(FVSBN(4), optax.adam(0.1))
    batch = {"x": jnp.asarray(x)}
    state = method.init(jax.random.key(0), batch)
    step = jax.jit(method.step)
    for _ in range(300):
        state, metrics = step(state, batch, jax.random.key(0))
    counts = np.unique(x, axis=0, return_counts=True)[1] / 4000
    assert abs(float(metrics["loss"]) + np.sum(counts * np.log(counts))) < 0.01
