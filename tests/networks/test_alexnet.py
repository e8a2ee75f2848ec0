from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.alexnet import SIZES, AlexNet
from aigc_jax.pretrained.alexnet import _tensors
from tests.networks.published import check_fingerprint, count, error, images, listed, named, random_variables, run

GOLDEN = Path(__file__).parents[1] / "golden" / "alexnet.npz"
SMALL = dict(classes=7, widths=(6, 10, 14, 8, 12), hidden=18)


@pytest.mark.parametrize(
    ("name", "size", "parameters"), [("two-tower", 227, 60_965_224), ("one-weird-trick", 224, 61_100_840)]
)
def test_sizes_have_their_counts(name, size, parameters):
    assert count(AlexNet(**SIZES[name]), size) == parameters


def test_without_groups_the_towers_have_the_known_count():
    assert count(AlexNet(**{**SIZES["two-tower"], "groups": 1}), 227) == 62_378_344


def of_plain_torch(module):
    """Ours -> the layers of the two-tower net in the script that made the golden file."""
    features, linear = dict(zip(range(1, 6), (0, 4, 8, 10, 12))), {"dense_6": 0, "dense_7": 2, "head": 4}
    return f"2.{linear[module]}" if module in linear else f"0.{features[int(module[-1])]}"


@pytest.mark.parametrize(("name", "shape"), [("one-weird-trick", (171, 163)), ("two-tower", (227, 227))])
def test_logits_equal_those_of_torch(name, shape):
    net = AlexNet(**{**SIZES[name], **SMALL})
    single = name == "one-weird-trick"
    variables = listed(net, 227, _tensors(net)) if single else named(net, 227, of_plain_torch, grids={"dense_6": 6})
    logits, _ = run(net.apply, variables, images(2, *shape, 300))
    with np.load(GOLDEN) as golden:
        assert error(logits, golden[f"{name}/logits"]) < 1e-5


def test_the_full_two_towers_give_the_fingerprint():
    check_fingerprint(AlexNet(**SIZES["two-tower"]), 227, (0.8316153, 0.24147638, -0.035993356), 0.0032985552, 0.61830793,
                      190, grids={"dense_6": 6})  # fmt: skip


SMALL_IMAGES = dict(classes=3, widths=(4, 6, 8, 6, 4), stem=(3, 1, 1), grid=1, hidden=5)


def test_a_tower_sees_the_other_in_the_third_layer_alone():
    """The gradient of one tower's half of a layer by the weights of the other tower's first layer."""
    net = AlexNet(**SMALL_IMAGES, response_norm=False)
    variables, x = random_variables(net, 16), images(1, 16, 16)

    def reach(layer):
        def half(kernel):
            params = {**variables["params"], "conv_1": {**variables["params"]["conv_1"], "kernel": kernel}}
            y = net.apply({"params": params}, x)[1][layer]
            return jnp.sum(y[..., : y.shape[-1] // 2])

        return jnp.abs(jax.grad(half)(variables["params"]["conv_1"]["kernel"])).sum((0, 1, 2))  # [4]

    second, third = run(lambda: (reach("conv_2"), reach("conv_3")))
    assert second[:2].all() and not second[2:].any() and third.all()


def test_biases_begin_as_the_paper_says_and_dropout_draws():
    net = AlexNet(**SMALL_IMAGES)
    x = images(1, 16, 16)

    def answers(key):
        variables = net.init(key, x)
        drawn = [net.apply(variables, x, train=True, rngs={"dropout": key})[0] for key in jax.random.split(key, 2)]
        return variables, drawn

    variables, (one, other) = run(answers, jax.random.key(0))
    biases = {name: float(jnp.unique(layer["bias"])[0]) for name, layer in variables["params"].items()}
    assert biases == {
        "conv_1": 0,
        "conv_2": 1,
        "conv_3": 0,
        "conv_4": 1,
        "conv_5": 1,
        "dense_6": 1,
        "dense_7": 1,
        "head": 0,
    }
    assert (one != other).any()


def test_an_image_that_pooling_uses_up_is_refused():
    with pytest.raises(ValueError, match="an image of 12 x 12 is too small for three poolings"):
        count(AlexNet(**SMALL_IMAGES), 12)
