"""What makes a network a distribution over bits, for FVSBN, NADE, EoNADE and MADE alike; every parameter random."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from aigc_jax.methods.likelihood.autoregressive import draw, nll
from aigc_jax.networks.fvsbn import FVSBN, triangle
from aigc_jax.networks.layers.orders import ordering
from aigc_jax.networks.made import MADE
from aigc_jax.networks.nade import NADE, EoNADE

D = 10
EVERY = np.array(list(itertools.product((0.0, 1.0), repeat=D)))  # [1024, D]
NETS = {  # the network, a member, and the order of that member
    "fvsbn": (FVSBN(D, order=3), 0, ordering(D, 3)),
    "nade": (NADE(D, 7, order=3), 0, ordering(D, 3)),
    "nade natural": (NADE(D, 7, activation="tanh"), 0, np.arange(D)),
    "eonade": (EoNADE(D, (6, 5), members=2, seed=4, activation="tanh"), 1, ordering(D, 5)),
    "made": (MADE(D, (20, 30), 3, members=2, direct=True, degrees="sequential", activation="tanh"), 1, ordering(D, 4)),
    "made natural": (MADE(D, (9,), activation="tanh", degrees="sequential"), 0, np.arange(D)),
}


def random_params(net, dtype=jnp.float64):
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, net.dimensions)))["params"]
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(tree, [jnp.asarray(rng.normal(size=leaf.shape), dtype) for leaf in leaves])


@pytest.mark.parametrize("name", NETS)
def test_the_probabilities_of_all_states_sum_to_one(name):
    net, member, _ = NETS[name]
    with jax.enable_x64(True):
        p = np.exp(-nll(net, random_params(net), jnp.asarray(EVERY), member))
    assert p.dtype == np.float64 and abs(p.sum() - 1) < 1e-9
    assert p.max() < 0.9 and p.std() > 1e-4, "random parameters make a distribution that is neither flat nor a point"


@pytest.mark.parametrize("name", NETS)
def test_the_jacobian_is_strictly_triangular_and_dense_below_the_diagonal(name):
    """Logit d moves with every variable before d in the order, and with no other."""
    net, member, order = NETS[name]
    with jax.enable_x64(True):
        params, x = random_params(net), jnp.asarray(np.random.default_rng(1).normal(size=D))
        jacobian = np.asarray(jax.jacrev(lambda x: net.apply({"params": params}, x[None], member)[0])(x))
    jacobian = jacobian[np.ix_(order, order)]
    np.testing.assert_array_equal(jacobian[np.triu_indices(D)], 0)
    assert np.all(np.abs(jacobian[np.tril_indices(D, -1)]) > 1e-12)


@pytest.mark.parametrize("name", NETS)
def test_drawing_has_the_logits_of_teacher_forcing(name):
    net, member, _ = NETS[name]
    params = random_params(net, jnp.float32)
    x, logits = jax.jit(lambda key: draw(net, params, key, 40, member))(jax.random.key(2))
    assert set(np.unique(x)) == {0, 1}
    forced = net.apply({"params": params}, x, member)
    np.testing.assert_allclose(logits, forced, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "net", [FVSBN(4, 1), NADE(4, 3, 1), EoNADE(4, (3,), 1, 1), MADE(4, (6, 6), 1)], ids=lambda net: type(net).__name__
)
def test_draws_have_the_enumerated_frequencies(net):
    n, params = 20_000, random_params(net, jnp.float32)
    states = np.array(list(itertools.product((0.0, 1.0), repeat=4)))
    p = np.exp(-nll(net, params, jnp.asarray(states)))
    x, _ = jax.jit(lambda key: draw(net, params, key, n))(jax.random.key(3))
    counts = np.bincount((np.asarray(x) @ [8, 4, 2, 1]).astype(int), minlength=16)
    assert np.sum((counts - n * p) ** 2 / (n * p)) < chi2.ppf(0.999, 15)


def test_fvsbn_stores_its_triangle_row_by_row_and_hands_its_gradient_back():
    rows = np.arange(1.0, 7.0)
    expected = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [2, 3, 0, 0], [4, 5, 6, 0]])
    np.testing.assert_array_equal(triangle(jnp.asarray(rows), 4), expected)
    weights = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    gradient = jax.grad(lambda rows: jnp.sum(weights * triangle(rows, 4)))(jnp.asarray(rows))
    np.testing.assert_array_equal(gradient, weights[np.tril_indices(4, -1)])
    assert triangle(jnp.zeros(0), 1).shape == (1, 1)


def test_orders_are_permutations_that_their_seed_tells():
    np.testing.assert_array_equal(ordering(5, None), np.arange(5))
    np.testing.assert_array_equal(np.sort(ordering(50, 1)), np.arange(50))
    assert np.any(ordering(50, 1) != ordering(50, 2)) and np.all(ordering(50, 1) == ordering(50, 1))
