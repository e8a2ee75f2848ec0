"""Flows as densities: they integrate to one, bits per dimension follow their protocol, dequantisation is a bound."""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import aigc_jax.probability.bijectors as bij
from aigc_jax.methods.likelihood.flow import decode, flow
from aigc_jax.networks.dequantizer import dequantizer
from aigc_jax.networks.glow import glow
from aigc_jax.networks.maf import iaf, maf, spline_flow
from aigc_jax.networks.mlp import MLP
from aigc_jax.networks.nice import nice
from aigc_jax.networks.realnvp import realnvp

SGD = optax.sgd(0.0)
KEY = jax.random.key(0)
IMAGE = {"image": jnp.asarray(np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1)) / 255, jnp.float32)}


def noisy(state, scale=0.3):
    leaves, tree = jax.tree.flatten(state.params)
    keys = jax.random.split(jax.random.key(5), len(leaves))
    moved = [leaf + scale * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return state._replace(params=jax.tree.unflatten(tree, moved))


PLANE = {
    "NICE": (nice((2,), 3, (8,)), "logistic"),
    "MAF": (maf(2, 2, (8,)), "normal"),
    "IAF": (iaf(2, 2, (8,)), "normal"),
    "splines, autoregressive": (spline_flow(2, 2, (8,), 5, 2.0), "normal"),
    "splines, coupling": (spline_flow(2, 2, (8,), 5, 2.0, coupling=True), "normal"),
}


@pytest.mark.parametrize("name", PLANE)
def test_the_density_integrates_to_one_on_the_plane(name):
    bijector, noise = PLANE[name]
    method = flow(bijector, SGD, noise=noise)
    x = 0.7 * jax.random.normal(KEY, (64, 2)) + 0.3
    state = method.init(KEY, {"x": x})
    state = noisy(
        state._replace(params=jax.tree.map(lambda p: 0.5 * p, state.params)), 0.1
    )  # without ridges thinner than the grid
    reach = 30 if noise == "logistic" else 9  # logistic tails fall as exp(-|z|)
    line = np.linspace(-reach, reach, 601, dtype=np.float32)
    plane = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    p = np.exp(-np.asarray(jax.jit(method.evaluate)(state, {"x": plane}, KEY)["nll"], np.float64))
    assert abs(p.sum() * (2 * reach / 600) ** 2 - 1) < 1e-3
    assert p.max() > 1.5 * p[np.abs(plane).max(1) < 1].min(), "a density that is not flat"


def test_samples_have_the_moments_of_the_density_and_temperature_scales_the_noise():
    """Of an affine flow: x = (z - shift) / scale, at temperature T with T times the deviation."""
    bijector = bij.Chain([bij.Affine(2.0, 1.0), bij.Linear()])
    batch = {"x": jnp.zeros((20_000, 2))}
    for temperature in (1.0, 0.5):
        method = flow(bijector, SGD, temperature=temperature)
        state = method.init(KEY, batch)
        x = jax.jit(method.sample)(state, batch, jax.random.key(1))
        np.testing.assert_allclose(np.mean(x, 0), -0.5, atol=0.02)
        np.testing.assert_allclose(np.cov(np.asarray(x).T), 0.25 * temperature**2 * np.eye(2), atol=0.01)
    cold = flow(bijector, SGD, temperature=0.0)
    np.testing.assert_allclose(cold.sample(cold.init(KEY, batch), batch, KEY), -0.5, atol=1e-6)


def test_a_uniform_density_costs_8_bits_a_dimension_exactly():
    """y uniform on [0, 1): by the logit its noise is logistic. And with 5 bits, 5."""
    for bits in (8, 5):
        method = flow(bij.Logit(), SGD, levels=2**bits, noise="logistic")
        state = method.init(KEY, IMAGE)
        found = jax.jit(method.evaluate)(state, IMAGE, jax.random.key(3))
        np.testing.assert_allclose(found["bpd"], bits, rtol=1e-5)
        np.testing.assert_allclose(found["nll"], bits * 16 * math.log(2), rtol=1e-5)


def test_bits_per_dimension_are_those_of_the_formula():
    """(-log p(y) + D ln 256) / (D ln 2) with the logarithm of the logit in it, for a model with closed density."""
    method = flow(bij.Logit(0.05), SGD, levels=256)
    state = method.init(KEY, IMAGE)
    key = jax.random.key(4)
    y = (
        np.rint(np.asarray(IMAGE["image"], np.float64) * 255) + np.asarray(jax.random.uniform(key, (6, 4, 4, 1)))
    ) / 256
    inner = 0.05 + 0.9 * y
    z = np.log(inner / (1 - inner))
    log_p = np.sum(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) + np.log(0.9 / (inner * (1 - inner))), (1, 2, 3))
    expected = (-log_p + 16 * math.log(256)) / (16 * math.log(2))
    np.testing.assert_allclose(method.evaluate(state, IMAGE, key)["bpd"], expected, rtol=1e-5)


