"""What the parts of flows are by mathematics or by their papers, beyond that they invert."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aigc_jax.probability.bijectors as bij
from aigc_jax.networks.glow import CouplingNet, Prior
from aigc_jax.networks.made import MADE
from aigc_jax.networks.mlp import MLP


def test_the_spline_has_the_values_of_the_reference():
    """Five bins on [-3, 3], numbers of RandomState(0): y and log |dy/dx| inside, at the ends of bins, and in the tail."""
    with jax.enable_x64(True):
        spline, rng = bij.rational_quadratic(5, 3.0), np.random.RandomState(0)
        x = jnp.asarray([-2.5, -1.0, 0.0, 0.7, 2.9, 3.5])
        h = jnp.broadcast_to(rng.standard_normal(14), (6, 14))

        @jax.jit
        def both_ways(x, h):
            y, log_slope = spline.forward(x, h)
            return y, log_slope, *spline.inverse(y, h)

        y, log_slope, back, log_slope_back = both_ways(x, h)
        np.testing.assert_allclose(
            y, [-2.8222651292, 0.2861307201, 1.0678948331, 1.2445840244, 2.8990702905, 3.5], atol=1e-9
        )
        np.testing.assert_allclose(
            log_slope, [-1.9049057867, 0.2740227131, -1.1658819950, -1.4317701491, 0.0177126556, 0], atol=1e-9
        )
        np.testing.assert_allclose(back, x, atol=1e-9)
        np.testing.assert_allclose(log_slope_back, -log_slope, atol=1e-8)


def test_the_spline_is_continuous_with_its_derivative_at_every_knot():
    """On both sides of each of the K + 1 knots, the two ends where the tails begin among them; and it is monotone."""
    bins, bound = 6, 2.0
    spline = bij.rational_quadratic(bins, bound)
    with jax.enable_x64(True):
        h = np.random.default_rng(3).normal(size=3 * bins - 1)
        shares = 1e-3 + (1 - 1e-3 * bins) * np.exp(h[:bins]) / np.exp(h[:bins]).sum()
        knots = np.concatenate([[-bound], 2 * bound * np.cumsum(shares) - bound])
        assert len(knots) == bins + 1 and abs(knots[-1] - bound) < 1e-12
        line = np.linspace(-3, 3, 2001)
        points = np.concatenate([knots - 1e-9, knots + 1e-9, line])
        found = jax.jit(spline.forward)(points, np.broadcast_to(h, (points.size, h.size)))
        below, above, (y, log_slope) = zip(*(np.split(np.asarray(part), [bins + 1, 2 * bins + 2]) for part in found))
        np.testing.assert_allclose(below[0], above[0], atol=1e-7)
        np.testing.assert_allclose(below[1], above[1], atol=1e-6)
        np.testing.assert_allclose([below[1][0], above[1][-1]], 0, atol=1e-12)  # the tails are the identity
        assert np.all(np.diff(y) > 0)
        np.testing.assert_allclose(np.sum(np.exp(log_slope)[1:-1]) * 6 / 2000, y[-1] - y[0], rtol=3e-3)


def test_a_spline_of_no_bins_or_bound_is_refused():
    for fields in ((0, 3.0), (1000, 3.0), (8, 0.0)):
        with pytest.raises(ValueError, match="1 to 999 bins and a bound above 0"):
            bij.rational_quadratic(*fields)


def test_actnorm_gives_its_first_batch_mean_0_and_variance_1():
    """Also the second of two: repeated or chained, each sees what the one before gives."""
    x = 3 + 2 * jax.random.normal(jax.random.key(0), (16, 3, 3, 4))
    mixed = bij.Chain([bij.ActNorm(), bij.Linear(), bij.Coupling(CouplingNet(6, 2), bij.affine())])
    for bijector in (bij.ActNorm(), bij.Chain([bij.Repeated(mixed, 3), bij.ActNorm()])):
        (y, _), variables = jax.jit(bijector.init_with_output)(jax.random.key(1), x)
        np.testing.assert_allclose(np.mean(y, (0, 1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(np.var(y, (0, 1, 2)), 1, atol=1e-4)
    first = variables["params"]["bijectors_0"]["bijector"]["bijectors_0"]["bias"]  # [3 repetitions, 4]
    assert np.abs(first[0]).min() > 2 and np.abs(first[1:]).max() < 1e-4, "after the first, means are 0 already"


def test_couplings_of_nice_keep_volumes_and_what_they_do_not_map():
    x = jax.random.normal(jax.random.key(0), (4, 6))
    coupling = bij.Coupling(bij.Conditioner(MLP((8,), 3)), bij.additive())
    (y, log_det), _ = jax.jit(coupling.init_with_output)(jax.random.key(1), x)
    np.testing.assert_array_equal(log_det, 0)
    np.testing.assert_array_equal(y[:, :3], x[:, :3])
    assert np.all(y[:, 3:] != x[:, 3:])


@pytest.mark.parametrize("map", [bij.standardize(), bij.rational_quadratic(3, 2.0)], ids=["affine", "spline"])
def test_the_jacobian_of_an_autoregressive_map_is_triangular_and_dense_below(map):
    net = MADE(6, (20, 20), degrees="sequential", activation="tanh", outputs=map.numbers)
    bijector = bij.Autoregressive(net, map)
    rng = np.random.default_rng(0)

    @jax.jit
    def jacobian_at(x):
        params = bijector.init(jax.random.key(1), x[None])
        params = jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape), params)
        return jax.jacfwd(lambda x: bijector.apply(params, x[None])[0][0])(x)

    with jax.enable_x64(True):
        jacobian = np.asarray(jacobian_at(0.5 * rng.normal(size=6)))
    np.testing.assert_array_equal(jacobian[np.triu_indices(6, 1)], 0)
    assert np.all(np.abs(jacobian[np.tril_indices(6)]) > 1e-9) and np.all(np.diag(jacobian) > 0)


def test_squeezes_put_pixels_where_they_say():
    x = jnp.arange(2 * 2 * 2, dtype=jnp.float32).reshape(1, 2, 2, 2)  # pixel p = 2 row + column, channel c: 2 p + c
    plain, _ = bij.Squeeze().apply({}, x)
    np.testing.assert_array_equal(plain[0, 0, 0], [0, 2, 4, 6, 1, 3, 5, 7])
    ordered, _ = bij.Squeeze(ordered=True).apply({}, x)
    np.testing.assert_array_equal(ordered[0, 0, 0], [0, 1, 6, 7, 2, 3, 4, 5])
    board = np.asarray(bij.Checkerboard()((4, 6, 2)))
    halves, _ = bij.Squeeze(ordered=True).apply({}, jnp.asarray(np.broadcast_to(board, (1, 4, 6, 2))))
    assert not np.any(halves[..., :4]) and np.all(halves[..., 4:] == 1), "one colour of the board, then the other"


def test_the_split_leaves_under_its_prior_and_the_noise_is_in_order():
    """Even channels of the prior are means, odd ones logarithms of deviations; what left first stands first."""
    shape = (2, 2, 4)
    bijector = bij.MultiScale(shape, [bij.Identity(), bij.Identity()], [Prior()])
    x = jax.random.normal(jax.random.key(0), (3, *shape))
    rng = np.random.default_rng(0)

    @jax.jit
    def facts(x):
        variables = bijector.init(jax.random.key(1), x)
        variables = jax.tree.map(lambda p: np.float32(0.2 * rng.normal(size=p.shape)), variables)
        h = Prior().apply({"params": variables["params"]["priors_0"]}, x[..., :2])
        return h, *bijector.apply(variables, x)

    h, noise, log_det = facts(x)
    mean, log_std = h[..., 0::2], h[..., 1::2]
    expected = (x[..., 2:] - mean) / jnp.exp(log_std)
    np.testing.assert_allclose(noise[:, :8], expected.reshape(3, -1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(noise[:, 8:], x[..., :2].reshape(3, -1))
    np.testing.assert_allclose(log_det, -np.sum(log_std, (1, 2, 3)), rtol=1e-5)


def test_float32_determinants_of_glows_largest_matrix_are_good_to_1e_5_bits():
    """48 channels at 4 x 4 of 3,072 dimensions, trained away from a rotation: condition number about 100."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.normal(size=(48, 48)))[0] for _ in range(2))
    w = u @ np.diag(np.geomspace(0.1, 10, 48)) @ v
    exact = np.linalg.slogdet(w.astype(np.float32).astype(np.float64))[1]
    ours = float(jnp.linalg.slogdet(jnp.asarray(w, jnp.float32))[1])
    assert 32 * 16 * abs(ours - exact) / (3072 * math.log(2)) < 1e-5 and abs(exact) < 1


