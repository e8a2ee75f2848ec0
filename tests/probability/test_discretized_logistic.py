"""Grey levels of logistics: they sum to one, golden values, channels told of each other, draws of the same law."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from aigc_jax.probability import discretized_logistic as dl

LEVELS = np.arange(256) / 127.5 - 1


def test_256_probabilities_sum_to_one_whatever_the_parameters():
    """Scales below the least, means outside [-1, 1] and all: without a fall-back to the density."""
    with jax.enable_x64(True):
        means, log_scales = np.meshgrid([-3.0, -1.0, 0.1, 0.7, 1.2], [-20.0, -7.0, -2.0, 0.5, 12.0])
        p = np.exp(dl.log_logistic(LEVELS, means[..., None], log_scales[..., None]))
        np.testing.assert_allclose(p.sum(-1), 1, atol=1e-9)
        of = dl.mixture(jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 6)) * 3), channels=1)
        total = np.exp(dl.log_mixture(jnp.asarray(LEVELS)[None, :, None], of)).sum(-1)
        np.testing.assert_allclose(total, 1, atol=1e-9)


def test_golden_values():
    with jax.enable_x64(True):
        p = np.exp(dl.log_logistic(LEVELS, 0.1, -2.0))
        golden = [3.037550859842641e-4, 0.01280530507128913, 1.330095175223311e-3]
        np.testing.assert_allclose(p[[0, 128, 255]], golden, rtol=1e-12)
        scale = np.exp(-2.0)
        naive = expit((LEVELS - 0.1 + 1 / 255) / scale) - expit((LEVELS - 0.1 - 1 / 255) / scale)
        np.testing.assert_allclose(p[1:-1], naive[1:-1], rtol=1e-10)


def test_far_from_the_mean_the_float32_logarithm_and_its_gradients_stay_exact():
    """Where the difference of the two sigmoids is 0 in float32, in value and slope as in float64."""
    x, mean, log_scale = np.float32(LEVELS[30]), np.float32(0.9), np.float32(-5.0)

    def value_and_slopes():
        return jax.value_and_grad(dl.log_logistic, argnums=(1, 2))(x, mean, log_scale)

    value, slopes = value_and_slopes()
    assert value < -200
    with jax.enable_x64(True):
        x, mean, log_scale = np.float64(x), np.float64(mean), np.float64(log_scale)
        exact, exact_slopes = value_and_slopes()
    np.testing.assert_allclose(value, exact, rtol=1e-5)
    np.testing.assert_allclose(slopes, exact_slopes, rtol=1e-4)


@pytest.mark.parametrize("log_scale", [10.0, 80.0, 95.0])
def test_very_wide_logistics_keep_value_and_gradient_in_float32(log_scale):
    """P = 2 delta / (4 s) in the middle: linear in the log-scale, where 2 delta / s has no float32 left."""
    value, slope = jax.value_and_grad(dl.log_logistic, argnums=2)(0.0, 0.1, log_scale)
    np.testing.assert_allclose(value, np.log(2 / 255 / 4) - log_scale, rtol=1e-6)
    np.testing.assert_allclose(slope, -1, rtol=1e-5)


def test_a_mixture_of_three_channels_is_its_formula_in_the_released_order():
    rng, components = np.random.default_rng(0), 2
    outputs, x = rng.normal(size=(10 * components)), np.array([LEVELS[40], LEVELS[0], LEVELS[200]])
    logits, rest = outputs[:components], outputs[components:].reshape(3, 3 * components)
    total = 0.0
    for m in range(components):
        mean, log_scale, c = rest[:, m], rest[:, components + m], np.tanh(rest[:, 2 * components + m])
        mean = mean + [0, c[0] * x[0], c[1] * x[0] + c[2] * x[1]]
        scale = np.exp(np.maximum(log_scale, -7))
        upper, lower = expit((x - mean + 1 / 255) / scale), expit((x - mean - 1 / 255) / scale)
        p = np.array([upper[0] - lower[0], upper[1], upper[2] - lower[2]])  # the second is the lowest level
        total += np.exp(logits[m]) / np.exp(logits).sum() * p.prod()
    with jax.enable_x64(True):
        np.testing.assert_allclose(dl.log_mixture(x, dl.mixture(jnp.asarray(outputs))), np.log(total), rtol=1e-9)


def test_later_channels_depend_on_true_earlier_ones_and_not_the_other_way():
    of = dl.mixture(jax.random.normal(jax.random.key(0), (30,)))
    jacobian = jax.jacfwd(lambda x: dl.conditional_means(of, x))(jnp.array([0.3, -0.2, 0.8]))  # [C, M, C]
    depends = np.abs(np.asarray(jacobian)).sum(1) > 0
    np.testing.assert_array_equal(depends, [[0, 0, 0], [1, 0, 0], [1, 1, 0]])


def test_draws_have_the_probabilities_of_the_density():
    outputs = jnp.array([0.3, -0.5, -0.4, 0.8, -2.0, -1.0])  # one channel, two components
    of = dl.mixture(outputs, channels=1)
    draws = dl.sample_mixture(
        jax.random.key(0), jax.tree.map(lambda a: jnp.broadcast_to(a, (100_000, *a.shape)), of), 256
    )
    counts = np.bincount(np.rint((np.asarray(draws[:, 0]) + 1) * 127.5).astype(int), minlength=256) / 100_000
    p = np.exp(dl.log_mixture(jnp.asarray(LEVELS, jnp.float32)[:, None], of))
    assert np.max(np.abs(np.cumsum(counts) - np.cumsum(p))) < 0.006  # Kolmogorov, 1 in 1000


def test_draws_of_colours_follow_the_coefficients():
    outputs = jnp.zeros((20_000, 10)).at[:, 3].set(20.0).at[:, 6].set(-20.0)  # of one component: c_0 = 1, c_1 = -1
    outputs = outputs.at[:, jnp.array([2, 5, 8])].set(
        jnp.array([-2.0, -9.0, -9.0])
    )  # log-scales: G and B almost certain
    draws = np.asarray(dl.sample_mixture(jax.random.key(0), dl.mixture(outputs)))
    assert draws[:, 0].std() > 0.1 and np.abs(draws).max() <= 1
    np.testing.assert_allclose(draws[:, 1], draws[:, 0], atol=0.02)
    np.testing.assert_allclose(draws[:, 2], -draws[:, 0], atol=0.02)


def test_sizes_that_do_not_fit_are_refused():
    assert (dl.numbers(10, 3), dl.numbers(5, 1)) == (100, 15)
    with pytest.raises(ValueError, match="99 numbers a pixel are no mixture over 3 channels: 10 for each component"):
        dl.mixture(jnp.zeros(99))
    with pytest.raises(ValueError, match="1 or 3 channels and components from 1, not 2 and 5"):
        dl.numbers(5, 2)