class Free(nn.Module):
    """Numbers that depend on the context alone."""

    @nn.compact
    def __call__(self, x, context=None, train=False):
        return MLP((4,), 1)(context)


class Nothing:
    """The mask that keeps nothing."""

    def __call__(self, shape):
        return np.zeros(shape, np.float32)


def one_pixel(key, x, net, learned):
    """-log of the exact probability of each of the 4 levels of a single pixel, and the bounds of many draws, [draws, 4]."""
    method = flow(bij.Chain([bij.Logit(0.02), bij.Affine(1.3, 0.4)]), SGD, levels=4, dequantizer=net)
    state = method.init(key, {"image": x})
    state = noisy(state, 0.5) if learned else state
    line = (np.arange(40_000) + 0.5) / 40_000
    inner = 0.02 + 0.96 * line
    z = 1.3 * np.log(inner / (1 - inner)) + 0.4
    p = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi) * 1.3 * 0.96 / (inner * (1 - inner))
    exact = -np.log(p.reshape(4, -1).mean(1) / 4)
    draws = jax.jit(jax.vmap(lambda key: method.evaluate(state, {"image": x}, key)["nll"]))(
        jax.random.split(key, 20_000)
    )
    return exact, np.asarray(draws, np.float64)


def test_dequantisation_is_a_bound_and_uniform_a_special_case_of_variational():
    """-log P(k) <= E[nll], for u uniform and for u of a flow; without couplings the flow's u is uniform: then both agree."""
    x = jnp.arange(4, dtype=jnp.float32).reshape(4, 1, 1, 1) / 3
    exact, uniform = one_pixel(KEY, x, None, False)
    _, plain = one_pixel(KEY, x, bij.Logit(), False)
    shifted = bij.Chain([bij.Logit(), bij.MaskedCoupling(Free(), bij.additive(), Nothing())])  # p / q stays bounded
    _, learned = one_pixel(KEY, x, shifted, True)
    errors = [4 * draws.std(0) / math.sqrt(len(draws)) for draws in (uniform, plain, learned)]
    for draws, error in zip((uniform, plain, learned), errors):
        assert np.all(draws.mean(0) > exact - error)
    assert np.all(np.abs(uniform.mean(0) - plain.mean(0)) < errors[0] + errors[1])
    assert np.any(learned.mean(0) - exact > errors[2] + 0.01), "another q is another bound"
    # importance sampling by q is unbiased for P(k): q(u|k) is the density that u was drawn from
    weights = np.exp(-learned)
    error = 5 * weights.std(0) / math.sqrt(len(weights))
    assert np.all(np.abs(weights.mean(0) - np.exp(-exact)) < error) and np.all(error < 0.1 * np.exp(-exact))


def test_the_learned_dequantiser_begins_as_the_uniform_one():
    method = flow(bij.Logit(), SGD, levels=256, noise="logistic", dequantizer=dequantizer(2, 4))
    state = method.init(KEY, IMAGE)
    np.testing.assert_allclose(method.evaluate(state, IMAGE, KEY)["bpd"], 8, rtol=1e-5)
    after, metrics = jax.jit(flow(bij.Logit(0.05), optax.adam(0.1), levels=256, dequantizer=dequantizer(2, 4)).step)(
        flow(bij.Logit(0.05), optax.adam(0.1), levels=256, dequantizer=dequantizer(2, 4)).init(KEY, IMAGE), IMAGE, KEY
    )
    moved = jax.tree.leaves(jax.tree.map(lambda p: float(np.abs(p).max()), after.params["dequantizer"]))
    assert np.isfinite(metrics["bpd"]) and max(moved) > 0


