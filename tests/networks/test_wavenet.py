"""WaveNet: what its logits see, its queues beside the whole network, a published implementation, sums over all sounds."""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.wavenet import WaveNet, recall, receptive_field, remember
from aigc_jax.probability.distributions import log_categorical

SMALL = dict(levels=5, doublings=3, residual=4, gate=3, skip=6)


def random_params(net, dtype=jnp.float32, scale=0.6, **given):
    shapes = jax.eval_shape(lambda key: net.init(key, jnp.zeros((1, 4), int), **given), jax.random.key(0))["params"]
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return {
        "params": jax.tree.unflatten(tree, [jnp.asarray(scale * rng.normal(size=leaf.shape), dtype) for leaf in leaves])
    }


def test_receptive_fields():
    assert [receptive_field(stacks) for stacks in range(1, 6)] == [1024, 2047, 3070, 4093, 5116]
    assert receptive_field(5, initial=2) == WaveNet().receptive_field == 5117
    assert receptive_field(2, 3, kernel=3, initial=4) == 2 * 14 + 1 + 3


@pytest.mark.parametrize("kernel, initial, scalar", [(2, 2, False), (3, 1, False), (2, 4, True)])
def test_a_logit_sees_its_receptive_field_and_nothing_else(kernel, initial, scalar):
    net = WaveNet(**{**SMALL, "skip": 40}, stacks=2, kernel=kernel, initial=initial, scalar=scalar)  # some relu is open
    reach = net.receptive_field
    length = reach + 5
    with jax.enable_x64(True):
        params = random_params(net, jnp.float64)
        rows = jnp.asarray(np.random.default_rng(1).normal(size=(1, length, 1 if scalar else 5)))
        seen = np.asarray(jax.jit(jax.jacrev(lambda rows: net.apply(params, rows)[0]))(rows))
    seen = np.abs(seen[:, :, 0]).sum((1, 3))  # [t, s]
    t, s = np.indices(seen.shape)
    np.testing.assert_array_equal(seen[(s >= t) | (s < t - reach)], 0)
    assert seen[(s < t) & (s >= t - reach)].min() > 1e-12, "every sample within reach counts, the farthest too"


CASES = {
    "two taps": dict(stacks=2),
    "three taps": dict(stacks=1, kernel=3, initial=3, classes=3),
    "features": dict(stacks=1, features=2, hop=4, initial=1),
    "both, scalar": dict(stacks=1, classes=3, features=2, hop=4, scalar=True, initial=5),
}


def conditions(net):
    key = jax.random.key(1)
    label = {"label": jnp.asarray([0, 2, 2])} if net.classes else {}
    return label | ({"features": jax.random.normal(key, (3, 10, 2))} if net.features else {})