def test_batch_norm_counts_its_scale_and_keeps_running_statistics():
    x = 2 + 3 * jax.random.normal(jax.random.key(0), (500, 4))
    norm = bij.BatchNorm(momentum=0.5, learned=True)

    @jax.jit
    def facts(x):
        variables = norm.init(jax.random.key(1), x)
        found, moved = norm.apply(variables, 2 * x, None, True, mutable=["batch_stats"])
        return found, moved, norm.apply({**variables, **moved}, 2 * x)[0]

    (y, log_det), moved, again = facts(x)
    np.testing.assert_allclose(np.mean(y, 0), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(y, 0), 1, rtol=1e-4)
    np.testing.assert_allclose(log_det, -np.sum(np.log(np.std(2 * np.asarray(x), 0))), rtol=1e-4)
    np.testing.assert_allclose(moved["batch_stats"]["mean"], 1.5 * np.mean(x, 0), rtol=1e-4)
    assert np.all(np.abs(np.mean(again, 0)) > 0.1), "without training the running statistics are used"
    mask = bij.Halves(second=True)
    half = bij.BatchNorm(mask=mask)
    (y, _), _ = jax.jit(half.init_with_output)(jax.random.key(1), x)
    np.testing.assert_array_equal(y[:, :2], x[:, :2])
    np.testing.assert_allclose(np.std(y[:, 2:], 0), 1, rtol=1e-4)


