"""The Frechet distance between two sets of features, taken as Gaussians (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

    d^2 = |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2))

With the features of an Inception network it is the FID. No number means anything without its feature space, its count
of samples (it falls about as 1 / N) and its reference set: `Frechet.protocol` says them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

Features = Callable[[np.ndarray], np.ndarray]


class Gaussian(NamedTuple):
    """mean [D] and covariance [D, D], float64."""

    mean: np.ndarray
    covariance: np.ndarray


def fit(features: np.ndarray) -> Gaussian:
    """Mean and covariance (over N - 1, as all published FIDs) of features [N, D]. Raises ValueError for fewer than
    two.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"a covariance needs features [N, D] with N >= 2, got {features.shape}")
    return Gaussian(features.mean(0), np.atleast_2d(np.cov(features, rowvar=False)))


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """The squared distance, exact also for singular covariances.

    (S_a S_b)^(1/2) has the trace of (R S_b R)^(1/2) with R = S_a^(1/2), which is symmetric: so no square root of a
    non-symmetric matrix is needed, the step where released code adds 1e-6 I and drops imaginary parts.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of {a.mean.size} and of {b.mean.size} dimensions have no distance")
    values, vectors = np.linalg.eigh(a.covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T  # [D, D]
    product = np.linalg.eigvalsh(root @ b.covariance @ root)
    cross = np.sum(np.sqrt(np.maximum(product, 0)))
    means = np.sum((a.mean - b.mean) ** 2)
    return float(means + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross)


def pixels(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, C] -> [N, H W C] in [0, 1]."""
    return images.reshape(len(images), -1) / 255.0


@dataclasses.dataclass(frozen=True)
class Frechet:
    """An evaluator: run -> {"distance", "floor", "samples"}.

    distance: of as many samples as the training split has examples (at most `most`) to the evaluation split.
    floor:    of those training examples themselves to the evaluation split: what samples as good as data would have.

    Samples are drawn in batches of the training split, which are their condition where the method has one, and are
    decoded to uint8 before features are taken.
    """

    features: Features = pixels
    most: int = 50_000
    protocol: str = (
        "Frechet distance between decoded pixels in [0, 1] of samples and of the evaluation split; floor: of \
as many training examples"
    )

    def __call__(self, run: Any) -> dict[str, float]:
        reference = fit(np.concatenate(list(self._real(run, None))))
        train, samples, count = [], [], 0
        for index, batch in enumerate(run.data.evaluate("train")):
            drawn = run.data.decode(run.sample(batch, jax.random.fold_in(run.key, index)))
            keep = np.flatnonzero(np.asarray(batch["mask"]) > 0)[: self.most - count]
            train.append(self.features(run.data.decode(batch["image"])[keep]))
            samples.append(self.features(drawn[keep]))
            count += len(keep)
            if count >= self.most:
                break
        distance, floor = (frechet_distance(fit(np.concatenate(rows)), reference) for rows in (samples, train))
        return {"distance": distance, "floor": floor, "samples": float(count)}

    def _real(self, run: Any, split: str | None) -> Iterator[np.ndarray]:
        for batch in run.data.evaluate(split):
            yield self.features(run.data.decode(batch["image"])[np.asarray(batch["mask"]) > 0])
