"""Glow, RealNVP and autoregressive layers beside implementations that were not written here, every parameter random."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aigc_jax.probability.bijectors as bij
from aigc_jax.networks import realnvp
from aigc_jax.networks.glow import glow, mark_edge
from aigc_jax.networks.made import MADE
from aigc_jax.probability.distributions import log_normal

GOLDEN = Path(__file__).parents[1] / "golden"


def stored(name):
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def weights_of(file, prefix=""):
    """The arrays that `golden.packed` packed, by name."""
    found, start = {}, 0
    for entry in file[f"{prefix}index"]:
        name, *shape = entry.split()
        shape = tuple(map(int, shape))
        end = start + int(np.prod(shape, dtype=int))
        found[name], start = file[f"{prefix}weights"][start:end].reshape(shape), end
    return found


def kernel(weight):
    return weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T


def close(ours, theirs, tolerance=1e-4):
    assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(theirs)


def both_ways(bijector, variables, x):
    """y, its log-determinant, and x again, by one program; the tree of variables is that of the bijector."""
    shapes = jax.eval_shape(bijector.init, jax.random.key(0), x)
    jax.tree.map(lambda a, b: np.testing.assert_equal(np.shape(a), b.shape), variables, dict(shapes))

    @jax.jit
    def run(variables, x):
        y, log_det = bijector.apply(variables, x)
        return y, log_det, bijector.apply(variables, y, method="inverse_and_log_det")[0]

    return run(jax.tree.map(jnp.asarray, variables), jnp.asarray(x, jnp.float32))


@pytest.mark.parametrize("kind", ["affine", "additive"])
def test_glow_equals_another(kind):
    file = stored("glow")
    w = weights_of(file, f"{kind}/")

    def norm(name):
        return {"bias": w[f"{name}.bias"].ravel(), "log_scale": w[f"{name}.logs"].ravel() / 3}

    def zero(name):
        conv = {"kernel": kernel(w[f"{name}.conv.weight"]), "bias": w[f"{name}.conv.bias"]}
        return {"last": {"zero": {"conv": conv}, "log_scale": w[f"{name}.logs"].ravel()}}

    def step(number):
        at = f"flow.layers.{number}"
        net = {"first": {"conv": {"kernel": kernel(w[f"{at}.block.0.conv.weight"])}},
               "norm_first": norm(f"{at}.block.0.actnorm"), "second": {"kernel": kernel(w[f"{at}.block.2.conv.weight"])},
               "norm_second": norm(f"{at}.block.2.actnorm"), **zero(f"{at}.block.4")}  # fmt: skip
        return {"bijectors_0": norm(f"{at}.actnorm"), "bijectors_1": {"kernel": w[f"{at}.invconv.weight"].T},
                "bijectors_2": {"net": net}}  # fmt: skip

    def steps(*numbers):
        return {"bijectors_1": {"bijector": jax.tree.map(lambda *leaves: np.stack(leaves), *map(step, numbers))}}

    levels = {"levels_0": steps(1, 2), "levels_1": {**steps(5, 6), "bijectors_2": zero("learn_top_fn")}}
    variables = {"params": {"bijectors_1": {**levels, "priors_0": zero("flow.layers.3.conv")}}}
    bijector = glow((8, 4, 1), levels=2, steps=2, width=4, coupling=kind, edge=False)
    noise, log_det, back = both_ways(bijector, variables, file["x"])
    close(log_normal(noise, 0.0, 0.0) + log_det, file[f"{kind}/log_prob"])
    close(noise[:, -file[f"{kind}/top"].shape[1] :], file[f"{kind}/top"])
    close(back, file["x"])
    assert np.std(file[f"{kind}/log_prob"]) > 0.1, "the golden outputs depend on the input"


def test_realnvp_equals_another():
    """It has no norm after couplings, no mask among inputs and another eps: ours get values by which they count for nothing."""
    file = stored("realnvp")
    w = weights_of(file)

    def norm(name):
        stats = {"mean": w[f"{name}.running_mean"], "var": w[f"{name}.running_var"] + 1e-5 - realnvp.EPS}
        return {"params": {"bias": w[f"{name}.bias"]}, "batch_stats": stats}

    def conv(name):
        bias = {"bias": w[f"{name}.conv.bias"]} if f"{name}.conv.bias" in w else {}
        gain = w[f"{name}.conv.weight_g"].ravel()
        return {"params": {"direction": kernel(w[f"{name}.conv.weight_v"]), "gain": gain, **bias}}

    def coupling(name, board):
        at = f"{name}.st_net"
        block = {"norm_1": norm(f"{at}.blocks.0.in_norm"), "conv_1": conv(f"{at}.blocks.0.in_conv"),
                 "norm_2": norm(f"{at}.blocks.0.out_norm"), "conv_2": conv(f"{at}.blocks.0.out_conv"),
                 "skip": conv(f"{at}.skips.0")}  # fmt: skip
        first, last = conv(f"{at}.in_conv"), conv(f"{at}.out_conv")
        if board:
            first["params"]["direction"] = np.pad(first["params"]["direction"], ((0, 0), (0, 0), (0, 1), (0, 0)))
        half = last["params"]["gain"].size // 2  # theirs: all logarithms of scales, then all shifts
        order = np.stack([half + np.arange(half), np.arange(half)], axis=1).reshape(-1)
        last["params"] = {key: value[..., order] for key, value in last["params"].items()}
        norm_in = norm(f"{at}.in_norm")
        alone = {"scale": w[f"{name}.rescale.weight_g"].ravel()[0], "bias_in": norm_in.pop("params")["bias"]}
        parts = {"norm_in": norm_in, "conv_in": first, "skip_in": conv(f"{at}.in_skip"),
                 "norm_out": norm(f"{at}.out_norm"), "conv_out": last}  # fmt: skip

        def collect(collection):
            net = {key: part[collection] for key, part in parts.items() if collection in part}
            stacked = {
                key: jax.tree.map(lambda a: a[None], part[collection])
                for key, part in block.items()
                if collection in part
            }
            return {**net, "blocks": stacked} | (alone if collection == "params" else {})

        return {collection: {"net": collect(collection)} for collection in ("params", "batch_stats")}

    def nothing(channels):  # a norm that leaves what it sees
        return {"mean": np.zeros(channels), "var": np.full(channels, 1 - realnvp.EPS)}

    def reversed_columns(path, leaf):
        return leaf[..., ::-1, :, :] if path[-1].key == "direction" else leaf

    def reversed_channels(path, leaf):
        """What the network of a coupling by channel has to do with the order of channels: its inputs' and its outputs'."""
        names = [entry.key for entry in path]
        if {"norm_in", "bias_in"} & set(names):
            return leaf[::-1]
        if "conv_in" in names and names[-1] == "direction":  # h and -h of each channel
            return leaf.reshape(*leaf.shape[:2], 2, -1, leaf.shape[-1])[..., ::-1, :].reshape(leaf.shape)
        if "conv_out" in names:  # shift and logarithm of the scale of each channel
            return leaf.reshape(*leaf.shape[:-1], -1, 2)[..., ::-1, :].reshape(leaf.shape)
        return leaf

    def couplings(prefix, times, channels, board):
        """All of a kind at a scale; every second one sees columns or channels in reverse order."""

        def step(number):
            found = jax.tree_util.tree_map_with_path(
                (reversed_columns if board else reversed_channels) if number % 2 else lambda path, leaf: leaf,
                coupling(f"{prefix}.{number}", board),
            )
            found["batch_stats"] = {"bijectors_0": found["batch_stats"], "bijectors_1": nothing(channels)}
            return {"params": {"bijectors_0": found["params"]}, "batch_stats": found["batch_stats"]}

        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *map(step, range(times)))
        return {collection: {"bijector": tree} for collection, tree in stacked.items()}

    def variables(collection):
        pixels = couplings("flows.in_couplings", 3, 2, True)[collection]  # each with a reversal after it: an odd number
        halves = couplings("flows.out_couplings", 3, 8, False)[collection]
        last = couplings("flows.next_block.in_couplings", 4, 4, True)[collection]
        first = {"bijectors_0": {"bijectors_0": pixels}, "bijectors_2": {"bijectors_0": halves}}
        return {"bijectors_1": {"levels_0": first, "levels_1": last}}

    both = {collection: variables(collection) for collection in ("params", "batch_stats")}
    noise, log_det, back = both_ways(realnvp.realnvp((4, 8, 2), 1, 3, 1), both, file["y"])
    squeezed, _ = bij.Squeeze(ordered=True).apply({}, jnp.asarray(file["z"]))
    stays, left = jnp.split(squeezed, 2, axis=-1)
    close(noise, np.concatenate([left.reshape(3, -1), stays.reshape(3, -1)], axis=1))
    logits, of_logit = bij.Logit(0.05).apply({}, jnp.asarray(file["y"], jnp.float32))
    close(logits, file["logits"])
    close(log_det - of_logit, file["log_det"], 2e-4)  # a difference of numbers a hundred times as large
    np.testing.assert_allclose(back, file["y"], atol=2e-5)


def test_autoregressive_layers_equal_those_of_nflows():
    """Masks, order of outputs and map; its affine layer has the scale softplus(h_0) + 0.001 and the shift h_1."""
    file = stored("spline")

    def scale(h):
        return jax.nn.softplus(h[..., 0]) + 1e-3

    theirs = bij.Elementwise(
        2,
        lambda x, h: (x * scale(h) + h[..., 1], jnp.log(scale(h))),
        lambda y, h: ((y - h[..., 1]) / scale(h), -jnp.log(scale(h))),
    )
    for name, map in (("affine", theirs), ("spline", bij.rational_quadratic(5, 2.5))):
        w = weights_of(file, f"{name}/")
        layers = ("initial_layer", "blocks.0.linear", "final_layer")
        params = {}
        for i, layer in enumerate(layers):
            at = f"autoregressive_net.{layer}"
            params[f"layers_{i}"] = {"kernel": w[f"{at}.weight"].T, "bias": w[f"{at}.bias"]}
        bijector = bij.Autoregressive(MADE(4, (7, 7), degrees="sequential", outputs=map.numbers), map)
        y, log_det, back = both_ways(bijector, {"params": {"net": params}}, file["x"])
        close(y, file[f"{name}/y"])
        close(log_det, file[f"{name}/log_det"])
        np.testing.assert_allclose(back, file["x"], atol=1e-4)


def test_counts_of_the_released_glow():
    for edge, count in ((True, 44_603_604), (False, 44_135_856)):
        shapes = jax.eval_shape(glow((32, 32, 3), edge=edge).init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count


def test_weight_decay_falls_on_the_gains_of_realnvp_alone():
    params = jax.eval_shape(realnvp.realnvp((4, 4, 1), 1, 3, 1).init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)))[
        "params"
    ]
    marked = jax.tree_util.tree_leaves_with_path(realnvp.gains(params))
    assert {(path[-1].key, hit) for path, hit in marked if hit or path[-1].key == "gain"} == {("gain", True)}


def test_edges_are_marked_on_the_padding_alone():
    x = jnp.full((1, 2, 3, 1), 7.0)
    marked = np.asarray(mark_edge(x))
    assert marked.shape == (1, 4, 5, 2)
    np.testing.assert_array_equal(marked[0, 1:-1, 1:-1, 0], 7)
    assert marked[..., 0].sum() == 7 * 6 and marked[..., 1].sum() == 20 - 6 and not marked[0, 1:-1, 1:-1, 1].any()


def test_glow_begins_as_actnorm_and_rotations_with_the_first_batch_normal():
    """The couplings' last convolutions are zero: y_b = x_b sigmoid(2)."""
    x = jax.random.uniform(jax.random.key(0), (32, 4, 4, 2))
    (noise, _), variables = jax.jit(glow((4, 4, 2), 1, 1, 8).init_with_output)(jax.random.key(1), x)
    noise = np.asarray(noise).reshape(32, 2, 2, 8)
    last = variables["params"]["bijectors_1"]["levels_0"]["bijectors_1"]["bijector"]["bijectors_2"]["net"]["last"]
    assert not np.any(last["zero"]["conv"]["kernel"])
    np.testing.assert_allclose(np.mean(noise, (0, 1, 2)), 0, atol=1e-5)
    total = np.var(noise[..., :4], (0, 1, 2)).sum() + np.var(noise[..., 4:] / jax.nn.sigmoid(2.0), (0, 1, 2)).sum()
    np.testing.assert_allclose(total, 8, rtol=1e-4)  # a rotation keeps the sum of variances