@pytest.mark.parametrize("name", CASES)
def test_drawing_by_queues_has_the_logits_of_the_whole_network(name):
    """40 samples of kernels whose queues are gone through several times; before the first, zeros, as the padding."""
    net = WaveNet(**SMALL, **CASES[name])
    given = conditions(net)
    params = random_params(net, scale=0.4, **{name: x[:1, :1] if x.ndim > 1 else x[:1] for name, x in given.items()})
    traced = []

    @jax.jit
    def both(key):
        traced.append(key)
        codes, logits = net.apply(params, key, 3, 40, **given, method="draw")
        return (
            codes,
            logits,
            net.apply(params, codes, **given),
            net.apply(params, net.bind(params).rows(codes), **given),
        )

    for seed in range(2):
        codes, logits, whole, of_rows = both(jax.random.key(seed))
        assert codes.shape == (3, 40) and len(np.unique(codes)) > 2 and np.std(logits) > 0.1
        np.testing.assert_allclose(logits, whole, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(whole, of_rows, rtol=1e-5, atol=1e-5)
    assert len(traced) == 1, "another key compiles nothing"


def test_a_queue_gives_what_was_there_so_many_steps_before():
    queue = jnp.zeros((2 * 3, 1, 1))
    for t in range(20):
        x = jnp.full((1, 1), t + 1.0)
        seen = recall(queue, x, jnp.int32(t), 3, 3)
        queue = remember(queue, x, jnp.int32(t), seen[:, 0])
        np.testing.assert_array_equal(seen[0, :, 0], [max(t + 1 - 6, 0), max(t + 1 - 3, 0), t + 1])


def test_the_probabilities_of_all_sounds_sum_to_one():
    net = WaveNet(**{**SMALL, "levels": 3, "doublings": 2}, stacks=1)
    every = jnp.asarray(list(itertools.product(range(3), repeat=5)))  # [243, 5]
    with jax.enable_x64(True):
        p = np.exp(jnp.sum(log_categorical(every, net.apply(random_params(net, jnp.float64), every)), axis=1))
    assert p.dtype == np.float64 and abs(p.sum() - 1) < 1e-9 and p.std() > 1e-4


def test_temperature_sharpens_and_zero_takes_the_likeliest():
    net = WaveNet(**SMALL, stacks=1)
    params = random_params(net)
    drawn = {t: net.apply(params, jax.random.key(0), 200, 6, temperature=t, method="draw") for t in (0.0, 1.0)}
    codes, logits = drawn[0.0]
    np.testing.assert_array_equal(codes, np.argmax(logits, -1))
    assert len(np.unique(np.asarray(drawn[1.0][0]), axis=0)) > 50
    with pytest.raises(ValueError, match="temperature is at least 0, not -1"):
        net.apply(params, jax.random.key(0), 1, 2, temperature=-1.0, method="draw")


def test_a_label_changes_the_logits_and_must_be_given_where_there_are_classes():
    net = WaveNet(**{**SMALL, "skip": 40}, stacks=1, classes=3)
    label, codes = jnp.asarray([1]), jnp.zeros((1, 6), int)
    params = random_params(net, label=label)
    by_label = [np.asarray(net.apply(params, codes, jnp.asarray([k]))) for k in range(3)]
    assert all(np.abs(a - b).max(-1).min() > 1e-3 for a, b in itertools.combinations(by_label, 2))
    with pytest.raises(ValueError, match="WaveNet of 3 classes was given no label"):
        net.apply(params, codes)
    with pytest.raises(ValueError, match="WaveNet of 0 classes was given a label"):
        WaveNet(**SMALL, stacks=1).init(jax.random.key(0), codes, label)
    with pytest.raises(ValueError, match="WaveNet of 0 features was given 2"):
        WaveNet(**SMALL, stacks=1).init(jax.random.key(0), codes, features=jnp.zeros((1, 6, 2)))
    with pytest.raises(ValueError, match="a WaveNet has 2 levels and 1 of all else at least, not 5 and"):
        WaveNet(**SMALL, stacks=0).init(jax.random.key(0), codes)


@functools.cache
def golden():
    with np.load(Path(__file__).parent.parent / "golden" / "wavenet.npz") as file:
        return dict(file)


@pytest.mark.parametrize("taps", [2, 3])
def test_logits_are_those_of_a_published_implementation(taps):
    """Its answer to codes up to t is ours for t + 1; it pads where we read an empty row first, so their starts differ."""
    stored = golden()
    weight = {
        name.removeprefix(f"{taps}/weight/"): x for name, x in stored.items() if name.startswith(f"{taps}/weight/")
    }
    net = WaveNet(11, 2, 3, taps, taps, residual=5, gate=5, skip=7, features=3)

    def kernel(name):
        return weight[f"{name}.weight"].transpose(2, 1, 0)  # [O, I, k] -> [k, I, O]

    def joined(names, layer, axis=-1):
        kernels = [kernel(name.format(layer))[-1] if "1x1" in name else kernel(name.format(layer)) for name in names]
        return np.concatenate(kernels, axis), np.concatenate([weight[f"{name.format(layer)}.bias"] for name in names])

    params = {"first": {"kernel": kernel("causal.conv"), "bias": weight["causal.conv.bias"]}}
    for layer in range(6):
        gates, bias = joined(["dil_tanh.{}.conv", "dil_sigmoid.{}.conv"], layer)
        along, more = joined(["aux_1x1_tanh.{}", "aux_1x1_sigmoid.{}"], layer)
        out, shift = joined(["skip_1x1.{}", "res_1x1.{}"] if layer < 5 else ["skip_1x1.{}"], layer)
        params |= {f"gates_{layer}": {"kernel": gates, "bias": bias + more}, f"along_{layer}": {"kernel": along},
                   f"outs_{layer}": {"kernel": out, "bias": shift}}  # fmt: skip
    for ours, theirs in (("head", "conv_post_1"), ("top", "conv_post_2")):
        params[ours] = {"kernel": kernel(theirs)[0], "bias": weight[f"{theirs}.bias"]}
    features = np.pad(stored["features"].transpose(0, 2, 1), ((0, 0), (1, 0), (0, 0)))[:, :-1]
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.asarray(stored["codes"]), None, jnp.asarray(features))[
        "params"
    ]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
    logits = np.asarray(jax.jit(net.apply)({"params": params}, stored["codes"], None, features))
    start = net.receptive_field
    ours, theirs = logits[:, start + 1 :], stored[f"{taps}/logits"][:, start:-1]
    assert ours.shape[1] > 10 and np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-5
