"""Code lengths of simple models of sound, and its spectra."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.evals import sound
from aigc_jax.probability import mu_law


def resonator(n, length, seed):
    """x_t = 1.6 x_{t-1} - 0.9 x_{t-2} + 0.02 noise."""
    rng, x = np.random.default_rng(seed), np.zeros((n, length + 2))
    for t in range(2, length + 2):
        x[:, t] = 1.6 * x[:, t - 1] - 0.9 * x[:, t - 2] + 0.02 * rng.standard_normal(n)
    return x[:, 2:]


TRAIN = list(mu_law.encode(resonator(40, 500, 0)))
TEST = list(mu_law.encode(resonator(10, 500, 1)))


def test_the_predictor_finds_the_filter():
    weights = sound.fit_linear(TRAIN, 256).weights
    np.testing.assert_allclose(weights[:2], [1.6, -0.9], atol=0.05)
    assert np.abs(weights[2:]).max() < 0.05
    x = mu_law.decode(TEST[0], dtype=np.float64)
    predicted, missed = sound.Linear(np.array([1.6, -0.9]), 256).errors(TEST[0])
    np.testing.assert_allclose(predicted[:3], [0, 1.6 * x[0], 1.6 * x[1] - 0.9 * x[0]], atol=1e-12)
    np.testing.assert_allclose(missed, x - predicted)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_linear_code_is_one(adaptive):
    """Its probabilities of the next code, whatever came before, sum to one: also far from what is predicted."""
    share, predictor = sound.histogram(TRAIN, 256), sound.fit_linear(TRAIN, 256)
    width = sound.fit_width(predictor, TRAIN, share, adaptive)
    assert bool(width.factor) == adaptive
    for past in (TEST[0][:100], np.zeros(5, np.int32), np.zeros(0, np.int32)):
        every = [np.append(past, code).astype(np.int32) for code in range(256)]
        p = [2.0 ** -sound.linear_bits(predictor, [codes], share, width)[-1] for codes in every]
        assert abs(sum(p) - 1) < 1e-9 and min(p) > 0


def test_code_lengths_fall_as_models_know_more():
    found = sound.baselines(TRAIN, TEST)
    x = np.concatenate(TEST)
    entropy = -np.sum((p := np.bincount(x) / len(x))[p > 0] * np.log2(p[p > 0]))
    assert abs(found["histogram"] - entropy) < 0.1
    assert found["linear"] + 0.5 < found["markov"] < found["histogram"] < 8
    cell = np.log2(np.diff(mu_law.bounds(np.clip(x, 1, 254)), axis=0))
    known = np.log2(0.02 * np.sqrt(2 * np.pi * np.e)) - cell.mean()  # of the noise, in cells: the true conditional
    assert known - 0.05 < found["linear"] < known + 0.15
    share = sound.histogram(TRAIN, 256)
    first = sound.markov_bits(TRAIN, [TEST[0][:1]], share)
    np.testing.assert_allclose(first, -np.log2(share[TEST[0][:1]]))


def test_samples_count_alike_and_padding_does_not():
    waves = mu_law.decode(np.stack(TEST[:4]))
    batch = {"wave": waves, "length": np.array([500, 100, 3, 500]), "mask": np.array([1.0, 1, 1, 0])}
    data = SimpleNamespace(evaluate=lambda split=None: iter([batch]))
    run = SimpleNamespace(data=data, state=None, key=jax.random.key(0))
    evaluator = sound.code_length(
        lambda state, batch, key: batch["length"] * jnp.log(2.0) * jnp.array([1.0, 2, 100, 9])
    )
    found = evaluator(run)
    assert found["bits_per_sample"] == pytest.approx((500 + 200 + 300) / 603, rel=1e-5)
    assert {"histogram", "markov", "linear", "adaptive"} < found.keys() and "least squares" in evaluator.protocol
    assert [len(x) for x in sound.recordings(run, None)] == [500, 100, 3]


def test_a_tone_lies_at_its_frequency():
    wave = np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)[None]
    spectrum = sound.log_spectrogram(wave, 8000)
    assert spectrum.shape[2] == 129 and np.all(spectrum[0].argmax(1) == 32)  # of 31.25 Hz each
    features = sound.spectral_features((8000, np.concatenate([wave, 0.01 * wave])))
    assert features.min() >= 0 and features.max() <= 1
    np.testing.assert_allclose(features[0], features[1], atol=5e-3, err_msg="loudness counts")
