"""Pooling is that of the definition, in value and gradient."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import adaptive_avg_pool, avg_pool, max_pool


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


@pytest.mark.parametrize("count_padding", [True, False])
@pytest.mark.parametrize(("window", "stride", "padding"), [(3, 1, 1), (2, 2, 0), (5, 3, 2)])
def test_avg_pool_is_that_of_flax(window, stride, padding, count_padding):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 9, 8, 5), dtype=np.float32))

    def theirs(x):
        pads = ((padding, padding), (padding, padding))
        return nn.avg_pool(x, (window, window), (stride, stride), pads, count_include_pad=count_padding)

    ours, back = jax.vjp(lambda x: avg_pool(x, window, stride, padding, count_padding), x)
    expected, expected_back = jax.vjp(theirs, x)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    weights = jnp.arange(1.0, ours.size + 1).reshape(ours.shape)
    np.testing.assert_allclose(back(weights)[0], expected_back(weights)[0], rtol=1e-5)


def test_only_counted_padding_darkens_the_border():
    x = jnp.ones((1, 4, 4, 1))
    np.testing.assert_allclose(avg_pool(x, 3, 1, 1, count_padding=False), x, rtol=1e-6)
    border = avg_pool(x, 3, 1, 1)[0, :, :, 0]
    np.testing.assert_allclose([border[0, 0], border[0, 1], border[1, 1]], [4 / 9, 6 / 9, 1], rtol=1e-6)


@pytest.mark.parametrize(("length", "padding", "windows"), [(8, 0, 4), (7, 0, 3), (6, 1, 4), (4, 1, 3), (5, 1, 3)])
def test_a_last_window_may_reach_over_the_edge_if_it_begins_before_it(length, padding, windows):
    """The numbers are those of torch for windows of 3 with stride 2 in its ceil_mode."""
    x = jnp.arange(float(length * length)).reshape(1, length, length, 1)
    pooled = max_pool(x, 3, 2, padding, ceil=True)
    assert pooled.shape == (1, windows, windows, 1)
    ends = np.minimum(np.arange(windows) * 2 - padding + 2, length - 1)
    np.testing.assert_array_equal(pooled[0, :, :, 0], ends[:, None] * length + ends)


def test_no_window_begins_in_the_padding():
    assert max_pool(jnp.zeros((1, 5, 5, 1)), 2, 3, 1, ceil=True).shape == (1, 2, 2, 1)
    assert max_pool(jnp.zeros((1, 5, 5, 1)), 2, 4, 0, ceil=True).shape == (1, 2, 2, 1)


@pytest.mark.parametrize(("length", "size"), [(6, 6), (6, 3), (14, 4), (5, 3), (2, 3)])
def test_adaptive_cells_are_the_means_of_their_rows_and_columns(length, size):
    x = np.random.default_rng(0).standard_normal((2, length, length + 1, 3)).astype(np.float32)
    expected = np.empty((2, size, size, 3))
    for i in range(size):
        rows = slice(i * length // size, -(-(i + 1) * length // size))
        for j in range(size):
            columns = slice(j * (length + 1) // size, -(-(j + 1) * (length + 1) // size))
            expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    np.testing.assert_allclose(adaptive_avg_pool(jnp.asarray(x), size), expected, rtol=1e-5, atol=1e-6)
