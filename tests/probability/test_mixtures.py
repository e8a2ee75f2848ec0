"""Mixtures of one variable, beside scipy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from aigc_jax.probability.mixtures import Mixture, log_mixture, rescaled, sample_mixture

RNG = np.random.default_rng(0)
OF = Mixture(*RNG.normal(size=(3, 5, 4)))
SCIPY = {"normal": stats.norm, "laplace": stats.laplace}


@pytest.mark.parametrize("family", SCIPY)
def test_the_density_is_that_of_scipy(family):
    x = 3 * RNG.normal(size=5)
    parts = SCIPY[family].pdf(x[:, None], OF.means, np.exp(OF.log_scales))
    expected = np.log(np.sum(softmax(OF.logits, axis=1) * parts, axis=1))
    with jax.enable_x64(True):
        np.testing.assert_allclose(log_mixture(jnp.asarray(x), OF, family), expected, rtol=1e-12)


def test_far_from_all_components_value_and_gradient_are_those_of_the_nearest():
    """exp(-80,000) is 0 in any float: the sum is taken of logarithms."""
    of = Mixture(jnp.zeros((1, 2)), jnp.asarray([[0.0, 1.0]]), jnp.zeros((1, 2)))
    value, slope = jax.value_and_grad(lambda x: log_mixture(x, of)[0])(jnp.asarray([401.0]))
    np.testing.assert_allclose(value, stats.norm.logpdf(400) - np.log(2), rtol=1e-6)
    np.testing.assert_allclose(slope, [-400], rtol=1e-6)


@pytest.mark.parametrize("family", SCIPY)
def test_draws_have_the_distribution(family):
    one = Mixture(*(jnp.asarray(part[0], jnp.float32) for part in OF))
    many = jax.tree.map(lambda part: jnp.broadcast_to(part, (20_000, 4)), one)
    x = np.asarray(jax.jit(lambda key: sample_mixture(key, many, family))(jax.random.key(0)))

    def cdf(x):
        parts = SCIPY[family].cdf(x[:, None], OF.means[0], np.exp(OF.log_scales[0]))
        return np.sum(softmax(OF.logits[0]) * parts, axis=1)

    assert stats.kstest(x, cdf).pvalue > 1e-3


def test_the_gradient_to_a_mean_is_multiplied_by_its_scale_and_no_other_is():
    x = jnp.asarray(RNG.normal(size=5))
    with jax.enable_x64(True):
        plain = jax.grad(lambda of: jnp.sum(log_mixture(x, of)))(OF)
        scaled = jax.grad(lambda of: jnp.sum(log_mixture(x, rescaled(of))))(OF)
        np.testing.assert_allclose(scaled.means, np.exp(OF.log_scales) * plain.means, rtol=1e-12)
        np.testing.assert_array_equal(scaled.logits, plain.logits)
        np.testing.assert_array_equal(scaled.log_scales, plain.log_scales)
        jax.tree.map(np.testing.assert_array_equal, rescaled(OF), jax.tree.map(jnp.asarray, OF))
