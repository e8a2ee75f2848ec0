"""Random erasing: one box of the right area and ratio, filled with noise, in the right share of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data import random_erasing
from aigc_jax.data.erasing import boxes


def run(transform, x, seed: int = 0) -> np.ndarray:
    return transform({"image": x}, np.random.default_rng(seed))["image"]


def test_boxes_have_the_area_and_the_ratio_asked_for():
    inside = boxes(3000, 60, 40, (0.1, 0.3), (0.5, 2.0), np.random.default_rng(0))
    height, width = inside.any(2).sum(1), inside.any(1).sum(1)
    np.testing.assert_array_equal(inside.sum((1, 2)), height * width)  # one whole box
    area, ratio = height * width / 2400, height / width
    assert area.min() > 0.09 and area.max() < 0.32 and abs(area.mean() - 0.2) < 0.01
    assert ratio.min() > 0.45 and ratio.max() < 2.2 and abs(np.log(ratio).mean()) < 0.03
    everywhere = inside.mean(0)
    assert everywhere.min() > 0 and everywhere.argmax() // 40 in range(15, 45)


def test_a_share_of_the_pictures_is_erased_by_noise():
    x = np.full((2000, 16, 16, 3), 9, np.float32)
    out = run(random_erasing(0.25), x)
    touched = (out != x).any((1, 2, 3))
    assert abs(touched.mean() - 0.25) < 0.04
    noise = out[out != 9]
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 1) < 0.02
    assert abs((out != 9)[touched].all(-1).mean() - (0.02 + 1 / 3) / 2) < 0.02
    np.testing.assert_array_equal(run(random_erasing(0), x), x)


def test_a_box_that_never_fits_erases_nothing():
    assert not boxes(50, 8, 8, (1.5, 2.0), (1.0, 1.0), np.random.default_rng(0)).any()


@pytest.mark.parametrize("p", [-0.1, 1.1])
def test_a_probability_out_of_range_is_refused(p):
    with pytest.raises(ValueError, match="probability of erasing must lie in"):
        random_erasing(p)
