"""Pooling is that of the definition, in value and gradient."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import max_pool


@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 1, 1), (3, 3, 0), (2, 3, 1)])
def test_max_pool_is_that_of_flax(window, stride, padding):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 8, 5), dtype=np.float32))

    def theirs(x):
        return nn.max_pool(x, (window, window), (stride, stride), ((padding, padding), (padding, padding)))

    ours, back = jax.vjp(lambda x: max_pool(x, window, stride, padding), x)
    expected, expected_back = jax.vjp(theirs, x)
    np.testing.assert_array_equal(ours, expected)
    weights = jnp.arange(1.0, ours.size + 1).reshape(ours.shape)
    np.testing.assert_allclose(back(weights)[0], expected_back(weights)[0], rtol=1e-6)


def test_a_tie_sends_its_gradient_to_one_place_and_nan_comes_through():
    gradient = jax.grad(lambda x: max_pool(x, 3, 2, 1).sum())(jnp.zeros((1, 4, 4, 1)))
    assert gradient.sum() == 4 and set(np.unique(gradient)) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert jnp.isnan(max_pool(jnp.ones((1, 4, 4, 1)).at[0, 1, 2].set(jnp.nan), 2, 2)).sum() == 1
