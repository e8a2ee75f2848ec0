"""MADE's degrees and masks by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers.orders import ordering
from aigc_jax.networks.made import MADE


def test_masks_follow_from_degrees():
    """Equations 12 and 13, unit by unit: hidden connections where the degree does not fall, outputs where it rises."""
    net = MADE(6, (7, 5), order=2, members=3, direct=True)
    tables = net.degree_tables()
    for member in range(3):
        places, first, second = (table[member] for table in tables)
        np.testing.assert_array_equal(places, np.argsort(ordering(6, 2 + member)) + 1)
        assert first.min() >= 1 and first.max() <= 5 and second.min() >= first.min() and second.max() <= 5
        masks = [np.asarray(mask) for mask in net.masks(member)]
        for mask, below, above, rise in zip(
            masks, (places, first, second, places), (first, second, places, places), (0, 0, 1, 1)
        ):
            expected = [[above[k] >= below[j] + rise for k in range(len(above))] for j in range(len(below))]
            np.testing.assert_array_equal(mask, expected)
    assert np.any(tables[1][0] != tables[1][1]), "members differ in their connections"


def test_sequential_degrees_take_every_turn():
    _, hidden = MADE(4, (7,), degrees="sequential").degree_tables()
    np.testing.assert_array_equal(hidden, [[1, 2, 3, 1, 2, 3, 1]])


def test_natural_order_keeps_its_place_for_every_member():
    places, _ = MADE(4, (7,), order=None, members=2).degree_tables()
    np.testing.assert_array_equal(places, [[1, 2, 3, 4]] * 2)


def test_weights_are_counted_whole_and_masks_not_at_all():
    shapes = jax.eval_shape(MADE(784, (500,), 0, members=32).init, jax.random.key(0), jnp.zeros((1, 784)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2 * 784 * 500 + 500 + 784
    with_direct = jax.eval_shape(MADE(784, (500,), 0, direct=True).init, jax.random.key(0), jnp.zeros((1, 784)))
    assert sum(leaf.size for leaf in jax.tree.leaves(with_direct)) == 2 * 784 * 500 + 500 + 784 + 784 * 784


def test_a_network_without_a_hidden_layer_or_mask_is_refused():
    for fields in (dict(hidden=()), dict(members=0)):
        with pytest.raises(ValueError, match="at least"):
            MADE(4, **fields).init(jax.random.key(0), jnp.zeros((1, 4)))
    with pytest.raises(ValueError, match="random or sequential, not 'ordered'"):
        MADE(4, degrees="ordered").init(jax.random.key(0), jnp.zeros((1, 4)))
