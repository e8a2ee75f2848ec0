"""The norms are those of Flax in value, gradients and statistics, and have the properties they are used for."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import BatchNorm, GroupNorm, LayerNorm, RMSNorm, local_response_norm


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def randomised(variables):
    """Random scales, biases and statistics: ones and zeros hide mistakes."""
    leaves, tree = jax.tree.flatten(variables)
    return jax.tree.unflatten(tree, [0.5 + jnp.abs(normal(i, *leaf.shape)) for i, leaf in enumerate(leaves)])


def assert_close(ours, theirs, tolerance: float = 1e-5):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


PAIRS = {
    "group": (GroupNorm(4, 1e-6), nn.GroupNorm(4, epsilon=1e-6, use_fast_variance=False)),
    "layer": (LayerNorm(1e-5), nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)),
    "rms": (RMSNorm(1e-6), nn.RMSNorm(epsilon=1e-6)),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("space", [(), (5,), (5, 3)])
def test_value_and_gradients_are_those_of_flax(name, space):
    ours, theirs = PAIRS[name]
    x = 3.0 + 2.0 * normal(0, 2, *space, 12)
    variables = randomised(jax.eval_shape(theirs.init, jax.random.key(0), x))

    def run(module):
        def scalar(variables, x):
            return jnp.sum(jnp.sin(module.apply(variables, x)))

        return module.apply(variables, x), jax.grad(scalar, argnums=(0, 1))(variables, x)

    assert_close(*jax.jit(lambda: (run(ours), run(theirs)))())


@pytest.mark.parametrize("shape", [(16, 6), (4, 5, 3, 6)])
def test_batch_norm_is_that_of_flax_in_training_and_after(shape):
    ours, theirs = BatchNorm(0.8, 1e-4), nn.BatchNorm(momentum=0.8, epsilon=1e-4, use_fast_variance=False)
    x = 3.0 + 2.0 * normal(0, *shape)
    variables = randomised(jax.eval_shape(lambda k: theirs.init(k, x, use_running_average=True), jax.random.key(0)))

    def run(apply, **after):
        def scalar(params, x):
            y, new = apply({**variables, "params": params}, x, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y)), (y, new)

        gradients, (y, new) = jax.grad(scalar, argnums=(0, 1), has_aux=True)(variables["params"], x)
        return gradients, y, new, after["evaluate"](variables)

    def both():
        one = run(lambda v, x, **o: ours.apply(v, x, True, **o), evaluate=lambda v: ours.apply(v, x, False))
        other = run(
            lambda v, x, **o: theirs.apply(v, x, use_running_average=False, **o),
            evaluate=lambda v: theirs.apply(v, x, use_running_average=True),
        )
        return one, other

    assert_close(*jax.jit(both)())


def test_batch_norm_starts_from_mean_0_and_variance_1_and_init_does_not_move_them():
    variables = BatchNorm().init(jax.random.key(0), 5.0 + normal(0, 8, 3), True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))


def test_batch_statistics_are_those_of_the_global_batch():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    x, module = normal(0, 16, 4), BatchNorm()
    variables = module.init(jax.random.key(0), x, True)
    run = jax.jit(lambda x: module.apply(variables, x, True, mutable=["batch_stats"]))
    cut = jax.device_put(x, jax.sharding.NamedSharding(mesh, jax.P("data")))
    assert_close(run(cut), run(x))


@pytest.mark.parametrize("module", [GroupNorm(2), LayerNorm(), RMSNorm(), BatchNorm()])
def test_a_large_mean_or_scale_does_not_cost_precision(module):
    """(x - mean) first, then its square: the mean of squares less the square of the mean would be noise here."""
    train = (True,) if isinstance(module, BatchNorm) else ()
    x = normal(0, 64, 8)
    variables = module.init(jax.random.key(0), x, *train)
    run = jax.jit(lambda x: module.apply(variables, x, *train, mutable=["batch_stats"])[0])
    shift = 0.0 if isinstance(module, RMSNorm) else 3000.0
    np.testing.assert_allclose(run(x * 100 + shift), run(x), atol=2e-3)


@pytest.mark.parametrize("module", [GroupNorm(2), LayerNorm(), RMSNorm(), BatchNorm()])
def test_half_precision_comes_back_as_it_went_in_and_statistics_are_float32(module):
    train = (True,) if isinstance(module, BatchNorm) else ()
    x = normal(0, 4, 6).astype(jnp.bfloat16)
    variables = module.init(jax.random.key(0), x, *train)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert module.apply(variables, x, *train, mutable=["batch_stats"])[0].dtype == jnp.bfloat16
    assert module.clone(dtype=jnp.float32).apply(variables, x, *train, mutable=["batch_stats"])[0].dtype == jnp.float32


def test_no_scale_and_no_bias_leave_no_parameters():
    for module in (GroupNorm(2, use_scale=False, use_bias=False), LayerNorm(use_scale=False, use_bias=False)):
        assert not module.init(jax.random.key(0), normal(0, 2, 4))


def test_groups_must_divide_the_channels():
    with pytest.raises(ValueError, match="32 groups do not divide 48 channels"):
        GroupNorm().init(jax.random.key(0), jnp.zeros((1, 48)))


@pytest.mark.parametrize(("size", "channels"), [(5, 9), (3, 2), (5, 2)])
def test_response_norm_divides_by_the_squares_of_neighbouring_channels(size, channels):
    x, alpha, beta, k = np.asarray(normal(0, 2, 3, channels)), 0.7, 0.75, 2.0
    expected = np.empty_like(x)
    for c in range(channels):
        near = x[..., max(0, c - size // 2) : c + size // 2 + 1]
        expected[..., c] = x[..., c] / (k + alpha / size * (near**2).sum(-1)) ** beta
    np.testing.assert_allclose(local_response_norm(jnp.asarray(x), size, alpha, beta, k), expected, rtol=1e-5)


def test_response_norm_of_ones_and_without_alpha():
    inner = local_response_norm(jnp.ones((1, 7)), alpha=0.5, k=2.0)[0, 2:5]
    np.testing.assert_allclose(inner, (2 + 0.5) ** -0.75, rtol=1e-6)
    x = normal(0, 4, 6)
    np.testing.assert_array_equal(local_response_norm(x, alpha=0.0), x)
    with pytest.raises(ValueError, match="4 channels has no middle"):
        local_response_norm(x, size=4)
