"""Stochastic depth: whole examples, the right share of them, and an expectation that stays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import DropPath, linear_rates

X = jnp.asarray(np.random.default_rng(0).standard_normal((4000, 3, 2), dtype=np.float32))


def test_examples_are_dropped_whole_and_the_expectation_stays():
    y = DropPath(0.3).apply({}, X, True, rngs={"dropout": jax.random.key(1)})
    kept = np.asarray(y != 0).reshape(4000, -1)
    np.testing.assert_array_equal(kept.all(1), kept.any(1))
    np.testing.assert_allclose(y[kept.all(1)], X[kept.all(1)] / 0.7, rtol=1e-6)
    assert abs(kept[:, 0].mean() - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 4000)  # so the mean over masks, 0.7 x / 0.7, is x


@pytest.mark.parametrize("rate, train", [(0.0, True), (0.3, False)])
def test_it_is_the_identity_without_a_rate_and_in_evaluation(rate, train):
    np.testing.assert_array_equal(DropPath(rate).apply({}, X, train), X)


def test_the_dtype_stays_and_a_dropped_example_has_no_gradient():
    half = X[:64].astype(jnp.bfloat16)

    def total(x):
        return DropPath(0.5).apply({}, x, True, rngs={"dropout": jax.random.key(2)}).sum(dtype=jnp.float32)

    gradient = jax.grad(total)(half)
    assert gradient.dtype == jnp.bfloat16 and set(np.unique(gradient.astype(jnp.float32))) == {0.0, 2.0}


def test_rates_rise_linearly_from_nothing():
    np.testing.assert_allclose(linear_rates(0.2, 5), [0, 0.05, 0.1, 0.15, 0.2])
    assert linear_rates(0.2, 1) == (0.0,)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ValueError, match="drop path rate must lie in"):
        DropPath(rate).apply({}, X, True, rngs={"dropout": jax.random.key(0)})
