from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import resample_positions
from aigc_jax.networks.transformer_block import attention_maps
from aigc_jax.networks.vit import SIZES, ViT
from tests.pretrained.folders import arranged

GOLDEN = Path(__file__).parents[1] / "golden" / "vit.npz"
THEIRS = dict(classes=7, patch=4, width=24, depth=2, heads=3, hidden=40, activation="gelu")
CONFIG = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, image_size=[12, 20],
              patch_size=4, num_labels=7)  # fmt: skip
TINY = dict(classes=5, patch=2, width=12, depth=2, heads=3)


def random_params(net, images):
    """Every tensor random, norms and biases too, so that no term is hidden by a zero or a one."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), images)["params"]
    return jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape, np.float32), shapes)


def random_images(height=6, width=8, batch=2):
    return np.random.default_rng(1).standard_normal((batch, height, width, 3), np.float32)


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def golden_params(golden, model):
    start = f"{model}/weight/"
    weights = {name.removeprefix(start): value for name, value in golden.items() if name.startswith(start)}
    head = "ViTForImageClassification" if model == "vit" else "DeiTForImageClassificationWithTeacher"
    params = arranged({**CONFIG, "model_type": model, "architectures": [head]}, weights)
    if model == "vit":  # the pooler is of another model than the head
        kernel, bias = (weights[f"pooler.dense.{part}"] for part in ("weight", "bias"))
        params["representation"] = {"kernel": kernel.T, "bias": bias}
    return params


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def test_vit_equals_that_of_transformers(golden):
    images, params = golden["images"].transpose(0, 2, 3, 1), golden_params(golden, "vit")

    @jax.jit
    def run(params, images):
        variables = {"params": params}
        exact = ViT(**THEIRS)
        without_head = ViT(**{**THEIRS, "classes": 0}, representation=24)
        return {
            "logits": exact.apply(variables, images)[0],
            "logits_tanh": ViT(**{**THEIRS, "activation": "gelu_new"}).apply(variables, images)[0],
            "pooled": without_head.apply(variables, images)[0],
            "attention": attention_maps(exact, variables, images),
        }

    for name, value in run(params, images).items():
        assert relative_error(value, golden[f"vit/{name}"]) < 1e-5, name


def test_deit_equals_that_of_transformers(golden):
    net, images = ViT(**THEIRS, distilled=True), golden["images"].transpose(0, 2, 3, 1)
    logits, features = jax.jit(net.apply)({"params": golden_params(golden, "deit")}, images)
    assert relative_error(logits, golden["deit/class"]) < 1e-5
    assert relative_error(features["distilled"], golden["deit/distilled"]) < 1e-5
    assert relative_error((logits + features["distilled"]) / 2, golden["deit/mean"]) < 1e-5


@pytest.mark.parametrize("method", ["bicubic", "bilinear"])
def test_positions_on_other_grids_are_those_of_torch(golden, method):
    table = golden_params(golden, "vit")["positions"]
    for name, grid in (("grow", (7, 6)), ("shrink", (2, 3))):
        ours = resample_positions(table, (3, 5), grid, 1, method)
        chex.assert_trees_all_equal(ours[0], table[0])
        assert relative_error(ours[1:], golden[f"positions/{name}/{method}"]) < 1e-6
    chex.assert_trees_all_equal(resample_positions(table, (3, 5), (3, 5), 1, method), table)


def test_without_positions_patches_are_a_set():
    """A permutation of the patches permutes their features and leaves the class as it is; with positions it does not."""
    net, images = ViT(**TINY), random_images()
    params = random_params(net, images)
    order = np.random.default_rng(2).permutation(12)
    patches = images.reshape(2, 3, 2, 4, 2, 3).swapaxes(2, 3).reshape(2, 12, 2, 2, 3)
    moved = patches[:, order].reshape(2, 3, 4, 2, 2, 3).swapaxes(2, 3).reshape(images.shape)
    positions = params["positions"]
    tables = {"none": np.zeros_like(positions), "moved": positions[[0, *(1 + order)]], "kept": positions}

    @jax.jit
    def run(positions, images):
        logits, features = net.apply({"params": {**params, "positions": positions}}, images)
        return logits, features["tokens"][:, 1:]

    for name, at_first in (("none", "none"), ("moved", "kept"), ("kept", "kept")):
        (before, tokens), (after, tokens_after) = run(tables[at_first], images), run(tables[name], moved)
        same = [relative_error(after, before) < 1e-5, relative_error(tokens_after, tokens[:, order]) < 1e-5]
        assert same == [name != "kept"] * 2, name


def test_class_and_distillation_token_are_alike():
    """Exchanged with their positions and heads, the averaged logits stay."""
    net, images = ViT(**TINY, distilled=True), random_images()
    params = random_params(net, images)
    swapped = {**params, "class_token": params["distillation_token"], "distillation_token": params["class_token"]}
    swapped |= {"head": params["head_distilled"], "head_distilled": params["head"]}
    swapped["positions"] = params["positions"][[1, 0, *range(2, 14)]]
    run = jax.jit(lambda params: net.apply({"params": params}, images))
    (one, features), (other, exchanged) = run(params), run(swapped)
    chex.assert_trees_all_close(one, exchanged["distilled"], rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(other, features["distilled"], rtol=1e-4, atol=1e-5)
    assert jnp.abs(one - other).max() > 0.1


def test_scan_and_remat_change_no_number():
    images = random_images()
    plain, scanned = ViT(**TINY), ViT(**TINY, scan=True, remat=True)
    params = random_params(plain, images)
    stacked = {name: value for name, value in params.items() if not name.startswith("block_")}
    stacked["blocks"] = jax.tree.map(lambda *leaves: np.stack(leaves), params["block_0"], params["block_1"])

    def all_of(net, params):
        def scalar(params):
            return jnp.sum(jnp.sin(net.apply({"params": params}, images)[0]))

        return jax.value_and_grad(scalar)(params), attention_maps(net, {"params": params}, images)

    (one, maps), (other, stacked_maps) = jax.jit(lambda: (all_of(plain, params), all_of(scanned, stacked)))()
    chex.assert_trees_all_close(one[0], other[0], rtol=1e-5)
    blocks = jax.tree.map(lambda *leaves: np.stack(leaves), one[1]["block_0"], one[1]["block_1"])
    chex.assert_trees_all_close(blocks, other[1]["blocks"], rtol=1e-3, atol=1e-5)
    chex.assert_trees_all_close(maps, stacked_maps, rtol=1e-4, atol=1e-6)
    assert maps.shape == (2, 2, 3, 13, 13)
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)


def test_the_mean_needs_no_class_token():
    net, images = ViT(**{**TINY, "classes": 0}, pool="mean"), random_images()
    params = random_params(net, images)
    logits, features = jax.jit(net.apply)({"params": params}, images)
    assert "class_token" not in params and "head" not in params and features["tokens"].shape == (2, 12, 12)
    chex.assert_trees_all_close(logits, features["pooled"], features["tokens"].mean(1), rtol=1e-6)


@pytest.mark.parametrize(
    "size, fields, count",
    [
        ("B", dict(classes=0), 85_798_656),
        ("B", dict(classes=0, representation=768), 86_389_248),
        ("B", dict(classes=21_843, representation=768), 103_186_515),
        ("L", dict(classes=21_843, representation=1024), 326_740_307),
        ("H", dict(classes=21_843, patch=14, representation=1280), 660_385_363),
        ("B", dict(patch=8), 86_576_872),
    ],
)
def test_representation_layers_and_heads_have_their_counts(size, fields, count):
    net = ViT(**SIZES[size], **fields, scan=True)
    params = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


def test_it_starts_as_published():
    """Xavier over one of queries, keys, values; a head of zeros for ViT, of deviation 0.02 for DeiT."""
    images = np.zeros((1, 4, 4, 3), np.float32)
    sizes = dict(classes=50, patch=2, width=96, depth=1, heads=3)
    vit, deit = jax.jit(
        lambda key: [ViT(**sizes, initializer=kind).init(key, images)["params"] for kind in ("vit", "deit")]
    )(jax.random.key(0))
    assert jnp.abs(vit["block_0"]["attention"]["qkv"]["kernel"]).max() == pytest.approx((6 / 192) ** 0.5, rel=1e-3)
    assert jnp.all(vit["head"]["kernel"] == 0) and jnp.all(vit["class_token"] == 0)
    for kernel in (deit["block_0"]["mlp"]["up"]["kernel"], deit["head"]["kernel"]):
        assert jnp.std(kernel) == pytest.approx(0.02, rel=0.03)


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(patch=4), "patches of 4 x 4 do not fill an image of 6 x 8"),
        (dict(heads=5), "5 heads do not divide a width of 12"),
        (dict(patch=(3, 5)), "patches of 3 x 5 do not fill an image of 6 x 8"),
        (dict(distilled=True, pool="mean"), "stands beside a class token"),
        (dict(class_token=False), "reads a class token"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(ViT(**{**TINY, **fields}).init, jax.random.key(0), random_images())


def test_a_table_of_another_length_is_refused():
    with pytest.raises(ValueError, match="a table of 13 positions is not 1 and a grid of 3 x 5"):
        resample_positions(jnp.zeros((13, 2)), (3, 5), (2, 2), 1)
