from functools import partial

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest

from aigc_jax.networks.transformer_block import Block, SelfAttention, patch_map, run_blocks


class Stack(nn.Module):
    """What networks do with their blocks."""

    rates: tuple[float, ...]
    scan: bool = False
    remat: bool = False
    layer_scale: float | None = None

    @nn.compact
    def __call__(self, x, train=False):
        make = partial(Block, partial(SelfAttention, 2), 10, layer_scale=self.layer_scale)
        return run_blocks(make, x, self.rates, train, self.scan, self.remat)


X = np.random.default_rng(0).standard_normal((64, 3, 8)).astype(np.float32)


def test_layer_scale_zero_is_the_identity():
    net = Stack((0.0,), layer_scale=0.0)
    variables = jax.jit(net.init)(jax.random.key(0), X)
    chex.assert_trees_all_equal(jax.jit(net.apply)(variables, X), X)
    gammas = {name for name in variables["params"]["block_0"] if name.startswith("gamma")}
    assert gammas == {"gamma_attention", "gamma_mlp"}


@pytest.mark.parametrize("scan, remat", [(False, False), (True, True)])
def test_a_dropped_block_is_left_out_of_some_examples(scan, remat):
    """Rates belong to their blocks: the first never falls out, the second for most examples, by both of its branches."""
    net = Stack((0.0, 0.8), scan, remat)
    variables = jax.jit(net.init)(jax.random.key(0), X)
    first = variables["params"].get("block_0")
    if scan:
        first = jax.tree.map(lambda leaf: leaf[0], variables["params"]["blocks"])
    after_one = jax.jit(Stack((0.0,)).apply)({"params": {"block_0": first}}, X)
    y = jax.jit(lambda key: net.apply(variables, X, train=True, rngs={"dropout": key}))(jax.random.key(1))
    untouched = np.all(np.isclose(y, after_one, atol=1e-6), axis=(1, 2))
    assert 0.4 < untouched.mean() < 0.85  # 0.64
    assert not np.any(np.all(y == X, axis=(1, 2)))


def test_patches_start_as_those_of_torch():
    """Kernel and bias uniform up to 1 / sqrt(fan-in): a patch of one pixel keeps more than its sign through a norm."""
    params = jax.jit(patch_map(500, 16, None).init)(jax.random.key(0), np.zeros((1, 16), np.float32))["params"]
    for leaf in (params["kernel"], params["bias"]):
        assert np.abs(leaf).max() <= 0.25 and np.std(leaf) == pytest.approx(0.25 / 3**0.5, rel=0.1)
