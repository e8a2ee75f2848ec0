from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.cait import CaiT, ClassBlock, TalkingHeads
from aigc_jax.networks.transformer_block import SelfAttention, attention_maps
from tests.pretrained.folders import arranged

GOLDEN = Path(__file__).parents[1] / "golden" / "cait.npz"
THEIRS = dict(classes=7, patch=4, width=20, depth=3, heads=5)
TINY = dict(classes=5, patch=2, width=12, depth=2, class_depth=1, heads=3)


def random_params(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)


def random_tokens(count=7, width=12, seed=1):
    return np.random.default_rng(seed).standard_normal((2, count, width)).astype(np.float32)


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def test_logits_equal_those_of_timm():
    with np.load(GOLDEN) as file:
        golden = dict(file)
    sizes = dict(img_size=[12, 20], patch_size=4, embed_dim=20, depth=3, num_heads=5)
    config = dict(architecture="cait_xxs24_224", num_classes=7, model_args=sizes)
    params = arranged(config, {name[7:]: value for name, value in golden.items() if name.startswith("weight/")})
    logits, features = jax.jit(CaiT(**THEIRS).apply)({"params": params}, golden["images"].transpose(0, 2, 3, 1))
    assert relative_error(features["trunk"], golden["trunk"]) < 1e-5
    assert relative_error(logits, golden["logits"]) < 1e-5


def test_heads_that_do_not_talk_are_plain_attention():
    x, net, plain = random_tokens(), TalkingHeads(3), SelfAttention(3)
    params = random_params(jax.eval_shape(lambda: plain.init(jax.random.key(0), x, False))["params"])
    identity = {"kernel": np.eye(3), "bias": np.zeros(3)}
    silent = {"talk_before": identity, "talk_after": identity}
    expected = plain.apply({"params": params}, x, False)
    chex.assert_trees_all_close(net.apply({"params": {**params, **silent}}, x, False), expected, rtol=1e-4, atol=1e-5)
    exchanged = {**silent, "talk_after": {**identity, "kernel": np.eye(3)[[1, 0, 2]]}}
    assert relative_error(net.apply({"params": {**params, **exchanged}}, x, False), expected) > 0.1


def test_the_class_stage_reads_patches_as_a_set_and_leaves_them_alone():
    """Its order does not matter; and no token of the class stage can reach the trunk."""
    x, token, net = random_tokens(), random_tokens(1, seed=2), ClassBlock(3, 20, 1.0, 1e-6)
    params = random_params(jax.eval_shape(net.init, jax.random.key(0), token, x)["params"])
    run = jax.jit(lambda x: net.apply({"params": params}, token, x))
    order = np.random.default_rng(3).permutation(7)
    chex.assert_trees_all_close(run(x[:, order]), run(x), rtol=1e-4, atol=1e-5)
    assert relative_error(run(x[:, :4]), run(x)) > 1e-2

    cait, images = CaiT(**TINY), np.random.default_rng(4).standard_normal((2, 6, 8, 3)).astype(np.float32)
    params = random_params(jax.eval_shape(cait.init, jax.random.key(0), images)["params"])
    outputs = jax.jit(lambda token: cait.apply({"params": {**params, "class_token": token}}, images))
    (one, features), (other, others) = outputs(params["class_token"]), outputs(-params["class_token"])
    chex.assert_trees_all_equal(features["trunk"], others["trunk"])
    assert relative_error(one, other) > 1e-2


def test_layer_scale_zero_leaves_patches_and_positions():
    net, images = CaiT(**{**TINY, "layer_scale": 0.0}), np.ones((1, 6, 8, 3), np.float32)
    variables = jax.jit(net.init)(jax.random.key(0), images)
    params = variables["params"]
    _, features = jax.jit(net.apply)(variables, images)
    expected = params["patches"]["kernel"].sum(0) + params["patches"]["bias"] + params["positions"]
    chex.assert_trees_all_close(features["trunk"][0], expected, atol=1e-6)


def test_maps_of_both_stages_scanned_or_not():
    """Class attention sums to one over the class token and the patches; scanning changes no number."""
    images = np.random.default_rng(0).standard_normal((2, 6, 8, 3)).astype(np.float32)
    net, scanned = CaiT(**TINY), CaiT(**TINY, scan=True, remat=True)
    params = random_params(jax.eval_shape(net.init, jax.random.key(0), images)["params"])
    stacked = {name: value for name, value in params.items() if not name.startswith("block_")}
    stacked["blocks"] = jax.tree.map(lambda *leaves: np.stack(leaves), params["block_0"], params["block_1"])

    def maps(net, params):
        return [attention_maps(net, {"params": params}, images, stack) for stack in ("block", "class_block")]

    one, other = jax.jit(lambda: (maps(net, params), maps(scanned, stacked)))()
    chex.assert_trees_all_close(one, other, rtol=1e-3, atol=1e-5)
    assert one[0].shape == (2, 2, 3, 12, 12) and one[1].shape == (1, 2, 3, 1, 13)
    np.testing.assert_allclose(one[1].sum(-1), 1, rtol=1e-5)


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="5 heads do not divide a width of 12"):
        jax.eval_shape(CaiT(**{**TINY, "heads": 5}).init, jax.random.key(0), jnp.zeros((1, 6, 8, 3)))
