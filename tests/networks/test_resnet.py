import math
import re
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.resnet import SIZES, ResNet, cifar

GOLDEN = Path(__file__).parents[1] / "golden" / "resnet.npz"
BASIC = dict(classes=7, depths=(2, 1, 1, 1), widths=(6, 10, 14, 18), bottleneck=False)
BOTTLENECK = dict(classes=7, depths=(2, 2, 1), widths=(5, 7, 9), bottleneck=True)


def shapes_of(net, size=32):
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))


def random_variables(net):
    """Every tensor random, variances positive."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        x = 0.3 * rng.standard_normal(leaf.shape, np.float32)
        return np.exp(x) if path[-1].key == "var" else x

    return jax.tree_util.tree_map_with_path(draw, shapes_of(net))


def images(size=16, batch=2):
    return np.random.default_rng(1).standard_normal((batch, size, size, 3), np.float32)


def test_the_trunk_of_resnet_50_has_its_count():
    params = shapes_of(ResNet(**{**SIZES["50"], "classes": 0}))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 23_508_032


def from_transformers(weights):
    """Names of transformers -> ours; convolutions (O, I, H, W) -> (H, W, I, O), linear maps transposed."""
    params = {"head": {"kernel": weights["classifier.1.weight"].T, "bias": weights["classifier.1.bias"]}}
    stats = {}

    def layer(theirs, within, name):
        """One convolution and its norm, into the block `within` or, for the stem, the net itself."""
        norm = {
            kind: weights[f"{theirs}.normalization.{kind}"]
            for kind in ("weight", "bias", "running_mean", "running_var")
        }
        conv = {"kernel": weights[f"{theirs}.convolution.weight"].transpose(2, 3, 1, 0)}
        inner, moved = (tree.setdefault(within, {}) if within else tree for tree in (params, stats))
        inner |= {f"conv_{name}": conv, f"norm_{name}": {"scale": norm["weight"], "bias": norm["bias"]}}
        moved[f"norm_{name}"] = {"mean": norm["running_mean"], "var": norm["running_var"]}

    layer("resnet.embedder.embedder", None, "stem")
    for name in weights:
        found = re.match(r"(.*stages.(\d).layers.(\d).(?:layer.(\d)|shortcut)).convolution.weight", name)
        if found:
            theirs, stage, block, index = found.groups()
            layer(theirs, f"stage_{int(stage) + 1}_block_{block}", int(index) + 1 if index else "shortcut")
    return {"params": params, "batch_stats": stats}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def golden_variables(golden, name):
    start = f"{name}/weight/"
    return from_transformers({key.removeprefix(start): value for key, value in golden.items() if key.startswith(start)})


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


@pytest.mark.parametrize(
    "name, fields, answer",
    [
        ("basic", BASIC, "basic/logits"),
        ("bottleneck", BOTTLENECK, "bottleneck/logits"),
        ("bottleneck", dict(BOTTLENECK, stride_first=True), "bottleneck/logits_stride_first"),
    ],
)
def test_logits_equal_those_of_transformers(golden, name, fields, answer):
    x = golden["images"].transpose(0, 2, 3, 1)
    logits, _ = jax.jit(ResNet(**fields).apply)(golden_variables(golden, name), x)
    assert relative_error(logits, golden[answer]) < 1e-5


@pytest.mark.parametrize("name, fields", [("basic", BASIC), ("bottleneck", BOTTLENECK)])
def test_training_uses_the_statistics_of_the_batch_and_keeps_a_tenth_of_them(golden, name, fields):
    x, net = golden["images"].transpose(0, 2, 3, 1), ResNet(**fields)
    train = jax.jit(partial(net.apply, train=True, mutable=["batch_stats"]))
    (logits, _), moved = train(golden_variables(golden, name), x)
    assert relative_error(logits, golden[f"{name}/train_logits"]) < 1e-4
    last = f"stage_{len(fields['depths'])}_block_{fields['depths'][-1] - 1}"
    mean = moved["batch_stats"][last][f"norm_{3 if fields['bottleneck'] else 2}"]["mean"]
    assert relative_error(mean, golden[f"{name}/train_mean"]) < 1e-4


def fingerprint(path, leaf):
    """The deterministic filling of a tensor by its index in torch's layout, see the golden rows below."""
    name, shape = path[-1].key, leaf.shape
    j = np.arange(1, shape[0] + 1)
    filling = {
        "scale": 1 + 0.1 * np.sin(j),
        "bias": 0.1 * np.cos(j),
        "mean": 0.1 * np.sin(2 * j),
        "var": 1 + 0.3 * np.cos(j),
    }
    if name in filling:
        return filling[name].astype(np.float32)
    shape = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else (shape[1], shape[0])  # (O, I, H, W) or (O, I)
    index = [*np.indices(shape, sparse=True), 0, 0]
    phase = (37 * (index[0] + 1) * (index[1] + 1) + 131 * index[2] + 211 * index[3]) % 1009
    value = math.sqrt(2 / math.prod(shape[1:])) * np.sin(2 * np.pi * phase / 1009)
    return (value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T).astype(np.float32)


