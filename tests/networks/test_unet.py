from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.flatten_util import ravel_pytree

from aigc_jax.networks.unet import SIZES, UNet, nearest

GOLDEN = Path(__file__).parents[1] / "golden" / "ddpm_unet.npz"
TINY = dict(width=8, multipliers=(1,), blocks=1, attention=(4,), groups=4, dropout=0.0)  # one level: quick to compile
X = np.random.RandomState(0).standard_normal((2, 4, 4, 3)).astype(np.float32)
T = np.array([3, 700])


def shapes(net, x=X[:1]):
    return jax.eval_shape(net.init, jax.random.key(0), jnp.asarray(x), jnp.zeros(len(x), jnp.int32))["params"]


@partial(jax.jit, static_argnums=0)
def random_params(net):
    leaves, tree = jax.tree.flatten(shapes(net))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(tree, [0.3 * jax.random.normal(k, leaf.shape) for k, leaf in zip(keys, leaves)])


@partial(jax.jit, static_argnums=(0, 5))
def run(net, params, x, t, label=None, train=False):
    return net.apply({"params": params}, x, t, label, train=train, rngs={"dropout": jax.random.key(2)})


def test_the_defaults_are_the_network_of_cifar():
    assert UNet(**SIZES["32"]) == UNet()


def fill(net, paths, x):
    """The number that tests/golden/make_ddpm_unet.py put into every tensor; layouts there are (out, in, height, width)."""
    tree = {"/".join(path): leaf.shape for path, leaf in flatten_dict(shapes(net, x)).items()}
    assert sorted(paths) == sorted(tree)
    filled = {}
    for index, path in enumerate(paths):
        shape = tree[path]
        if path.endswith("embedding") or len(shape) == 1:
            order = tuple(range(len(shape)))
        else:
            order = (3, 2, 0, 1) if len(shape) == 4 else (1, 0)
        theirs = [shape[axis] for axis in order]
        value = np.random.RandomState(index).standard_normal(theirs)
        value = value / np.sqrt(np.prod(theirs[1:])) if value.ndim > 1 else 0.1 * value + path.endswith("scale")
        filled[tuple(path.split("/"))] = value.transpose(np.argsort(order)).astype(np.float32)
    return unflatten_dict(filled)


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def test_an_odd_network_with_random_weights_equals_that_of_diffusers():
    net = UNet(width=12, multipliers=(1, 2, 2), blocks=1, attention=(6,), heads=2, groups=3, out_channels=5,
               num_classes=4)  # fmt: skip
    with np.load(GOLDEN) as golden:
        x = np.random.RandomState(12345).standard_normal((3, 2, 12, 20)).transpose(0, 2, 3, 1).astype(np.float32)
        params = fill(net, golden["odd/paths"].tolist(), x)
        ours = run(net, params, x, golden["odd/t"], golden["odd/label"])
        assert relative_error(ours, golden["odd/y"]) < 1e-4


def test_the_network_of_the_paper_with_random_weights_equals_that_of_diffusers():
    net = UNet()
    with np.load(GOLDEN) as golden:
        x = np.random.RandomState(12345).standard_normal((1, 3, 32, 32)).transpose(0, 2, 3, 1).astype(np.float32)
        params = fill(net, golden["cifar/paths"].tolist(), x)
        ours = run(net, params, np.repeat(x, 4, axis=0), golden["cifar/t"])
        assert relative_error(ours, golden["cifar/y"]) < 1e-4
        # the same values by an implementation independent of diffusers, t = 0, 10, 500, 999
        np.testing.assert_allclose(ours[:, 0, 0, 0], [0.34881296, 0.22974700, 0.34238909, 0.26298936], atol=1e-4)
        np.testing.assert_allclose(
            jnp.mean(ours, (1, 2, 3)), [-0.0614434, -0.06568365, -0.02721246, -0.04431792], atol=1e-4
        )


def test_a_new_network_is_zero_and_its_residuals_are_the_identity():
    net = UNet(**TINY)
    params = net.init(jax.random.key(0), X, T)["params"]
    assert not np.any(run(net, params, X, T))
    alive = flatten_dict(params)
    zeros = {"/".join(path) for path, leaf in alive.items() if path[-1] == "kernel" and not np.any(leaf)}
    assert "conv_out/kernel" in zeros and "middle_attention/out/kernel" in zeros
    assert sum("block" in path for path in zeros) == 1 + 2 + 2  # one convolution of each block: down, middle, up


def test_no_label_is_the_last_row_of_the_table():
    net = UNet(**TINY, num_classes=3)
    params = random_params(net)
    np.testing.assert_array_equal(run(net, params, X, T), run(net, params, X, T, np.array([3, 3])))
    assert np.abs(run(net, params, X, T) - run(net, params, X, T, np.array([0, 3])))[0].max() > 1e-3


def test_the_output_depends_on_t_and_examples_do_not_on_each_other():
    net = UNet(**TINY)
    params = random_params(net)
    both = run(net, params, X, T)
    other = run(net, params, np.stack([-X[0], X[1]]), T)
    np.testing.assert_allclose(both[1], other[1], atol=1e-5)
    assert np.abs(both[0] - other[0]).max() > 1e-3
    assert np.abs(both - run(net, params, X, T + 100)).max() > 1e-3


def test_rematerialised_blocks_have_the_same_value_and_gradient():
    params = random_params(UNet(**TINY))

    def value_and_gradient(remat):
        return jax.value_and_grad(lambda p: jnp.sum(run(UNet(**TINY, remat=remat), p, X, T) ** 2))(params)

    kept, recomputed = (ravel_pytree(value_and_gradient(remat))[0] for remat in (False, True))
    assert relative_error(recomputed, kept) < 1e-4


def test_dropout_acts_in_training_only():
    net = UNet(**{**TINY, "dropout": 0.5})
    params = random_params(net)
    np.testing.assert_array_equal(run(net, params, X, T), run(net.clone(dropout=0.0), params, X, T))
    assert np.abs(run(net, params, X, T, None, True) - run(net, params, X, T)).max() > 1e-3


def test_up_sampling_repeats_pixels():
    np.testing.assert_array_equal(nearest(jnp.asarray(X)), X.repeat(2, axis=1).repeat(2, axis=2))


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=r"2 levels need sides that 2 divides, got \(7, 8\)"):
        shapes(UNet(**{**TINY, "multipliers": (1, 2)}), np.zeros((1, 7, 8, 3)))
    with pytest.raises(ValueError, match="labels were given"):
        UNet(**TINY).init(jax.random.key(0), X, T, np.array([0, 1]))
    with pytest.raises(ValueError, match="3 heads do not divide 8"):
        shapes(UNet(**TINY, heads=3))
