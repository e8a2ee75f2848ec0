from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.googlenet import MODULES, GoogLeNet
from aigc_jax.pretrained.googlenet import _tensors
from aigc_jax.pretrained.tensors import conv
from tests.networks.published import (
    check_fingerprint,
    count,
    error,
    images,
    listed,
    part,
    random_variables,
    run,
    shapes_of,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "googlenet.npz"


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        (dict(auxiliary=False), 6_998_552),
        (dict(), 13_378_280),
        (dict(batch_norm=True, auxiliary=False), 6_624_904),
        (dict(batch_norm=True), 13_004_888),
    ],
)
def test_the_four_forms_have_their_counts(fields, parameters):
    assert count(GoogLeNet(**fields), 224) == parameters


def test_maps_have_the_sizes_of_table_1():
    _, features = jax.eval_shape(
        lambda x: GoogLeNet().init_with_output(jax.random.key(0), x)[0], jnp.zeros((1, 224, 224, 3))
    )
    sides = {name: value.shape[1] for name, value in features.items()}
    assert sides["stem"] == sides["3b"] == 28 and sides["4a"] == sides["4e"] == 14 and sides["5b"] == 7
    widths = {name: features[name].shape[-1] for name in MODULES}
    assert list(widths.values()) == [256, 480, 512, 512, 512, 528, 832, 832, 1024]


def biased(ours, theirs):
    """A unit of the paper's net in the script that made the golden file."""
    return conv(f"{ours}.conv", f"{theirs}.0", bias=True)


@pytest.mark.parametrize(("name", "size", "factor"), [("paper", 236, 300), ("batch_norm", 203, 1)])
def test_logits_and_those_of_the_heads_equal_those_of_torchvision(name, size, factor):
    with np.load(GOLDEN) as file:
        golden = part(file, f"{name}/")
    net = GoogLeNet(classes=7, width=1 / 8, batch_norm=name == "batch_norm", dropout=0.0, head_dropout=0.0)
    tensors = _tensors(net) if net.batch_norm else _tensors(net, biased)
    variables = listed(net, 224, tensors, golden)

    def answers(x):
        logits, features = net.apply(variables, x)
        (trained, more), _ = net.apply(variables, x, train=True, mutable=["batch_stats"])
        return logits, features, trained, more["auxiliary"]

    logits, features, trained, heads = run(answers, images(3, size, size, factor))
    assert "auxiliary" not in features
    assert error(logits, golden["logits"]) < 1e-4
    assert error(trained, golden["train_logits"]) < 1e-4
    assert error(heads[0], golden["head_4a"]) < 1e-4 and error(heads[1], golden["head_4d"]) < 1e-4


def test_the_papers_net_gives_the_fingerprint():
    check_fingerprint(GoogLeNet(auxiliary=False), 224, (0.17415081, -0.015143224, -0.10207463), 0.00045114731, 0.099860053,
                      431)  # fmt: skip


SMALL = dict(classes=3, stages=(("3a",), ("4a",)), width=1 / 16, stem="cifar")


def test_heads_change_no_logits_and_dropout_draws():
    """Neither in evaluation nor in training: their gradient is all they give."""
    net, plain = GoogLeNet(**SMALL, head_dropout=0.5), GoogLeNet(**SMALL, auxiliary=False)
    variables, x = random_variables(net, 10), images(2, 10, 10)
    plainly = {"params": {name: value for name, value in variables["params"].items() if "auxiliary" not in name}}

    def answers():
        key = {"dropout": jax.random.key(0)}
        pairs = [
            [one.apply(v, x)[0], one.apply(v, x, train=True, rngs=key)[0]]
            for one, v in ((net, variables), (plain, plainly))
        ]
        return pairs, net.apply(variables, x, train=True, rngs={"dropout": jax.random.key(1)})[0]

    (ours, without), other = run(answers)
    np.testing.assert_array_equal(ours, without)
    assert (ours[1] != other).any()


def test_the_width_of_the_stem_and_the_size_of_a_head_are_checked():
    assert shapes_of(GoogLeNet(**SMALL), 10)["params"]["stem"]["conv"]["kernel"].shape == (3, 3, 3, 12)
    with pytest.raises(ValueError, match=r"average 5 x 5 positions, but the output of 4a has \(4, 4\)"):
        count(GoogLeNet(**SMALL), 8)
