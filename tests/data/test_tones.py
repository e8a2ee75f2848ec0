"""The embedded sound costs what its generator says."""

from __future__ import annotations

import math

import numpy as np

from aigc_jax.data import open_source
from aigc_jax.data.tones import LOUDNESS, RADIUS, RATE, tones
from aigc_jax.probability import mu_law


def test_bits_are_those_of_the_normal_mass_between_the_bounds_of_each_code():
    train = tones()["train"]
    octave = np.random.default_rng(0).random(2000)  # the first that is drawn
    for row in (1, 502):
        w = 2 * math.pi * 150 * 2 ** (train["label"][row] + octave[row]) / RATE
        a, b = 2 * RADIUS * math.cos(w), -(RADIUS**2)
        ring = [1.0, a]
        for _ in range(3000):
            ring.append(a * ring[-1] + b * ring[-2])
        spread = LOUDNESS / math.sqrt(sum(one * one for one in ring))  # so that the filter's output has that deviation
        x, bits = [0.0, 0.0, *mu_law.decode(mu_law.encode(train["wave"][row]), dtype=np.float64)], 0.0
        for t in range(2, len(x)):
            mean = a * x[t - 1] + b * x[t - 2]
            low, high = mu_law.bounds(mu_law.encode(np.array([x[t]])))
            z = [(float(bound[0]) - mean) / spread / math.sqrt(2) for bound in (low, high)]
            bits -= math.log2((math.erf(z[1]) - math.erf(z[0])) / 2)
        assert abs(bits / train["bits"][row] - 1) < 1e-4


def test_tones_are_of_four_octaves():
    source = open_source("tones")
    assert source.info["rate"] == RATE and len(source.info["classes"]) == 4
    test = source.splits["test"].take(np.arange(200))
    assert test["wave"].shape == (200, 1024) and np.bincount(test["label"]).tolist() == [50] * 4
    codes = mu_law.encode(test["wave"])
    np.testing.assert_allclose(mu_law.decode(codes), test["wave"], atol=1e-6)
    power = np.abs(np.fft.rfft(test["wave"])) ** 2
    pitch = np.fft.rfftfreq(1024, 1 / RATE)[power.argmax(1)]
    octave = np.log2(pitch / 150)
    assert np.mean((octave > test["label"] - 0.2) & (octave < test["label"] + 1.2)) > 0.95
    assert abs(test["wave"][:, 256:].std() - LOUDNESS) < 0.02 and 3.5 < test["bits"].mean() / 1024 < 4.2
