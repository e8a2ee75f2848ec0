"""p(x|z): each sums or integrates to one, has the mean it shows, and says bits per dimension of levels."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.probability.observations import BERNOULLI, discretized_logistic, gaussian

TOLD = jnp.array([[0.3, -0.8, 0.5, -1.5]])


def test_bits_sum_to_one_and_have_their_mean():
    x = jnp.array(list(itertools.product((0.0, 1.0), repeat=4)))
    p = np.exp(BERNOULLI.log_prob(x, jnp.repeat(TOLD, 16, axis=0)))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(p @ x, BERNOULLI.mean(TOLD)[0], rtol=1e-5)


@pytest.mark.parametrize("deviation", [0.5, None])
def test_a_gaussian_integrates_to_one_and_has_its_moments(deviation):
    observed = gaussian(deviation)
    axis = np.linspace(-6, 6, 401, dtype=np.float32)
    x = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))
    told = TOLD[:, : 2 * observed.numbers]
    p = np.exp(observed.log_prob(x, jnp.repeat(told, len(x), axis=0))) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-4)
    np.testing.assert_allclose(p @ x, observed.mean(told)[0], atol=1e-4)
    variances = [0.25, 0.25] if deviation else np.exp(told[0, 2:])
    np.testing.assert_allclose(p @ (x - observed.mean(told)) ** 2, variances, rtol=1e-3)


def test_grey_levels_sum_to_one():
    observed, levels = discretized_logistic(17), np.linspace(-1, 1, 17, dtype=np.float32)
    x = jnp.asarray(np.stack(np.meshgrid(levels, levels), -1).reshape(-1, 2))
    p = np.exp(observed.log_prob(x, jnp.repeat(TOLD, len(x), axis=0)))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-5)
    np.testing.assert_array_equal(observed.mean(TOLD), TOLD[:, :2])


def test_a_learned_deviation_has_a_least():
    told = jnp.array([[0.0, -50.0]])
    expected = gaussian(0.01).log_prob(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
    np.testing.assert_allclose(gaussian().log_prob(jnp.zeros((1, 1)), told), expected, rtol=1e-6)


def test_bits_per_dimension_of_uniform_levels_are_eight():
    """A density of 1 on [0, 1) dequantized from 256 levels, and the probability 1 / 256 of each level."""
    x = jnp.zeros((2, 3, 3, 1))
    np.testing.assert_allclose(gaussian(1.0, bin=1 / 256).bpd(jnp.zeros(2), x)["bpd"], 8, rtol=1e-6)
    nats = jnp.full(2, 9 * np.log(256.0))
    np.testing.assert_allclose(discretized_logistic().bpd(nats, x)["bpd"], 8, rtol=1e-6)
    assert BERNOULLI.bpd(nats, x) == {}


def test_outputs_are_brought_into_shape_or_refused():
    like = jnp.zeros((2, 4, 4, 3))
    assert gaussian().shaped(jnp.zeros((5, 96)), like).shape == (5, 4, 4, 6)
    with pytest.raises(ValueError, match="takes 96 numbers, the decoder puts out 48"):
        gaussian().shaped(jnp.zeros((5, 48)), like)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="above 0, not -1"):
        gaussian(-1)
    with pytest.raises(ValueError, match="at least 2 grey levels, not 1"):
        discretized_logistic(1)
