from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.efficientnet import (
    RESOLUTIONS,
    SIZES,
    STAGES,
    EfficientNet,
    SqueezeExcite,
    Stage,
    scaled_channels,
    scaled_repeats,
)
from aigc_jax.pretrained.efficientnet import tensors_of_torchvision, tensors_of_transformers
from tests.networks.published import error, images, named, part, run, shapes_of

GOLDEN = Path(__file__).parents[1] / "golden" / "efficientnet.npz"
SMALL = dict(classes=7, width=0.7, depth=1.3, dropout=0.0, drop_connect=0.0, head=64,
             stages=(Stage(1, 3, 1, 16, 1), Stage(6, 5, 2, 24, 2), Stage(4, 3, 2, 40, 1)))  # fmt: skip

TABLE = {
    "b0": (32, (16, 24, 40, 80, 112, 192, 320), (1, 2, 2, 3, 3, 4, 1), 1280),
    "b1": (32, (16, 24, 40, 80, 112, 192, 320), (2, 3, 3, 4, 4, 5, 2), 1280),
    "b2": (32, (16, 24, 48, 88, 120, 208, 352), (2, 3, 3, 4, 4, 5, 2), 1408),
    "b3": (40, (24, 32, 48, 96, 136, 232, 384), (2, 3, 3, 5, 5, 6, 2), 1536),
    "b4": (48, (24, 32, 56, 112, 160, 272, 448), (2, 4, 4, 6, 6, 8, 2), 1792),
    "b5": (48, (24, 40, 64, 128, 176, 304, 512), (3, 5, 5, 7, 7, 9, 3), 2048),
    "b6": (56, (32, 40, 72, 144, 200, 344, 576), (3, 6, 6, 8, 8, 11, 3), 2304),
    "b7": (64, (32, 48, 80, 160, 224, 384, 640), (4, 7, 7, 10, 10, 13, 4), 2560),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_rule_gives_the_published_channels_and_repeats(name):
    width, depth = SIZES[name]["width"], SIZES[name]["depth"]
    scaled = (
        scaled_channels(32, width),
        tuple(scaled_channels(stage.channels, width) for stage in STAGES),
        tuple(scaled_repeats(stage.repeats, depth) for stage in STAGES),
        scaled_channels(1280, width),
    )
    assert scaled == TABLE[name]


def test_the_coefficients_are_about_the_compound_rule():
    """FLOPs grow as depth * width^2 * resolution^2, which is 2^phi: from B2 on about twice at every step."""
    cost = {
        name: fields["depth"] * fields["width"] ** 2 * RESOLUTIONS[name] ** 2 / 224**2 for name, fields in SIZES.items()
    }
    for one, next_one in zip(list(cost)[1:], list(cost)[2:]):
        assert 1.4 < cost[next_one] / cost[one] < 2.9


@pytest.mark.parametrize(
    ("name", "tensors", "fields"),
    [
        ("same", tensors_of_transformers, dict(padding="SAME", eps=1e-3)),
        ("symmetric", tensors_of_torchvision, dict(padding="symmetric", eps=1e-5)),
    ],
)
def test_logits_equal_those_of_transformers_and_torchvision(name, tensors, fields):
    with np.load(GOLDEN) as file:
        golden = part(file, f"{name}/")
    net = EfficientNet(**SMALL, **fields)
    names = {one.ours.partition(".")[2].rpartition(".")[0]: one.theirs[0].rpartition(".")[0] for one in tensors(net)}
    variables = named(net, 36, names.__getitem__, golden)

    def answers(x):
        return net.apply(variables, x)[0], net.apply(variables, x, train=True, mutable=["batch_stats"])[0][0]

    logits, trained = run(answers, images(3, 36, 44))
    assert error(logits, golden["logits"]) < 1e-4
    assert error(trained, golden["train_logits"]) < 1e-4


def test_a_gate_of_one_is_no_gate_and_its_bias_alone_scales_by_its_sigmoid():
    gate, x = SqueezeExcite(2), images(2, 3, 3)
    silent = jax.tree.map(jnp.zeros_like, jax.eval_shape(gate.init, jax.random.key(0), x)["params"])
    for bias in (0.3, 100.0):
        params = {**silent, "expand": {**silent["expand"], "bias": jnp.full(3, bias)}}
        np.testing.assert_allclose(gate.apply({"params": params}, x), x / (1 + np.exp(-bias)), rtol=1e-5)


def test_the_gate_has_a_quarter_of_the_channels_that_the_block_takes_in():
    params = shapes_of(EfficientNet(**SMALL), 36)["params"]
    assert params["stage_2_block_0"]["gate"]["reduce"]["kernel"].shape == (96, 4)
    assert params["stage_3_block_1"]["gate"]["reduce"]["kernel"].shape == (4 * 32, 8)


def test_dropped_branches_leave_the_input_and_rates_grow_by_block():
    """Of a net whose last stage keeps its shape: at the highest rate its output is its input, for some images."""
    stages = (Stage(1, 3, 1, 8, 1), Stage(1, 3, 1, 8, 3))
    net = EfficientNet(
        **{**SMALL, "width": 1.0, "depth": 1.0, "stages": stages, "stem": 8, "head": 8, "drop_connect": 1.0}
    )
    x = images(40, 4, 4)

    def answers(key):
        variables = net.init(key, x)
        return net.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})[0][1]

    features = run(answers, jax.random.key(0))
    np.testing.assert_array_equal((features["stage_1"] == features["stem"]).all((1, 2, 3)), False)  # rate 0
    kept = (features["stage_2"] == features["stage_1"]).all((1, 2, 3))
    assert 0 < kept.mean() < 0.3  # all three branches dropped: 1/4 * 2/4 * 3/4 = 0.09
