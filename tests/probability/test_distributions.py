"""Densities sum or integrate to one, the KL is its definition, draws have the moments they should."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.probability import distributions as dist


def test_bernoulli_sums_to_one_over_every_state():
    states = jnp.array(list(itertools.product([0.0, 1.0], repeat=6)))
    logits = jax.random.normal(jax.random.key(0), (6,)) * 3
    assert abs(float(jnp.exp(dist.log_bernoulli(states, logits)).sum()) - 1) < 1e-5


def test_bernoulli_is_minus_the_cross_entropy_and_survives_extreme_logits():
    x, p = np.array([[0.0, 0.3, 1.0]]), np.array([[0.2, 0.5, 0.9]])
    expected = np.sum(x * np.log(p) + (1 - x) * np.log1p(-p))
    np.testing.assert_allclose(
        dist.log_bernoulli(jnp.asarray(x), jnp.asarray(np.log(p / (1 - p)))), [expected], rtol=1e-5
    )
    np.testing.assert_allclose(dist.log_bernoulli(jnp.array([[1.0], [0.0]]), jnp.array([[500.0], [500.0]])), [0, -500])


def test_normal_integrates_to_one_with_the_mean_and_variance_it_names():
    grid = jnp.linspace(-12, 14, 20_001)
    step = 26 / 20_000
    density = jnp.exp(dist.log_normal(grid[:, None], 0.7, math.log(2.25)))
    mean = float((density * grid).sum() * step)
    np.testing.assert_allclose(
        [density.sum() * step, mean, (density * (grid - mean) ** 2).sum() * step], [1, 0.7, 2.25], rtol=1e-4
    )


def test_the_standard_logistic_density_is_the_derivative_of_the_sigmoid():
    x = jnp.linspace(-4, 4, 9)
    expected = np.log(jax.vmap(jax.grad(jax.nn.sigmoid))(x))
    np.testing.assert_allclose(dist.log_standard_logistic(x[:, None]), expected, rtol=1e-5)
    assert dist.log_standard_logistic(jnp.array([[800.0]])) == -800


def test_a_log_density_is_per_example_whatever_the_shape_of_one():
    x = jax.random.normal(jax.random.key(0), (3, 4, 5, 2))
    flat = x.reshape(3, -1)
    for density in (lambda x: dist.log_normal(x, 0.3, -0.2), lambda x: dist.log_bernoulli(x, 2 * x)):
        assert density(x).shape == (3,)
        np.testing.assert_allclose(density(x), density(flat), rtol=1e-5)
        np.testing.assert_allclose(density(x)[1], density(x[1:2])[0], rtol=1e-5)
    np.testing.assert_allclose(
        dist.log_normal(flat, jnp.float32(0.3), -0.2), dist.log_normal(flat, 0.3 + 0 * flat, -0.2)
    )


def test_kl_golden_value_and_zero_at_the_prior():
    kl = dist.gaussian_kl(jnp.array([[1.0]]), jnp.log(jnp.array([[0.25]])))
    assert abs(float(kl[0]) - 0.8181471805599453) < 1e-6  # KL(N(1, 0.5^2) || N(0, 1))
    mean, log_var = jax.random.normal(jax.random.key(0), (2, 4, 3))
    np.testing.assert_allclose(dist.gaussian_kl(mean, log_var, mean, log_var), np.zeros(4), atol=1e-6)
    assert np.all(dist.gaussian_kl(mean, log_var) > 0)


def test_kl_of_two_gaussians_is_that_of_quadrature():
    x = np.linspace(-12, 12, 200_001)

    def log_n(mean, log_var):
        return -0.5 * (np.log(2 * np.pi) + log_var + (x - mean) ** 2 * np.exp(-log_var))

    p, q = log_n(0.4, -0.5), log_n(-0.3, 0.7)
    integral = np.sum(np.exp(p) * (p - q)) * (x[1] - x[0])
    mean, log_var = jnp.array([[0.4]]), jnp.array([[-0.5]])
    np.testing.assert_allclose(dist.gaussian_kl(mean, log_var, -0.3, 0.7), [integral], rtol=1e-6)


@pytest.mark.parametrize("prior", [(0.0, 0.0), (0.5, -0.7)])
def test_kl_is_its_monte_carlo_mean(prior):
    mean, log_var = jnp.array([0.8, -0.3, 0.1]), jnp.array([-1.0, 0.4, 0.2])
    z = dist.sample_normal(jax.random.key(1), jnp.broadcast_to(mean, (500_000, 3)), log_var)
    ratio = np.asarray(dist.log_normal(z, mean, log_var) - dist.log_normal(z, *prior), np.float64)
    error = ratio.std() / math.sqrt(len(ratio))
    exact = float(dist.gaussian_kl(mean[None], log_var[None], *prior)[0])
    assert abs(ratio.mean() - exact) < 4 * error < 0.02


def test_gradients_pass_through_a_normal_draw():
    def second_moment(mean, log_var):  # E[z^2] = mean^2 + var: gradients 2 mean and var
        return jnp.mean(dist.sample_normal(jax.random.key(0), jnp.full((400_000,), mean), log_var) ** 2)

    gradient = jax.grad(second_moment, argnums=(0, 1))(0.6, math.log(0.5))
    np.testing.assert_allclose(gradient, [1.2, 0.5], atol=0.01)


def test_bernoulli_draws_are_bits_with_the_mean_of_their_logits():
    logits = jnp.array([-2.0, 0.0, 1.5])
    x = dist.sample_bernoulli(jax.random.key(0), jnp.broadcast_to(logits, (100_000, 3)))
    assert x.dtype == logits.dtype and set(np.unique(x)) == {0.0, 1.0}
    p = np.asarray(jax.nn.sigmoid(logits))
    assert np.all(np.abs(np.asarray(x).mean(0) - p) < 4 * np.sqrt(p * (1 - p) / 100_000))


def test_log_mean_exp_does_not_overflow():
    x = jnp.array([[1000.0, -3.0], [1000.0 + math.log(3), -3.0]])
    np.testing.assert_allclose(dist.log_mean_exp(x), [1000 + math.log(2), -3], rtol=1e-6)
    np.testing.assert_allclose(dist.log_mean_exp(x.T, axis=1), dist.log_mean_exp(x))


def test_categorical_is_log_softmax_and_its_gradient_the_difference_from_softmax():
    rng = np.random.default_rng(0)
    logits, x = jnp.asarray(rng.normal(size=(2, 3, 5)) * 4), jnp.asarray(rng.integers(0, 5, (2, 3)))
    expected = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), np.asarray(x)[..., None], -1)[..., 0]
    np.testing.assert_allclose(dist.log_categorical(x, logits), expected, rtol=1e-5)
    gradient = jax.grad(lambda logits: jnp.sum(dist.log_categorical(x, logits)))(logits)
    np.testing.assert_allclose(gradient, jax.nn.one_hot(x, 5) - jax.nn.softmax(logits), atol=1e-6)
