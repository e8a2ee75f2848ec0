"""Principal components beside a learned code: the best linear code of a width, by its squared error."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from aigc_jax.evals import Evaluator, name_of


class Components(NamedTuple):
    """The mean [D], and as rows [width, D] the orthonormal directions of largest variance."""

    mean: np.ndarray
    directions: np.ndarray

    def project(self, x: np.ndarray) -> np.ndarray:
        """The nearest points of the subspace, in the shape of x [B, ...]."""
        centred = np.asarray(x, np.float64).reshape(len(x), -1) - self.mean
        return (self.mean + centred @ self.directions.T @ self.directions).reshape(x.shape)


def components(run: Any, width: int, split: str = "train") -> Components:
    """Those of the pictures of a split, by their covariance in float64.

    Raises ValueError for a width outside 1 .. D.
    """
    total, products, count = 0.0, 0.0, 0.0
    for batch in run.data.evaluate(split):
        x = _rows(batch)
        total, products, count = total + x.sum(axis=0), products + x.T @ x, count + len(x)
    mean = np.asarray(total / count)
    if not 1 <= width <= len(mean):
        raise ValueError(f"{width} principal components of {len(mean)} dimensions: there are 1 to {len(mean)}")
    directions = np.linalg.eigh(products / count - np.outer(mean, mean))[1][:, ::-1].T
    return Components(mean, np.ascontiguousarray(directions[:width]))


def pca(width: int, split: str | None = None) -> Evaluator:
    """`squared_error`: that of `width` principal components of the training pictures, summed over an example."""

    def measure(run: Any) -> dict[str, float]:
        found, error, count = components(run, width), 0.0, 0
        for batch in run.data.evaluate(split):
            x = _rows(batch)
            error, count = error + np.sum((x - found.project(x)) ** 2), count + len(x)
        return {"squared_error": error / count}

    return Evaluator(measure, f"{width} principal components of the training pictures, on {name_of(split)}")


def _rows(batch: Any) -> np.ndarray:
    real = np.asarray(batch["mask"]) > 0  # a padded row may hold anything
    return np.asarray(batch["image"], np.float64)[real].reshape(int(real.sum()), -1)
