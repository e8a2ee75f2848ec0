import chex
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.supervised.resolution import refit_positions
from aigc_jax.networks.layers import resample_positions


def test_tables_of_square_grids_come_to_the_shape_wanted():
    table = jnp.asarray(np.random.default_rng(0).standard_normal((10, 4)), jnp.float32)
    found = refit_positions(1, "bilinear")("params.network.positions", table, (26, 4))
    chex.assert_trees_all_equal(found, resample_positions(table, (3, 3), (5, 5), 1, "bilinear"))
    chex.assert_trees_all_equal(found[0], table[0])
    corners = found[1:].reshape(5, 5, 4)[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, table[1:].reshape(3, 3, 4)[[0, 0, -1, -1], [0, -1, 0, -1]], rtol=1e-6)
    assert refit_positions()("memory.ema.network.stage_1_block_0.attention.bias_table", table[:9], (25, 4)).shape == (
        25,
        4,
    )


@pytest.mark.parametrize(
    "path, length, shape", [("head.kernel", 10, (26, 4)), ("positions", 10, (26, 5)), ("positions", 10, (25, 4))]
)
def test_other_arrays_are_left_to_the_caller(path, length, shape):
    assert refit_positions(1)(path, jnp.zeros((length, 4)), shape) is None
