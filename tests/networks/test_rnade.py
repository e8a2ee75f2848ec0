"""What makes RNADE a density: conditionals of those before alone, each of integral 1, and draws from just those."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from aigc_jax.networks.layers.orders import ordering
from aigc_jax.networks.rnade import MOST, RNADE
from aigc_jax.probability.mixtures import Mixture, log_mixture

D, H, K = 5, 6, 3
NETS = {
    "natural": RNADE(D, H, K, activation="tanh"),
    "permuted": RNADE(D, H, K, order=3, activation="tanh", family="laplace"),
}


def random_params(net, dtype=jnp.float64):
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, net.dimensions)))["params"]
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(tree, [jnp.asarray(0.4 * rng.normal(size=leaf.shape), dtype) for leaf in leaves])


@pytest.mark.parametrize("name", NETS)
def test_the_jacobian_of_every_number_is_strictly_triangular_and_dense_below_the_diagonal(name):
    net, order = NETS[name], ordering(D, NETS[name].order)
    with jax.enable_x64(True):
        params, x = random_params(net), jnp.asarray(np.random.default_rng(1).normal(size=D))
        jacobian = jax.jit(jax.jacrev(lambda x: net.apply({"params": params}, x[None])))(x)
    for part in jacobian:
        for component in np.moveaxis(np.asarray(part)[0], 1, 0):  # [K, D, D]
            rows = component[np.ix_(order, order)]
            np.testing.assert_array_equal(rows[np.triu_indices(D)], 0)
            assert np.all(np.abs(rows[np.tril_indices(D, -1)]) > 1e-12)


@pytest.mark.parametrize("name", NETS)
def test_every_conditional_has_the_integral_one(name):
    net = NETS[name]
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(1).normal(size=(2, D)))
        of = net.apply({"params": random_params(net)}, x)
        u = jnp.linspace(-1, 1, 200_001)[:, None, None]  # x = sinh(12 u): fine near the means, and far into the tails
        density = jnp.exp(log_mixture(jnp.sinh(12 * u), jax.tree.map(lambda part: part[None], of), net.family))
        integral = np.trapezoid(np.asarray(density * 12 * jnp.cosh(12 * u)), dx=1e-5, axis=0)
    assert integral.shape == (2, D)
    np.testing.assert_allclose(integral, 1, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_drawing_has_the_mixtures_of_teacher_forcing(name):
    net = NETS[name]
    params = random_params(net, jnp.float32)
    x, drawn = jax.jit(lambda key: net.apply({"params": params}, key, 40, method="draw"))(jax.random.key(2))
    forced = net.apply({"params": params}, x)
    assert x.shape == (40, D) and len(np.unique(x)) == 40 * D
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), drawn, forced)


def test_draws_have_the_conditional_distribution():
    """Each value through the distribution function of its own conditional is uniform."""
    net = NETS["natural"]
    params = random_params(net, jnp.float32)
    x, of = jax.jit(lambda key: net.apply({"params": params}, key, 4000, method="draw"))(jax.random.key(2))
    share = np.asarray(jax.nn.softmax(of.logits))
    below = np.sum(share * stats.norm.cdf(x[..., None], of.means, np.exp(of.log_scales)), axis=-1)
    assert min(stats.kstest(column, "uniform").pvalue for column in below.T) > 1e-3


def test_one_component_without_weights_is_an_independent_normal():
    net = RNADE(D, H, 1)
    with jax.enable_x64(True):
        params = random_params(net)
        params = {**params, "w": 0 * params["w"]}  # relu(0) = 0: biases alone are left
        x = jnp.asarray(np.random.default_rng(1).normal(size=(4, D)))
        log_p = log_mixture(x, net.apply({"params": params}, x))
    _, mean, log_scale = np.asarray(params["b"]).T
    np.testing.assert_allclose(log_p, stats.norm.logpdf(x, mean, np.exp(log_scale)), rtol=1e-12)


def test_the_recursion_is_the_sum_it_stands_for():
    """h_d = act(rho_d (W_1 + sum_{1 < j <= d} W_j x_{j-1})), each d by itself."""
    net = NETS["permuted"]
    with jax.enable_x64(True):
        params = {name: np.asarray(leaf) for name, leaf in random_params(net).items()}
        x = np.random.default_rng(1).normal(size=(2, D))
        of = net.apply({"params": params}, jnp.asarray(x))
    order = ordering(D, 3)
    for d, variable in enumerate(order):
        a = params["w"][0] + x[:, order[:d]] @ params["w"][1 : d + 1]
        outputs = np.tanh(params["rho"][d] * a) @ params["v"][d] + params["b"][d]
        np.testing.assert_allclose(np.concatenate([part[:, variable] for part in of], 1), outputs, rtol=1e-10)


def test_no_scale_is_above_its_bound_in_the_density_and_in_draws():
    """A draw far out cannot make the next one go further by a scale."""
    net = RNADE(2, 4, 3)
    params = {**random_params(net, jnp.float32), "b": jnp.full((2, 9), 50.0)}
    x, drawn = net.apply({"params": params}, jax.random.key(0), 3, method="draw")
    for of in (drawn, net.apply({"params": params}, x)):
        np.testing.assert_array_equal(of.log_scales, MOST)


def test_components_differ_at_the_start():
    params = RNADE(2, 4, 4).init(jax.random.key(0), jnp.zeros((1, 2)))["params"]
    of = Mixture(*np.split(np.asarray(params["b"]), 3, axis=1))
    np.testing.assert_allclose(of.means, [[-0.75, -0.25, 0.25, 0.75]] * 2)
    assert not np.any(of.logits) and not np.any(of.log_scales) and np.all(params["rho"] == 1)


def test_sizes_below_one_and_unknown_families_are_refused():
    for net, words in (
        (RNADE(3, 4, 0), "not 3, 4 and 0"),
        (RNADE(3, 4, 2, family="cauchy"), "family 'cauchy': there are normal and laplace"),
    ):
        with pytest.raises(ValueError, match=words):
            net.init(jax.random.key(0), jnp.zeros((1, 3)))
