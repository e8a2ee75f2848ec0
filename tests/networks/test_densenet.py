from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.densenet import SIZES, DenseNet, cifar
from aigc_jax.networks.layers import conv_form
from aigc_jax.pretrained.densenet import _tensors
from tests.networks.published import (
    check_fingerprint,
    count,
    error,
    images,
    listed,
    random_variables,
    run,
    shapes_of,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "densenet.npz"
SMALL = dict(classes=3, growth=3, blocks=(2, 1), initial=5, stem="cifar")


def test_logits_equal_those_of_torchvision():
    with np.load(GOLDEN) as file:
        golden = dict(file)
    net = DenseNet(classes=7, growth=5, blocks=(2, 3, 1), initial=11)
    variables = listed(net, 67, _tensors(net), golden)

    def answers(x):
        return net.apply(variables, x)[0], net.apply(variables, x, train=True, mutable=["batch_stats"])[0][0]

    logits, trained = run(answers, images(3, 67, 61))
    assert error(logits, golden["logits"]) < 1e-4
    assert error(trained, golden["train_logits"]) < 1e-4


def test_the_cifar_net_of_100_layers_gives_the_fingerprint():
    check_fingerprint(DenseNet(10, **cifar(100, 12, True)), 32, (0.15682593, 0.0017436947, -0.13161797), 0.0011343028,
                      0.091709165, 0)  # fmt: skip


def test_a_block_keeps_its_input_and_adds_k_channels_a_layer():
    net = DenseNet(**SMALL)
    variables, x = random_variables(net, 6), images(2, 6, 6)
    _, features = run(net.apply, variables, x)
    np.testing.assert_array_equal(features["block_1"][..., :5], features["stem"])
    assert [features[name].shape[-1] for name in ("stem", "block_1", "block_2")] == [5, 5 + 2 * 3, (5 + 2 * 3) // 2 + 3]


def test_remat_changes_neither_names_nor_gradients_nor_dropout():
    x, key = images(2, 4, 4), jax.random.key(0)
    nets = [DenseNet(**{**SMALL, "blocks": (1,)}, dropout=0.3, remat=remat) for remat in (False, True)]
    variables = random_variables(nets[0], 6)

    def gradient(net):
        def loss(params):
            (logits, _), moved = net.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"],
                                           rngs={"dropout": key})  # fmt: skip
            return jnp.sum(jnp.sin(logits)), moved

        return jax.grad(loss, has_aux=True)(variables["params"])

    assert jax.tree.structure(shapes_of(nets[0], 6)) == jax.tree.structure(shapes_of(nets[1], 6))
    plain, again = run(lambda: [gradient(net) for net in nets])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), plain, again)
    with conv_form("native"):
        programs = [str(jax.make_jaxpr(lambda net=net: gradient(net))()) for net in nets]
    assert [program.count("remat") > 0 for program in programs] == [False, True]


@pytest.mark.parametrize(
    ("depth", "growth", "compressed", "words"),
    [(40, 12, True, None), (41, 12, True, "6 n \\+ 4 layers, not 41"), (4, 12, False, "3 n \\+ 4 layers, not 4")],
)
def test_depths_of_cifar_nets(depth, growth, compressed, words):
    if words is None:
        assert cifar(depth, growth, compressed)["blocks"] == (6, 6, 6)
        return
    with pytest.raises(ValueError, match=words):
        cifar(depth, growth, compressed)


def test_torchs_161_has_its_count():
    assert count(DenseNet(**SIZES["161"]), 64) == 28_681_000
