"""Weight normalization: the formula, and the beginning by a batch that devices share."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from aigc_jax.networks.layers import conv
from aigc_jax.networks.layers.weight_norm import WeightNorm

LAYER = WeightNorm(5, (2, 3), partial(conv, padding="VALID"), scale=0.3)
X = np.random.default_rng(0).normal(1, 2, (8, 4, 6, 3)).astype(np.float32)


def test_the_kernel_is_the_gain_times_the_direction_of_unit_length():
    rng = np.random.default_rng(1)
    v, g, b = rng.normal(size=(2, 3, 3, 5)), rng.normal(size=5), rng.normal(size=5)
    with jax.enable_x64(True):
        params = {"params": {"direction": jnp.asarray(v), "gain": jnp.asarray(g), "bias": jnp.asarray(b)}}
        y = LAYER.apply(params, jnp.asarray(X, jnp.float64))
        kernel, bias = LAYER.bind(params).kernel()
    np.testing.assert_allclose(np.linalg.norm(kernel.reshape(-1, 5), axis=0), np.abs(g), rtol=1e-12)
    np.testing.assert_array_equal(bias, b)
    windows = np.lib.stride_tricks.sliding_window_view(X, (2, 3), (1, 2))  # [B, 3, 4, C, 2, 3]
    unit = v / np.sqrt((v**2).sum((0, 1, 2)))
    np.testing.assert_allclose(y, np.einsum("bijcde,decf->bijf", windows, unit) * g + b, rtol=1e-10, atol=1e-10)


def test_the_first_batch_sets_mean_and_deviation_over_all_devices():
    mesh = jax.make_mesh((8,), ("data",))
    shared = jax.device_put(X, NamedSharding(mesh, PartitionSpec("data")))
    init = jax.jit(LAYER.init)
    params, over = init(jax.random.key(0), X), init(jax.random.key(0), shared)
    y = LAYER.apply(params, X)
    np.testing.assert_allclose(np.mean(y, (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(y, (0, 1, 2)), 0.3, rtol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), params, over)
