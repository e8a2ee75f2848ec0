from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.swin import SIZES, Swin, WindowAttention, from_windows, relative_index, same_region, to_windows
from tests.pretrained.folders import arranged

GOLDEN = Path(__file__).parents[1] / "golden" / "swin.npz"
THEIRS = {
    "even": dict(classes=7, patch=2, window=4, width=12, depths=(2, 2), heads=(3, 4), ratio=2.5),
    "odd": dict(classes=7, patch=2, window=3, width=8, depths=(2, 3), heads=(2, 4), ratio=2.5),
}


@pytest.mark.parametrize("name", ["even", "odd"])
def test_logits_equal_those_of_transformers(name):
    """Of "odd", neither patches, windows nor merging fill the map."""
    with np.load(GOLDEN) as file:
        golden = {key.removeprefix(f"{name}/"): value for key, value in file.items() if key.startswith(name)}
    fields = THEIRS[name]
    config = dict(model_type="swin", architectures=["SwinForImageClassification"], num_labels=7, image_size=31,
                  mlp_ratio=2.5, patch_size=2, window_size=fields["window"], embed_dim=fields["width"],
                  depths=fields["depths"], num_heads=fields["heads"])  # fmt: skip
    params = arranged(config, {key[7:]: value for key, value in golden.items() if key.startswith("weight/")})
    logits, _ = jax.jit(Swin(**fields).apply)({"params": params}, golden["images"].transpose(0, 2, 3, 1))
    assert np.linalg.norm(logits - golden["logits"]) < 1e-5 * np.linalg.norm(golden["logits"])


def random_map(height, width, channels=6):
    return np.random.default_rng(0).standard_normal((2, height, width, channels)).astype(np.float32)


def random_params(net, x):
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), x, False))["params"]
    return jax.tree.map(lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("shifted", [False, True])
def test_windows_are_attention_over_the_whole_map_among_those_that_may_see_each_other(shifted):
    """By loops over pairs of tokens of the map: shifted windows begin at -shift and are cut at the edges, not wrapped."""
    size, heads, channels, height, width = 4, 2, 6, 8, 12
    net, x = WindowAttention(heads, size, shifted), random_map(height, width)
    params = random_params(net, x)
    ours = jax.jit(lambda x: net.apply({"params": params}, x, False))(x)

    shift = size // 2 if shifted else 0
    row, column = np.divmod(np.arange(height * width), width)
    window = (row + shift) // size * 100 + (column + shift) // size
    apart = (row[:, None] - row + size - 1) * (2 * size - 1) + column[:, None] - column + size - 1
    allowed = window[:, None] == window
    bias = params["bias_table"][np.where(allowed, apart, 0)]  # [T, T, heads]
    q, k, v = np.split(x.reshape(2, -1, channels) @ params["qkv"]["kernel"] + params["qkv"]["bias"], 3, -1)
    y = np.zeros_like(q)
    for head in range(heads):
        part = slice(head * channels // heads, (head + 1) * channels // heads)
        scores = q[..., part] @ k[..., part].swapaxes(1, 2) / np.sqrt(channels / heads) + bias[..., head]
        weights = np.exp(np.where(allowed, scores, -np.inf))
        y[..., part] = weights / weights.sum(-1, keepdims=True) @ v[..., part]
    expected = (y @ params["out"]["kernel"] + params["out"]["bias"]).reshape(x.shape)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_windows_and_order_within_them():
    """Moving a map by a whole window moves the answer; without bias, tokens within a window are a set."""
    net, x = WindowAttention(2, 4, False), random_map(8, 12)
    params = random_params(net, x)
    run = jax.jit(lambda params, x: net.apply({"params": params}, x, False))
    moved = run(params, np.roll(x, (4, 8), (1, 2)))
    np.testing.assert_allclose(moved, np.roll(run(params, x), (4, 8), (1, 2)), rtol=1e-5, atol=1e-5)

    unbiased = {**params, "bias_table": np.zeros_like(params["bias_table"])}
    order = np.random.default_rng(2).permutation(16)
    shuffled = from_windows(to_windows(x, 4)[:, order], 8, 12, 4)
    for weights, same in ((unbiased, True), (params, False)):
        ordered = to_windows(run(weights, x), 4)[:, order]
        assert np.allclose(to_windows(run(weights, shuffled), 4), ordered, rtol=1e-4, atol=1e-5) == same


def test_windows_put_together_again_are_the_map():
    x = random_map(8, 12)
    windows = to_windows(x, 4)
    assert windows.shape == (2 * 6, 16, 6)
    chex.assert_trees_all_equal(windows[1].reshape(4, 4, 6), x[0, :4, 4:8])
    chex.assert_trees_all_equal(from_windows(windows, 8, 12, 4), x)


def test_a_map_no_larger_than_a_window_does_not_shift():
    x = random_map(4, 4)
    one, other = (WindowAttention(2, window, shifted) for window, shifted in ((4, False), (7, True)))
    params = random_params(one, x)
    assert params["bias_table"].shape == (49, 2)
    chex.assert_trees_all_close(*jax.jit(lambda: [net.apply({"params": params}, x, False) for net in (one, other)])())


def test_relative_positions_and_regions_are_those_published():
    index = relative_index(7)
    assert [index[0, 0], index[0, 1], index[1, 0], index[0, 7], index[0, 48], index[48, 0]] == [84, 83, 85, 71, 0, 168]
    allowed = same_region(56, 56, 7, 3).sum((1, 2)).reshape(8, 8)
    assert allowed[0, 0] == 49**2 and allowed[-1, 0] == allowed[0, -1] == 1225 and allowed[-1, -1] == 625
    assert (allowed < 49**2).sum() == 15
    assert (same_region(14, 14, 7, 3).sum((1, 2)) < 49**2).sum() == 3


def test_features_have_the_sizes_of_the_paper():
    _, features = jax.eval_shape(
        lambda x: Swin(**SIZES["T"]).init_with_output(jax.random.key(0), x)[0], jnp.zeros((1, 224, 224, 3))
    )
    assert {name: value.shape[1:] for name, value in features.items()} == {
        "stage_1": (56, 56, 96),
        "stage_2": (28, 28, 192),
        "stage_3": (14, 14, 384),
        "stage_4": (7, 7, 768),
        "tokens": (7, 7, 768),
        "pooled": (768,),
    }


def test_rematerialised_blocks_and_dropped_ones_train():
    """The same gradient with and without keeping activations, stochastic depth included."""
    x = random_map(8, 8, 3)
    fields = dict(classes=3, patch=2, window=2, width=4, depths=(2,), heads=(2,), drop_path=0.5)
    net = Swin(**fields)
    params = {"params": jax.tree.map(
        lambda leaf: np.random.default_rng(0).standard_normal(leaf.shape).astype(np.float32),
        jax.eval_shape(net.init, jax.random.key(0), x)["params"])}  # fmt: skip

    def gradient(net):
        def scalar(params):
            return jnp.sum(jnp.sin(net.apply(params, x, True, rngs={"dropout": jax.random.key(2)})[0]))

        return jax.grad(scalar)(params)

    one, other = jax.jit(lambda: (gradient(net), gradient(Swin(**fields, remat=True))))()
    chex.assert_trees_all_close(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(depths=(2, 2)), "2 stages have 4 numbers of heads"),
        (dict(heads=(5, 6, 12, 24)), "5 heads do not divide a width of 96"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(Swin(**fields).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
