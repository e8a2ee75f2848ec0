"""Principal components of a run's pictures: the eigenvectors, without padding, and the error they leave."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from aigc_jax.evals.pca import components, pca

IMAGES = np.random.default_rng(0).normal(size=(11, 2, 3, 1)) * np.array([3, 2, 1]).reshape(1, 1, 3, 1) + 5


def evaluate(split=None):
    for start in range(0, 11, 4):
        part = IMAGES[start : start + 4]
        padded = np.full((4, 2, 3, 1), np.nan)
        padded[: len(part)] = part
        yield {"image": padded, "mask": np.arange(4) < len(part)}


RUN = SimpleNamespace(data=SimpleNamespace(evaluate=evaluate))


def test_the_error_is_the_sum_of_the_eigenvalues_left_out():
    eigenvalues = np.linalg.svd(IMAGES.reshape(11, 6) - IMAGES.reshape(11, 6).mean(0), compute_uv=False) ** 2 / 11
    for width in (1, 4, 6):
        assert pca(width)(RUN)["squared_error"] == pytest.approx(eigenvalues[width:].sum(), abs=1e-9)
    assert "4 principal components" in pca(4).protocol


def test_a_projection_keeps_shape_and_what_lies_in_the_subspace():
    found = components(RUN, 2)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(2), atol=1e-12)
    once = found.project(IMAGES)
    assert once.shape == IMAGES.shape and not np.allclose(once, IMAGES)
    np.testing.assert_allclose(found.project(once), once)


def test_a_width_that_is_none_is_refused():
    for width in (0, 7):
        with pytest.raises(ValueError, match=f"{width} principal components of 6 dimensions: there are 1 to 6"):
            components(RUN, width)
