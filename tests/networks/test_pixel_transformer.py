"""Transformers over values: what each sees, that all states sum to one, draws with a ring of keys and values, parity.

Every parameter is random. Parity is with transformers' ImageGPT (golden/make_image_gpt.py).
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.likelihood.pixels import nll
from aigc_jax.networks.pixel_transformer import PixelTransformer, SoundTransformer
from aigc_jax.probability.pixel_outputs import bernoulli, categorical

GOLDEN = Path(__file__).parent.parent / "golden" / "image_gpt.npz"
SHAPE = (2, 5, 3)
TINY = dict(levels=4, outputs=4, length=30, colours=3, row=15, width=8, depth=2, heads=2)
NETS = {
    "full": partial(PixelTransformer, **TINY),
    "full, by distance": partial(PixelTransformer, **TINY, positions="distance"),
    "local": partial(PixelTransformer, **TINY, block=4, memory=6),
    "local, by distance": partial(PixelTransformer, **TINY, block=4, memory=3, positions="distance"),
    "local, after the norm": partial(
        PixelTransformer, **TINY, block=7, memory=7, positions="grid", norm="post", activation="relu"
    ),
}


def random_params(net, x, size=0.5, **label):
    shapes = jax.eval_shape(partial(net.init, jax.random.key(0)), x, **label)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(size * rng.normal(size=leaf.shape), jnp.float32), shapes)


def values(levels=4, shape=SHAPE, n=3):
    return jnp.asarray(np.random.default_rng(2).integers(0, levels, (n, *shape)))


def allowed(net):
    """[T, T]: which places a place sees in one layer, by the definition, one pair at a time."""
    seen = np.zeros((net.length, net.length), bool)
    for t, s in itertools.product(range(net.length), repeat=2):
        first = t // net.block * net.block - net.memory if net.block else 0
        seen[t, s] = first <= s <= t
    return seen


@pytest.mark.parametrize("name", NETS)
def test_a_value_moves_with_the_values_before_it_that_it_can_see_and_with_no_other(name):
    """Exact zeros at and after; before, all of full attention, and of local attention what two layers reach."""
    net, x = NETS[name](), values(n=1)
    params = random_params(net, x)
    h = net.apply({"params": params}, x, method="embed")
    moves = jax.jit(jax.jacrev(lambda h: net.apply({"params": params}, h, method="transform")[0]))(h)
    moved = np.abs(np.asarray(moves)).sum((1, 2, 4))  # [T, T]
    reach = np.linalg.matrix_power(allowed(net).astype(int), net.depth) > 0
    assert np.all(moved[~reach] == 0) and np.all(moved[reach] > 1e-7)
    assert net.block == 0 or not reach[-1, 0], "a case that shows where local attention ends"

    # place t is told of the value before it, and of no other
    changed = np.stack([np.asarray(x[0])] * 30).reshape(30, -1)
    changed[np.arange(30), np.arange(30)] = (changed[np.arange(30), np.arange(30)] + 1) % 4
    told = net.apply({"params": params}, jnp.asarray(changed.reshape(30, *SHAPE)), method="embed") != h
    np.testing.assert_array_equal(np.any(told, -1), np.eye(30, k=1))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("levels, shape", [(2, (3, 3, 1)), (3, (1, 2, 3))])
def test_the_probabilities_of_all_states_sum_to_one(name, levels, shape):
    size = int(np.prod(shape))
    states = jnp.asarray(list(itertools.product(range(levels), repeat=size))).reshape(-1, *shape)
    output = bernoulli() if levels == 2 else categorical(levels)
    net = NETS[name](levels=levels, outputs=output.size, length=size, colours=shape[2], row=shape[1] * shape[2])
    params = random_params(net, states)
    p = np.exp(-np.float64(jax.jit(partial(nll, net, output))(params, states)))
    assert abs(p.sum() - 1) < 1e-5
    assert p.max() < 0.9 and p.std() > 1e-4, "random parameters make a distribution that is neither flat nor a point"


@pytest.mark.parametrize("name, more", [*((name, {}) for name in NETS), ("full", dict(classes=3, scan=True, remat=True)),
                                        ("local", dict(classes=3, scan=True))])  # fmt: skip
def test_drawing_has_the_parameters_of_teacher_forcing(name, more):
    """With and without values that are given: those stay, and what is drawn after them follows from them."""
    net, known = NETS[name](**more), values()
    given = {"label": jnp.array([0, 2, 1])} if net.classes else {}
    params, output = random_params(net, known, **given), categorical(4)

    @jax.jit
    def drawn(key, keep):
        x, cached = net.apply({"params": params}, key, output.pick, known, keep, method="draw", **given)
        return x, cached, net.apply({"params": params}, x, **given)

    keep = np.zeros((3, *SHAPE[:2], 1))
    x, cached, forced = drawn(jax.random.key(1), keep)
    assert x.dtype == known.dtype and set(np.unique(x)) == {0, 1, 2, 3} and np.std(forced) > 0.3
    np.testing.assert_allclose(cached, forced, rtol=1e-5, atol=1e-5)
    keep[:, :1], keep[:, 1, 2] = 1, 1
    x, cached, forced = drawn(jax.random.key(1), keep)
    np.testing.assert_allclose(cached, forced, rtol=1e-5, atol=1e-5)
    kept = np.broadcast_to(keep > 0, x.shape)
    np.testing.assert_array_equal(x[kept], known[kept])
    assert np.mean(x[~kept] == known[~kept]) < 0.6


def test_sounds_are_drawn_beyond_the_reach_of_distances():
    """Codes of any length in one ring; logits are those of teacher forcing, and the coldest draws are their maxima."""
    net = SoundTransformer(PixelTransformer(16, 16, 8, classes=2, width=8, depth=2, heads=2, positions="distance",
                                            block=4, memory=4))  # fmt: skip
    label = jnp.array([1, 0])
    params = random_params(net, jnp.zeros((2, 8), jnp.int32), label=label)
    draw = partial(net.apply, {"params": params}, jax.random.key(0), 2, 50, label, method="draw")
    for codes, logits in (draw(), cold := draw(temperature=0)):
        assert codes.shape == (2, 50) and codes.dtype == jnp.int32
        np.testing.assert_allclose(logits, net.apply({"params": params}, codes, label), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(cold[0], cold[1].argmax(-1))
    rings = jax.tree.leaves(net.values.bind({"params": params["values"]}).empty(2, 50))
    assert all(ring.shape == (2, 2, 8, 4) for ring in rings)
    with pytest.raises(ValueError, match="at least 0, not -1"):
        draw(temperature=-1)


def test_dropout_changes_what_is_trained_alone():
    net, x = NETS["full"](dropout=0.5), values()
    params = random_params(net, x)
    still = net.apply({"params": params}, x)
    np.testing.assert_array_equal(still, net.clone(dropout=0.0).apply({"params": params}, x))
    one, other = (net.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(i)}) for i in (0, 1))
    assert np.any(one != other) and np.any(one != still)


def test_scanned_and_rematerialised_blocks_change_no_number():
    net, x = NETS["local"](), values()
    params = random_params(net, x)
    blocks = [params[f"block_{i}"] for i in range(2)]
    stacked = {name: value for name, value in params.items() if not name.startswith("block")}
    stacked["blocks"] = jax.tree.map(lambda *each: jnp.stack(each), *blocks)
    expected = net.apply({"params": params}, x)
    for other in (net.clone(scan=True), net.clone(scan=True, remat=True)):
        np.testing.assert_allclose(other.apply({"params": stacked}, x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net.clone(remat=True).apply({"params": params}, x), expected, rtol=1e-5, atol=1e-6)


def test_a_label_changes_every_parameter_and_is_asked_for():
    net, x = NETS["local"](classes=2), values(n=2)
    x = x.at[1].set(x[0])
    params = random_params(net, x, label=jnp.array([0, 1]))
    one, other = net.apply({"params": params}, x, jnp.array([0, 1]))
    assert np.all(one != other)
    with pytest.raises(ValueError, match="for 2 classes"):
        net.apply({"params": params}, x)
    with pytest.raises(ValueError, match="for 0 classes"):
        net.clone(classes=0).init(jax.random.key(0), x, jnp.array([0, 1]))


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(heads=3), "3 heads do not divide a width of 8"),
        (dict(positions="grid", row=0), "a row >= 1 and a width by 4, not 0 and 8"),
        (dict(norm="Post"), "unknown norm 'Post' or positions 'learned'"),
        (dict(positions="sines"), "unknown norm 'pre' or positions 'sines'"),
        (dict(memory=4), "a memory of 4 lies before a block of at least 1, not of 0"),
        (dict(length=29), "30 values do not fit 29 positions"),
        (dict(length=29, positions="distance"), "30 values do not fit 29 positions"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        PixelTransformer(**{**TINY, **fields}).init(jax.random.key(0), values())


def from_transformers(weights):
    """Names of transformers -> ours. Its "Conv1D" weights are (in, out) already; the start is the table's last row."""

    def dense(name):
        return {"kernel": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

    def norm(name):
        return {"scale": weights[f"{name}.weight"]}

    table = weights["transformer.wte.weight"]
    params = {"values": table[:-1], "start": table[-1], "positions": weights["transformer.wpe.weight"]}
    params |= {"norm_last": norm("transformer.ln_f"), "head": {"kernel": weights["lm_head.weight"].T}}
    for index in range(2):
        name = f"transformer.h.{index}"
        params[f"block_{index}"] = {
            "norm_attention": norm(f"{name}.ln_1"),
            "qkv": dense(f"{name}.attn.c_attn"),
            "out": dense(f"{name}.attn.c_proj"),
            "norm_mlp": norm(f"{name}.ln_2"),
            "up": dense(f"{name}.mlp.c_fc"),
            "down": dense(f"{name}.mlp.c_proj"),
        }
    return params


def test_logits_are_those_of_transformers_image_gpt():
    with np.load(GOLDEN) as stored:
        golden = {path: stored[path] for path in stored.files}
    weights = {path.removeprefix("weight/"): value for path, value in golden.items() if path.startswith("weight/")}
    net = PixelTransformer(levels=11, outputs=11, length=20, width=18, depth=2, heads=3)
    params = from_transformers(weights)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == sum(leaf.size for leaf in weights.values())
    ours = net.apply({"params": params}, golden["image"])
    assert np.linalg.norm(ours - golden["logits"]) < 1e-4 * np.linalg.norm(golden["logits"])
