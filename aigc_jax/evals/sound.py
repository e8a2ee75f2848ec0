"""What a model of sound is compared with: code lengths of simple models of the same codes, and features that tell classes.

Each of the simple models is a distribution over the codes given those before, fitted on the training split, so that its
figure is the length of a code that could be sent:

    histogram  the frequencies of the codes
    markov     frequencies of pairs, (n_ij + a p_j) / (n_i + a)
    linear     x_t predicted by least squares from the 32 samples before; a logistic density around it, one width for all,
               gives each code the mass between its bounds
    adaptive   the same with a width that follows the size of past errors, b sqrt(mean of their squares) + c
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from aigc_jax.core import Batch, TrainState
from aigc_jax.evals import Evaluator
from aigc_jax.evals.agreement import Agreement
from aigc_jax.evals.likelihood import average
from aigc_jax.probability import mu_law

ORDER = 32
MOST = 1_000_000  # samples that the linear predictor is fitted to
WIDTHS = 300_000  # samples that its widths are
GAMMAS = (0.001, 0.003, 0.01, 0.03)  # widths of the kernel on spectral features
MIXED = 1e-3  # share of the histogram in the linear codes: nothing is impossible


def code_length(nll: Callable[[TrainState, Batch, Any], Any], levels: int = 256) -> Evaluator:
    """Bits per sample over all samples of the evaluation split alike: of the model, and of the simple models above.

    nll: (state, batch, key) -> nats of each recording [B]; batches have `wave` and `length`.
    """

    def measure(run: Any) -> dict[str, float]:
        nats = average(run, nll)
        samples = average(run, lambda state, batch, key: batch["length"])
        train, test = recordings(run, "train", levels), recordings(run, None, levels)
        return {"bits_per_sample": nats / samples / math.log(2), **baselines(train, test, levels)}

    how = (
        "all real samples of the evaluation split count alike; the simple models are fitted on the training split, cut the "
        f"same: histogram and pairs of the {levels} mu-law codes; least squares over {ORDER} past samples with a logistic of "
        f"one width, or of one that follows past errors, mixed with {MIXED:g} of the histogram"
    )
    return Evaluator(measure, how)


def recordings(run: Any, split: str | None, levels: int = 256) -> list[np.ndarray]:
    """The codes of the real samples of each recording of a split."""
    found = []
    for batch in run.data.evaluate(split):
        for wave, length, real in zip(mu_law.encode(batch["wave"], levels), batch["length"], batch["mask"]):
            if real > 0:
                found.append(wave[:length])
    return found


def baselines(train: list[np.ndarray], test: list[np.ndarray], levels: int = 256) -> dict[str, float]:
    """Bits per sample of `test` by each of the simple models, fitted to `train`."""
    share = histogram(train, levels)
    every = np.concatenate(test)
    predictor = fit_linear(train, levels)
    found = {"histogram": -np.log2(share[every]), "markov": markov_bits(train, test, share)}
    for name, adaptive in (("linear", False), ("adaptive", True)):
        found[name] = linear_bits(predictor, test, share, fit_width(predictor, train, share, adaptive))
    return {name: float(bits.mean()) for name, bits in found.items()}


def histogram(train: list[np.ndarray], levels: int) -> np.ndarray:
    """(n_k + 1/2) / (N + levels / 2), [levels]."""
    counts = np.bincount(np.concatenate(train), minlength=levels) + 0.5
    return counts / counts.sum()


def markov_bits(
    train: list[np.ndarray], test: list[np.ndarray], share: np.ndarray, strength: float = 20.0
) -> np.ndarray:
    """Bits of each sample given the one before; the first of a recording by the histogram."""
    levels = len(share)
    pairs = np.concatenate([x[:-1] * levels + x[1:] for x in train])
    counts = np.bincount(pairs, minlength=levels**2).reshape(levels, levels)
    p = (counts + strength * share) / (counts.sum(1, keepdims=True) + strength)
    return -np.log2(np.concatenate([np.concatenate([share[x[:1]], p[x[:-1], x[1:]]]) for x in test]))


class Width(NamedTuple):
    """Of the logistic: factor * sqrt(running mean of squared errors with this decay) + least."""

    decay: float
    factor: float
    least: float


class Linear(NamedTuple):
    """x_t = sum_i weights[i] x_{t-1-i}, zeros before the first."""

    weights: np.ndarray
    levels: int

    def errors(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is predicted of a recording, and by how much it is missed."""
        x = mu_law.decode(codes, self.levels, np.float64)
        predicted = np.convolve(np.concatenate([[0.0], x]), self.weights)[: len(x)]
        return predicted, x - predicted


