"""Likelihoods of sound: padding counts nothing, samples are codes, and any network over samples serves."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.likelihood.waves import waves
from aigc_jax.networks.pixel_transformer import PixelTransformer, SoundTransformer
from aigc_jax.networks.wavenet import WaveNet
from aigc_jax.probability import mu_law

NET = WaveNet(16, 1, 3, residual=8, gate=8, skip=16, classes=2)


def a_batch(n=4, length=24):
    rng = np.random.default_rng(0)
    wave = rng.uniform(-1, 1, (n, length)).astype(np.float32)
    return {"wave": wave, "length": np.array([24, 10, 1, 17]), "label": np.array([0, 1, 0, 1])}


@pytest.fixture(scope="module")
def begun():
    method = waves(NET, optax.adam(5e-3), levels=16)
    return method, jax.jit(method.init)(jax.random.key(0), a_batch())


def test_likelihood_is_the_sum_over_real_samples_and_the_loss_their_mean(begun):
    method, state = begun
    batch = a_batch()
    found = method.evaluate(state, batch, jax.random.key(0))
    codes = mu_law.encode(batch["wave"], 16)
    logits = np.asarray(NET.apply({"params": state.params["net"]}, codes, batch["label"]), np.float64)
    nats = -np.take_along_axis(logits - np.logaddexp.reduce(logits, -1, keepdims=True), codes[..., None], -1)[..., 0]
    nll = [nats[row, :length].sum() for row, length in enumerate(batch["length"])]
    np.testing.assert_allclose(found["nll"], nll, rtol=1e-5)
    np.testing.assert_allclose(found["bits_per_sample"], nll / batch["length"] / np.log(2), rtol=1e-5)
    _, metrics = method.step(state, batch, jax.random.key(0))
    np.testing.assert_allclose(metrics["loss"], np.sum(nll) / np.sum(batch["length"]), rtol=1e-5)


def test_padding_changes_nothing(begun):
    method, state = begun
    batch = a_batch()
    noise = np.random.default_rng(1).uniform(-1, 1, batch["wave"].shape).astype(np.float32)
    padded = np.arange(24) >= batch["length"][:, None]
    other = {**batch, "wave": np.where(padded, noise, batch["wave"])}
    one, two = (method.step(state, each, jax.random.key(0)) for each in (batch, other))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    whole = {name: x for name, x in batch.items() if name != "length"}
    full = {**batch, "length": np.full(4, 24)}
    values = [method.evaluate(state, each, jax.random.key(0)) for each in (whole, full)]
    jax.tree.map(np.testing.assert_array_equal, *values)


def test_samples_are_amplitudes_of_codes_and_follow_the_label_once_it_is_learnt(begun):
    """Two sounds, one for each label, learnt by heart and drawn."""
    method, state = begun
    sounds = mu_law.decode(np.array([[3, 12] * 12, [8, 8, 1] * 8]), 16)
    batch = {"wave": sounds[[0, 1, 0, 1]], "label": np.array([0, 1, 0, 1])}
    step = jax.jit(method.step)
    for _ in range(150):
        state, metrics = step(state, batch, jax.random.key(0))
    assert metrics["loss"] < 0.05
    greedy = waves(NET, optax.adam(1e-2), levels=16, temperature=0.0)
    blank = {"wave": np.zeros((3, 24), np.float32), "label": np.array([1, 0, 1])}
    np.testing.assert_allclose(greedy.sample(state, blank, jax.random.key(0)), sounds[[1, 0, 1]], atol=1e-6)
    drawn = np.asarray(method.sample(state, blank, jax.random.key(1)))
    np.testing.assert_allclose(mu_law.decode(mu_law.encode(drawn, 16), 16), drawn, atol=1e-6)


def test_a_network_that_reads_a_label_is_told_where_the_batch_has_none(begun):
    method, state = begun
    with pytest.raises(ValueError, match="the network reads label: the batch has wave"):
        method.evaluate(state, {"wave": np.zeros((1, 4), np.float32)}, jax.random.key(0))


class Histogram(nn.Module):
    """The least of networks over samples: codes that do not depend on those before."""

    levels: int

    def setup(self) -> None:
        self.logits = self.param("logits", nn.initializers.zeros, (self.levels,))

    def __call__(self, codes):
        return jnp.broadcast_to(self.logits, (*codes.shape, self.levels))

    def draw(self, key, n, length, temperature=1.0):
        logits = jnp.broadcast_to(self.logits, (n, length, self.levels))
        return jax.random.categorical(key, logits / temperature), logits


def test_any_network_over_samples_serves_and_its_bits_are_those_of_even_codes():
    method = waves(Histogram(256), optax.sgd(0.1))
    batch = {name: x for name, x in a_batch().items() if name != "label"}
    state = method.init(jax.random.key(0), batch)
    np.testing.assert_allclose(method.evaluate(state, batch, jax.random.key(0))["bits_per_sample"], 8, rtol=1e-6)
    assert method.sample(state, batch, jax.random.key(0)).shape == (4, 24)


def test_a_transformer_serves_and_dropout_falls_on_training_alone():
    values = PixelTransformer(16, 16, 8, classes=2, width=8, depth=1, heads=2, positions="distance", block=4, memory=4,
                              dropout=0.5)  # fmt: skip
    method = waves(SoundTransformer(values), optax.sgd(1e-4), levels=16)
    state, batch = jax.jit(method.init)(jax.random.key(0), a_batch()), a_batch()
    assert jax.jit(method.sample)(state, batch, jax.random.key(0)).shape == (4, 24)
    moved = state._replace(
        params=jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), state.params)
    )
    step, evaluate = jax.jit(method.step), jax.jit(method.evaluate)
    losses = [float(step(moved, batch, jax.random.key(i))[1]["loss"]) for i in (0, 1)]
    assert losses[0] != losses[1]
    again = [evaluate(moved, batch, jax.random.key(i))["nll"] for i in (0, 1)]
    np.testing.assert_array_equal(*again)


def test_what_does_not_fit_the_network_is_refused():
    tx = optax.sgd(0.1)
    for build, words in (
        (lambda: waves(NET, tx), "the network reads 16 codes, not 256"),
        (lambda: waves(NET, tx, levels=16, temperature=-0.5), "at least 0, not -0.5"),
        (
            lambda: waves(SoundTransformer(PixelTransformer(16, 16, 8)), tx, levels=8),
            "the network reads 16 codes, not 8",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            build()
