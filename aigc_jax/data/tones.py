"""`tones`: synthetic sound whose information is known, since the generator tells how likely each of its samples was.

A tone is a resonator that noise sets ringing from rest, and that hears itself through the 256 codes of mu-law:

    x_t = decode(code_t),   code_t = encode(2 r cos(w) x_{t-1} - r^2 x_{t-2} + s n_t),   n_t ~ N(0, 1),  x_{-1} = x_{-2} = 0

so that p(code_t | past, w) is exactly the normal mass between the bounds of the code. Its pitch is drawn within one of four
octaves, the label, and is not told: a model has to hear it. What the generator itself would pay for a recording, knowing the
pitch, is the column `bits`: on average no model of the codes can pay less.
"""

from __future__ import annotations

import numpy as np

from aigc_jax.probability import mu_law

RATE = 8000
OCTAVES = ("150 to 300 Hz", "300 to 600 Hz", "600 to 1200 Hz", "1200 to 2400 Hz")
LENGTH = 1024
RADIUS = 0.99  # r: a tone rings on for some hundred samples
LOUDNESS = 0.15  # its deviation, once it rings


def tones() -> dict[str, dict[str, np.ndarray]]:
    """`wave` float32 [1024] in [-1, 1] at 8 kHz, `label` 0..3, `bits` float32, of the whole; 2,000 train, 200 test."""
    return {"train": _tones(2_000, 0), "test": _tones(200, 1)}


def _tones(n: int, seed: int) -> dict[str, np.ndarray]:
    from scipy.special import ndtr

    rng = np.random.default_rng(seed)
    label = np.arange(n) % len(OCTAVES)
    w = 2 * np.pi * 150 * 2 ** (label + rng.random(n)) / RATE
    a, b = 2 * RADIUS * np.cos(w), -(RADIUS**2)
    gain = np.sqrt((1 - b) / ((1 + b) * ((1 - b) ** 2 - a**2)))  # deviation of such a process over that of its noise
    spread = LOUDNESS / gain
    x, bits = np.zeros((LENGTH + 2, n)), np.zeros(n)
    for t in range(LENGTH):
        mean = a * x[t + 1] + b * x[t]
        code = mu_law.encode(mean + spread * rng.standard_normal(n))
        low, high = mu_law.bounds(code)
        bits -= np.log2(ndtr((high - mean) / spread) - ndtr((low - mean) / spread))
        x[t + 2] = mu_law.decode(code, dtype=np.float64)
    return {"wave": x[2:].T.astype(np.float32), "label": label.astype(np.int32), "bits": bits.astype(np.float32)}
