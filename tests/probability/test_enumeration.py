"""Sums over all states of a few bits, in blocks or not, against numpy's; too many bits are refused."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.probability.enumeration import bits, log_sum_over_states


def test_bits_are_all_states_once():
    assert sorted(map(tuple, np.asarray(bits(jnp.arange(8), 3)))) == [
        (a, b, c) for a in (0.0, 1.0) for b in (0.0, 1.0) for c in (0.0, 1.0)
    ]


@pytest.mark.parametrize("block", [4, 4096])
def test_the_sum_is_over_every_state_whatever_the_blocks(block):
    w = np.random.default_rng(0).normal(size=6)
    with jax.enable_x64(True):
        found = log_sum_over_states(lambda x: x @ jnp.asarray(w), 6, block)
    assert abs(float(found) - np.sum(np.log1p(np.exp(w)))) < 1e-12


def test_a_block_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="power of two, not 6"):
        log_sum_over_states(lambda x: x[:, 0], 4, block=6)


def test_too_many_bits_are_refused_with_their_number():
    with pytest.raises(ValueError, match=r"21 bits .* more than 2\^20"):
        log_sum_over_states(lambda x: x[:, 0], 21)
