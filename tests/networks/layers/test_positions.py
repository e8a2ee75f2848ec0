"""The two encodings: their published values, and that a shift of position is a rotation."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import sinusoidal, timestep_embedding


def test_published_values():
    table = sinusoidal(3, 512)
    np.testing.assert_allclose(table[0, :4], [0, 1, 0, 1])
    np.testing.assert_allclose(table[1, :4], [0.84147098, 0.54030231, 0.82185619, 0.56969501], rtol=1e-6)
    assert table.dtype == np.float32


def test_a_shift_is_a_rotation_of_each_pair():
    table = sinusoidal(20, 16).astype(np.float64).reshape(20, 8, 2)
    inner = np.einsum("pik,qik->pqi", table, table)  # cos((p - q) w_i)
    for distance in (1, 5):
        same = np.stack([inner[p, p + distance] for p in range(10)])
        np.testing.assert_allclose(same, np.broadcast_to(same[0], same.shape), atol=1e-6)


def test_timesteps_are_sines_then_cosines_and_end_at_one_over_the_period():
    t = jnp.array([0, 1, 999])
    out = np.asarray(timestep_embedding(t, 8))
    frequency = 10_000.0 ** (-np.arange(4) / 3)
    np.testing.assert_allclose(out[:, :4], np.sin(np.outer(t, frequency)), atol=2e-4)
    np.testing.assert_allclose(out[:, 4:], np.cos(np.outer(t, frequency)), atol=2e-4)
    np.testing.assert_allclose(out[2, 3], np.sin(999e-4), rtol=1e-5)


def test_an_odd_width_ends_in_zeros():
    out = timestep_embedding(jnp.array([3.0]), 9)
    np.testing.assert_array_equal(out[:, :8], timestep_embedding(jnp.array([3.0]), 8))
    assert out.shape == (1, 9) and out[0, 8] == 0


def test_an_odd_width_of_sinusoids_ends_in_a_sine():
    table = sinusoidal(4, 7)
    np.testing.assert_allclose(table[:, 6], np.sin(np.arange(4) * 10_000 ** (-6 / 7)), rtol=1e-6)
    np.testing.assert_allclose(table[:, 5], np.cos(np.arange(4) * 10_000 ** (-4 / 7)), rtol=1e-6)


def test_widths_that_hold_no_pair_are_refused():
    with pytest.raises(ValueError, match="at least 4, not 3"):
        timestep_embedding(jnp.zeros(1), 3)