def test_pictures_go_to_noise_and_come_back():
    """`encode` is [B, D], and its decoding is the picture: of Glow with actnorm from the batch, averages, and no key."""
    method = flow(glow((4, 4, 1), 1, 2, 6), SGD, levels=256, ema=0.9)
    state = jax.jit(method.init)(KEY, IMAGE)
    codes = jax.jit(method.encode)(state, IMAGE, KEY)
    assert codes.shape == (6, 16)
    np.testing.assert_allclose(decode(glow((4, 4, 1), 1, 2, 6), state, codes, 256), IMAGE["image"], atol=1e-6)
    samples = jax.jit(method.sample)(state, IMAGE, KEY)
    assert samples.shape == (6, 4, 4, 1) and np.all((samples >= 0) & (samples <= 1))
    np.testing.assert_allclose(np.rint(samples * 255), samples * 255, atol=1e-3)


def test_the_average_is_what_is_evaluated():
    batch = {"x": jax.random.normal(KEY, (8, 2))}
    method = flow(bij.Scaling(), optax.sgd(0.1), ema=0.5)
    state, _ = method.step(method.init(KEY, batch), batch, KEY)
    s = 0.5 * state.params["flow"]["log_scale"]  # the first state's is 0
    np.testing.assert_allclose(state.memory["ema"]["flow"]["log_scale"], s, rtol=1e-6)
    z = batch["x"] * jnp.exp(s)
    expected = 0.5 * jnp.sum(z**2 + math.log(2 * math.pi), 1) - jnp.sum(s)
    np.testing.assert_allclose(method.evaluate(state, batch, KEY)["nll"], expected, rtol=1e-5)


def test_running_statistics_move_in_training_alone():
    batch = {"x": jax.random.normal(KEY, (32, 3))}
    method = flow(maf(3, 2, (6,)), optax.adam(1e-2))
    state = method.init(KEY, batch)
    after, _ = jax.jit(method.step)(state, {"x": 2 * batch["x"] + 1}, KEY)
    stats = [s.memory["batch_stats"]["flow"]["bijector"]["bijectors_1"]["mean"] for s in (state, after)]
    assert stats[0].shape == (2, 3) and np.all(stats[0] != stats[1])


def test_a_flow_learns_the_density_of_a_gaussian():
    """A correlated one, by MAF without batch norm: its loss is that of the Gaussian fitted to the sample, to 0.02 nats."""
    root = np.array([[1.0, 0.0], [0.8, 0.6]], np.float32)
    x = jax.random.normal(KEY, (4000, 2)) @ root.T + 1
    method = flow(maf(2, 1, (8,), batch_norm=False), optax.adam(0.03))
    state, step = method.init(KEY, {"x": x}), jax.jit(method.step)
    for _ in range(400):
        state, metrics = step(state, {"x": x}, KEY)
    fitted = 1 + math.log(2 * math.pi) + 0.5 * math.log(np.linalg.det(np.cov(np.asarray(x).T)))
    assert abs(float(metrics["nll"]) - fitted) < 0.02


def test_what_a_flow_cannot_take_is_refused_with_its_numbers():
    for build, words in (
        (lambda: glow((28, 28, 1), 3), "Glow of 3 scales takes pictures whose sides 8 divides, not 28 x 28"),
        (lambda: glow((8, 8, 1), coupling="Affine"), "not 'Affine' and 'dense'"),
        (lambda: realnvp((6, 8, 3)), "2 scales takes pictures whose sides 4 divides, not 6 x 8"),
        (lambda: flow(bij.Logit(), SGD, temperature=-0.5), "at least 0, not -0.5"),
        (lambda: flow(bij.Logit(), SGD, levels=1), "2 grey levels at least, not 1"),
        (lambda: flow(bij.Logit(), SGD, noise="uniform"), "noise 'uniform': there are normal and logistic"),
        (lambda: flow(bij.Logit(), SGD, dequantizer=bij.Logit()), "give their grey levels"),
        (lambda: maf(1), "2 variables and 1 layer at least, not 1 and 5"),
        (lambda: nice((2,), 1), "2 couplings at least, not 2 and 1"),
    ):
        with pytest.raises(ValueError, match=words):
            build()
