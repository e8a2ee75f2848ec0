"""Distributions of a pixel: probabilities of all values sum to one, and draws have them, at any temperature."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.probability.pixel_outputs import bernoulli, categorical, logistics


@pytest.mark.parametrize("output", [bernoulli(), categorical(5)], ids=["bernoulli", "categorical"])
@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_draws_have_the_probabilities_that_sum_to_one(output, temperature):
    n = 20_000
    params = jnp.asarray(np.random.default_rng(0).normal(size=(3, output.size)), jnp.float32)
    values = jnp.broadcast_to(jnp.arange(output.levels)[:, None], (output.levels, 3))
    p = np.exp(output.log_prob(jnp.broadcast_to(params, (output.levels, *params.shape)), values))  # [levels, 3]
    np.testing.assert_allclose(p.sum(0), 1, rtol=1e-6)
    x = np.asarray(output.pick(jax.random.key(0), jnp.broadcast_to(params, (n, *params.shape)), temperature))
    counts = np.stack([(x == value).mean(0) for value in range(output.levels)])
    sharpened = p ** (1 / temperature) / (p ** (1 / temperature)).sum(0)
    assert np.all(np.abs(counts - sharpened) < 4.5 * np.sqrt(sharpened * (1 - sharpened) / n) + 1e-4)


@pytest.mark.parametrize("colours", [1, 3])
def test_draws_of_a_mixture_have_the_joint_probabilities_of_all_colours(colours):
    """Rounded to levels: a draw that is not has no probability under the likelihood of integers."""
    n, levels, output = 40_000, 3, logistics(2, colours, 3)
    params = jnp.asarray(np.random.default_rng(0).normal(size=output.size), jnp.float32)
    values = jnp.asarray(list(itertools.product(range(levels), repeat=colours)))  # [levels^C, C]
    p = np.exp(output.log_prob(jnp.broadcast_to(params, (len(values), output.size)), values))
    np.testing.assert_allclose(p.sum(), 1, rtol=1e-6)
    x = np.asarray(output.pick(jax.random.key(0), jnp.broadcast_to(params, (n, output.size)), 1.0))
    np.testing.assert_array_equal(x, x.astype(int))
    counts = np.bincount(x.astype(int) @ levels ** np.arange(colours)[::-1], minlength=len(values)) / n
    assert np.all(np.abs(counts - p) < 4.5 * np.sqrt(p * (1 - p) / n) + 1e-4)
    cold = np.asarray(output.pick(jax.random.key(0), jnp.broadcast_to(params, (n, output.size)), 1e-3))
    assert len(np.unique(cold, axis=0)) == 1


def test_a_pixel_has_two_levels_at_least():
    with pytest.raises(ValueError, match="not 1"):
        categorical(1)
    with pytest.raises(ValueError, match="not 1"):
        logistics(levels=1)
