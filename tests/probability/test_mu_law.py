"""Golden codes, every code back to itself, and bounds that part the line."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.probability import mu_law


@pytest.mark.parametrize("xp", [np, jnp])
def test_golden_codes(xp):
    x = xp.asarray([-0.5, -0.01, 0.0, 0.01, 0.5, 1.0, -1.0, 7.0, -7.0])
    codes = mu_law.encode(x)
    assert codes.tolist() == [16, 98, 128, 157, 239, 255, 0, 255, 0] and codes.dtype == np.int32
    assert isinstance(codes, jax.Array) == (xp is jnp)


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("levels", [2, 3, 16, 256])
def test_every_code_comes_back(xp, levels):
    codes = xp.arange(levels)
    x = mu_law.decode(codes, levels)
    np.testing.assert_array_equal(mu_law.encode(x, levels), codes)
    assert x.dtype == np.float32 and x[0] == -1 and x[-1] == 1 and np.all(np.diff(x) > 0)
    np.testing.assert_allclose(mu_law.companded(codes, levels), np.linspace(-1, 1, levels), atol=1e-6)


def test_a_code_is_what_lies_between_its_bounds():
    low, high = mu_law.bounds(np.arange(256))
    np.testing.assert_array_equal(low[1:], high[:-1])
    assert low[0] == -np.inf and high[-1] == np.inf
    inside = np.random.default_rng(0).uniform(-1, 1, 10_000)
    codes = mu_law.encode(inside)
    assert np.all((low[codes] <= inside) & (inside <= high[codes]))