def test_iaf_is_maf_backwards():
    net = MADE(4, (8,), degrees="sequential", outputs=2)
    one, other = bij.Autoregressive(net, bij.standardize()), bij.Inverse(bij.Autoregressive(net, bij.standardize()))
    x = jax.random.normal(jax.random.key(0), (5, 4))

    @jax.jit
    def facts(x):
        params = one.init(jax.random.key(1), x)["params"]
        back = other.apply({"params": {"bijector": params}}, x, method="inverse_and_log_det")
        return one.apply({"params": params}, x), back

    jax.tree.map(np.testing.assert_array_equal, *facts(x))


def test_repeated_is_the_chain_of_its_steps():
    step = bij.Chain([bij.LinearLU(), bij.Coupling(bij.Conditioner(MLP((6,), 4)), bij.affine())])
    x = jax.random.normal(jax.random.key(0), (3, 4))
    loop = bij.Repeated(step, 3)

    @jax.jit
    def facts(x):
        variables = loop.init(jax.random.key(1), x)
        expected, total = x, 0
        for number in range(3):
            at = {
                name: jax.tree.map(lambda leaf, number=number: leaf[number], tree["bijector"])
                for name, tree in variables.items()
            }
            expected, more = step.apply(at, expected)
            total = total + more
        return variables, loop.apply(variables, x), (expected, total)

    variables, (y, log_det), (expected, total) = facts(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_det, total, rtol=1e-5, atol=1e-6)
    signs = variables["constants"]["bijector"]["bijectors_0"]["order_and_sign"]
    assert signs.shape == (3, 2, 4) and len(np.unique(np.asarray(signs).reshape(3, -1), axis=0)) > 1, "each has its own"


def test_lu_factors_begin_as_a_rotation():
    (y, log_det), _ = jax.jit(bij.LinearLU().init_with_output)(jax.random.key(0), jnp.eye(7))
    np.testing.assert_allclose(y @ y.T, np.eye(7), atol=1e-5)
    np.testing.assert_allclose(log_det, 0, atol=1e-5)


def test_bad_shapes_are_refused_with_their_numbers():
    key = jax.random.key(0)
    for bijector, shape, words in (
        (bij.Squeeze(), (3, 4, 1), "3 x 4 is not even"),
        (bij.Permutation((0, 2)), (3,), "an order of 2 places does not name each of 3 once"),
        (bij.Coupling(bij.Conditioner(MLP((), 1)), bij.additive()), (4, 4, 1), "has one of 1"),
        (bij.Coupling(bij.Conditioner(MLP((), 3)), bij.affine()), (4,), "of 2 numbers a variable"),
        (bij.Logit(0.5), (2,), "not at 0.5"),
        (bij.Affine(0.0), (2,), "a scale of 0"),
        (
            bij.MultiScale((2, 2, 2), [bij.Identity()] * 3, [Prior()]),
            (2, 2, 2),
            "3 levels take 2 priors or none, not 1",
        ),
        (bij.MultiScale((2, 2, 3), [bij.Identity()] * 2), (2, 2, 3), "half of 3 channels"),
    ):
        with pytest.raises(ValueError, match=words):
            jax.eval_shape(bijector.init, key, jnp.full((2, *shape), 0.5))