def fit_linear(train: list[np.ndarray], levels: int, order: int = ORDER) -> Linear:
    """Least squares over the first recordings, `MOST` samples of them."""
    moment, target = 1e-9 * np.eye(order), np.zeros(order)
    for codes in _first(train, MOST):
        x = np.concatenate([np.zeros(order), mu_law.decode(codes, levels, np.float64)])
        past = np.lib.stride_tricks.sliding_window_view(x[:-1], order)[:, ::-1]  # [T, order], the nearest first
        moment, target = moment + past.T @ past, target + past.T @ x[order:]
    return Linear(np.linalg.solve(moment, target), levels)


def fit_width(predictor: Linear, train: list[np.ndarray], share: np.ndarray, adaptive: bool) -> Width:
    """The best of a grid, over `WIDTHS` training samples spread over all recordings."""
    some = _first(train[:: max(1, sum(map(len, train)) // WIDTHS)], WIDTHS)
    spread = float(np.sqrt(np.mean(np.concatenate([predictor.errors(x)[1] for x in some]) ** 2)))
    if adaptive:
        grid = [Width(decay, factor, least * spread) for decay in (0.8, 0.95, 0.99) for factor in (0.4, 0.55, 0.75)
                for least in (0.003, 0.01, 0.03, 0.1)]  # fmt: skip
    else:
        grid = [Width(0.0, 0.0, factor * spread) for factor in np.geomspace(0.02, 1.0, 16)]
    return min(grid, key=lambda width: linear_bits(predictor, some, share, width).mean())


def linear_bits(predictor: Linear, test: list[np.ndarray], share: np.ndarray, width: Width) -> np.ndarray:
    """-log2 of (1 - m) (F(high) - F(low)) + m share of each sample, F the logistic around what is predicted."""
    from scipy.signal import lfilter
    from scipy.special import expit

    bits = []
    for codes in test:
        predicted, missed = predictor.errors(codes)
        past = np.concatenate([[0.0], missed[:-1] ** 2])
        size = np.sqrt(lfilter([1 - width.decay], [1, -width.decay], past)) if width.factor else 0.0
        scale = width.factor * size + width.least
        low, high = ((bound - predicted) / scale for bound in mu_law.bounds(codes, predictor.levels))
        flip = low > 0  # F(-z) = 1 - F(z): far right of the mean the difference of two ones would vanish
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        bits.append(-np.log2((1 - MIXED) * (expit(high) - expit(low)) + MIXED * share[codes]))
    return np.concatenate(bits)


def _first(recordings: list[np.ndarray], samples: int) -> list[np.ndarray]:
    """As many recordings from the start as have that many samples."""
    ends = np.cumsum([len(x) for x in recordings])
    return recordings[: int(np.searchsorted(ends, samples)) + 1]


def log_spectrogram(wave: np.ndarray, rate: int, frame: float = 0.032, bands: int = 0) -> np.ndarray:
    """Waves [N, T] -> log10 of the power in frames that overlap by half, [N, frames, frequencies], at least -12.

    frame: in seconds. bands: averages over so many bands, even on the mel scale; 0 leaves the frequencies of the transform.
    """
    from scipy.signal import stft

    size = int(frame * rate)
    inside: dict[str, Any] = dict(boundary=None, padded=False)  # no frame reaches over an end
    frequency, _, z = stft(wave, rate, nperseg=size, noverlap=size // 2, **inside)  # [N, size / 2 + 1, frames]
    power = np.abs(z).swapaxes(1, 2) ** 2
    if bands:
        mel = np.log1p(frequency / 700)
        place = (mel / mel[-1] * (bands + 1))[:, None] - 1 - np.arange(bands)  # triangles, each as wide as two bands
        weight = np.maximum(0, 1 - np.abs(place))
        power = power @ (weight / np.maximum(weight.sum(0), 1e-9))
    return np.log10(power + 1e-12)


def spectral_features(decoded: tuple[int, np.ndarray]) -> np.ndarray:
    """(rate, waves [N, T]) -> [N, D]: 24 mel bands over time, without the loudness of the recording, in [0, 1]."""
    rate, wave = decoded
    spectrum = log_spectrogram(np.asarray(wave, np.float32), rate, bands=24)
    loudest = spectrum.max(axis=(1, 2), keepdims=True)
    return (np.maximum(spectrum - loudest, -5) / 5 + 1).reshape(len(wave), -1).astype(np.float32)


def sound_agreement(per_class: int = 20) -> Agreement:
    """Are sounds of the class that was asked for, by an SVM on `spectral_features` of the training split?"""
    protocol = (
        "SVM (RBF kernel, gamma chosen on every fifth training recording) on 24 mel bands over time, without loudness; "
        f"agreement: share of {per_class} sounds of each class assigned the class asked for; real_accuracy: the same of the "
        "evaluation split"
    )
    return Agreement(per_class, protocol=protocol, column="wave", features=spectral_features, gammas=GAMMAS)