@pytest.mark.parametrize(
    "fields, size, first, mean, std, largest",
    [
        (dict(classes=10, **cifar(20)), 32, (117.81894, -94.307459, 130.76677), 6.0734627, 87.541715, 2),
        (SIZES["18"], 224, (251.37422, 464.49669, 457.29351), 2.0214234, 197.61123, 899),
        (SIZES["50"], 224, (31674.667, 14020.493, 6395.5332), 55.768386, 2855.4801, 0),
    ],
    ids=["cifar-20", "18", "50"],
)
def test_full_size_nets_give_the_logits_of_torchvision(fields, size, first, mean, std, largest):
    """Rows computed in float64 by torchvision (18, 50) and by a plain torch net (CIFAR, option A)."""
    net = ResNet(**fields)
    variables = jax.tree_util.tree_map_with_path(fingerprint, shapes_of(net))
    h, w, c = np.indices((size, size, 3), sparse=True)
    x = np.sin(2 * np.pi * (((c + 1) * (7 * h + 13 * w + 1)) % 101) / 101).astype(np.float32)
    logits = np.asarray(jax.jit(net.apply)(variables, x[None])[0][0], np.float64)
    np.testing.assert_allclose(logits[:3], first, rtol=1e-3)
    np.testing.assert_allclose([logits.mean(), logits.std()], [mean, std], rtol=1e-3)
    assert logits.argmax() == largest


def test_blocks_whose_last_norm_has_scale_zero_are_their_shortcut():
    """So that depth has no effect: relu(x) = x after a relu."""
    sizes = dict(classes=3, widths=(4, 6), bottleneck=False, zero_last=True, stem="cifar")
    net = ResNet(**sizes, depths=(2, 2))
    variables = jax.jit(net.init)(jax.random.key(0), images())
    _, features = jax.jit(net.apply)(variables, images())
    chex.assert_trees_all_equal(features["stage_1"], features["stem"])
    first = {kind: {name: value for name, value in tree.items() if not name.endswith("block_1")}
             for kind, tree in variables.items()}  # fmt: skip
    _, fewer = jax.jit(ResNet(**sizes, depths=(1, 1)).apply)(first, images())
    chex.assert_trees_all_close(fewer["pooled"], features["pooled"], atol=1e-6)


def test_the_place_of_the_stride_matters_only_where_there_is_one():
    for widths, same in (((4,), True), ((4, 5), False)):
        sizes = dict(classes=3, depths=(1,) * len(widths), widths=widths, stem="cifar")
        nets = [ResNet(**sizes, stride_first=first) for first in (False, True)]
        one, other = (jax.jit(net.apply)(random_variables(nets[0]), images())[0] for net in nets)
        assert jnp.array_equal(one, other) == same


def test_option_a_takes_every_second_pixel_and_appends_zeros():
    net = ResNet(classes=3, depths=(1, 1), widths=(4, 6), bottleneck=False, stem="cifar", shortcut="pad")
    variables = random_variables(net)
    block = "stage_2_block_0"
    assert set(variables["params"][block]) == {"conv_1", "norm_1", "conv_2", "norm_2"}
    silent = jax.tree.map(jnp.zeros_like, variables["params"][block])
    _, features = jax.jit(net.apply)({**variables, "params": {**variables["params"], block: silent}}, images())
    chex.assert_trees_all_equal(features["stage_2"][..., :4], features["stage_1"][:, ::2, ::2])
    assert jnp.all(features["stage_2"][..., 4:] == 0)


def test_features_have_the_sizes_of_table_1():
    _, features = jax.eval_shape(
        lambda x: ResNet(**SIZES["50"]).init_with_output(jax.random.key(0), x)[0], jnp.zeros((1, 224, 224, 3))
    )
    sizes = {name: value.shape[1:] for name, value in features.items()}
    assert sizes == {
        "stem": (56, 56, 64),
        "stage_1": (56, 56, 256),
        "stage_2": (28, 28, 512),
        "stage_3": (14, 14, 1024),
        "stage_4": (7, 7, 2048),
        "pooled": (2048,),
    }


def test_without_classes_the_pooled_features_are_the_answer():
    net = ResNet(**{**BASIC, "classes": 0})
    variables = random_variables(net)
    answer, features = jax.jit(net.apply)(variables, images())
    assert "head" not in variables["params"]
    chex.assert_trees_all_equal(answer, features["pooled"], features["stage_4"].mean((1, 2)))


def test_initial_kernels_are_he_normal_by_fan_out():
    net = ResNet(classes=90, depths=(1,), widths=(64,), bottleneck=False)
    params = jax.jit(net.init)(jax.random.key(0), images())["params"]
    assert jnp.std(params["conv_stem"]["kernel"]) == pytest.approx(math.sqrt(2 / (49 * 64)), rel=0.03)
    assert jnp.std(params["stage_1_block_0"]["conv_2"]["kernel"]) == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert jnp.abs(params["head"]["kernel"]).max() == pytest.approx(1 / math.sqrt(64), rel=1e-3)


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_a_cifar_depth_is_six_n_plus_two(depth):
    with pytest.raises(ValueError, match=f"6 n \\+ 2 layers .* not {depth}"):
        cifar(depth)


def test_the_width_of_a_cifar_net_is_a_whole_number_of_channels():
    assert cifar(20, 0.5)["widths"] == (8, 16, 32)
    with pytest.raises(ValueError, match="width of 0.3 are 4.8"):
        cifar(20, 0.3)
