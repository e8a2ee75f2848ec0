"""Patches as vectors: the steps of their protocol, one by one, and back."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data import load_patches
from aigc_jax.data.patches import centred, pictures
from aigc_jax.errors import UserError


def test_noise_a_256th_and_the_mean_of_each_patch():
    image = np.random.default_rng(0).integers(0, 256, (6, 3, 3, 1)).astype(np.uint8)
    x = centred(3)({"image": image}, np.random.default_rng(1))["x"]
    assert x.shape == (6, 8) and x.dtype == np.float32
    noisy = (image.reshape(6, 9) + np.random.default_rng(1).random((6, 9))) / 256
    expected = noisy - noisy.mean(1, keepdims=True)
    np.testing.assert_allclose(x, expected[:, :8], atol=1e-6)
    np.testing.assert_allclose(-x.sum(1), expected[:, 8], atol=1e-5)


def test_colours_become_the_greys_they_weigh():
    grey = np.random.default_rng(0).integers(0, 256, (2, 2, 2, 1)).astype(np.uint8)
    same = centred(2)({"image": np.repeat(grey, 3, -1)}, np.random.default_rng(1))["x"]
    np.testing.assert_array_equal(same, centred(2)({"image": grey}, np.random.default_rng(1))["x"])
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[0, 0, 0, 0] = 100  # 29.9, the grey 30
    noise = np.random.default_rng(1).random((1, 4))
    x = (noise + [[30, 0, 0, 0]]) / 256
    np.testing.assert_allclose(
        centred(2)({"image": red}, np.random.default_rng(1))["x"], (x - x.mean())[:, :3], atol=1e-6
    )


def test_vectors_are_shown_as_pictures_around_the_middle_grey():
    x = np.array([[0.25, -0.25, 0.125]], np.float32)
    np.testing.assert_array_equal(pictures(2)(x)[0, ..., 0], np.rint(255 * np.array([[0.75, 0.25], [0.625, 0.375]])))


def test_the_photographs_give_batches_and_a_fixed_evaluation():
    data = load_patches("patches:8", batch_size=32, size=8)
    assert next(data.train(0))["x"].shape == (32, 63)
    first, again = (next(data.evaluate())["x"] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(UserError, match="8 x 8 x 1 of uint8, patches 4 x 4"):
        next(load_patches("digits", batch_size=4, size=4).train(0))
    with pytest.raises(ValueError, match="2 x 2 pixels at least, not 1 x 1"):
        load_patches("digits", batch_size=4, size=1)
