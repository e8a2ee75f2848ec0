from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.dcgan import Discriminator, Generator

GOLDEN = Path(__file__).parents[1] / "golden" / "gan_dcgan.npz"
SMALL = dict(width=6, levels=3)


def variables(net, x):
    return jax.eval_shape(partial(net.init, train=False), jax.random.key(0), x)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_counts_are_those_of_the_released_model():
    generator = variables(Generator(), jnp.zeros((1, 100)))
    discriminator = variables(Discriminator(), jnp.zeros((1, 64, 64, 3)))
    assert count(generator["params"]) == 18_885_760
    assert count(discriminator["params"]) == 17_232_768
    assert not [path for path, _ in jax.tree_util.tree_leaves_with_path(generator["params"]) if "conv" in str(path)
                and "bias" in str(path)]  # fmt: skip


def test_weights_start_as_released():
    net = Generator(size=16, width=64, levels=2)
    params = jax.jit(partial(net.init, train=False))(jax.random.key(0), jnp.zeros((1, 50)))["params"]
    for kernel in (params["linear"]["kernel"], params["conv_1"]["kernel"]):
        np.testing.assert_allclose([kernel.mean(), kernel.std()], [0, 0.02], atol=3e-4)
    gains = params["norm_0"]["scale"]
    np.testing.assert_allclose([gains.mean(), gains.std()], [1, 0.02], atol=2e-3)
    assert not np.any(params["norm_0"]["bias"])


def filled(net, x, weights):
    """The stored weights of one network, under the names they have in it."""
    shapes = variables(net, x)
    taken = jax.tree_util.tree_map_with_path(lambda path, leaf: weights["/".join(str(key.key) for key in path)], shapes)
    jax.tree.map(lambda value, leaf: np.testing.assert_equal(value.shape, leaf.shape), taken, shapes)
    return taken


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize("train", [False, True])
def test_both_networks_equal_those_written_in_torch(train):
    mode = "train" if train else "eval"
    with np.load(GOLDEN) as file:
        golden = dict(file)
    for name, net, given in (
        ("generator", Generator(16, 2, **SMALL), "z"),
        ("discriminator", Discriminator(**SMALL), "x"),
    ):
        x = jnp.asarray(golden[given])
        weights = {key.removeprefix(f"{name}/"): value for key, value in golden.items() if key.startswith(f"{name}/")}
        net_variables = filled(net, x, weights)
        out, after = jax.jit(partial(net.apply, train=train, mutable=["batch_stats"]))(net_variables, x)
        out = out["logits"] if name == "discriminator" else out
        assert relative_error(out, golden[f"{mode}/{name}"]) < 1e-4
        if train:
            moved = after["batch_stats"]["norm_1"]["mean"]
            assert relative_error(moved, golden[f"train/{name}/norm_1/mean"]) < 1e-4


def test_features_of_every_level_are_returned():
    net = Discriminator(width=4, levels=2)
    x = jnp.ones((3, 8, 8, 1))
    out, _ = jax.eval_shape(partial(net.init_with_output, train=False), jax.random.key(0), x)
    assert [h.shape for h in out["features"]] == [(3, 4, 4, 4), (3, 2, 2, 8)]
    assert out["logits"].shape == (3,)


def test_a_size_that_does_not_halve_is_an_error():
    with pytest.raises(ValueError, match="3 halvings need a size that 8 divides, got 12"):
        variables(Generator(12, 1, **SMALL), jnp.zeros((1, 5)))
    with pytest.raises(ValueError, match="3 halvings need a size that 8 divides, got 4"):
        variables(Discriminator(**SMALL), jnp.zeros((1, 4, 4, 1)))
