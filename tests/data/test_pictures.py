"""Geometry: against Pillow, against slices, and as probabilities say."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import (
    center_crop,
    compose,
    crop,
    flip_lr,
    load_data,
    random_resized_crop,
    resize,
    resize_short,
    sized,
)
from aigc_jax.data.pictures import interpolation, random_boxes
from aigc_jax.errors import UserError

DRAW = np.random.default_rng(0)
SAME = DRAW.integers(0, 256, (5, 12, 9, 3), np.uint8)


def many(*pictures: np.ndarray) -> np.ndarray:
    out = np.empty(len(pictures), object)
    out[:] = list(pictures)
    return out


def run(transform, x, seed: int = 0) -> np.ndarray:
    return transform({"image": x}, np.random.default_rng(seed))["image"]


@pytest.mark.parametrize("size", [(5, 7), (12, 9), (20, 31), (6, 6)])
def test_resize_equals_pillow_to_a_grey_level(size):
    ours = run(resize(size), SAME)
    theirs = [np.asarray(Image.fromarray(x).resize(size[::-1], Image.Resampling.BILINEAR)) for x in SAME]
    assert ours.dtype == np.uint8 and np.abs(ours.astype(int) - np.stack(theirs)).max() <= 1


def test_interpolation_keeps_constants_and_straight_lines():
    matrix = interpolation(np.array([0]), np.array([8]), 8, 16)[0]
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-6)
    line = matrix @ np.arange(8)
    np.testing.assert_allclose(np.diff(line)[1:-1], 0.5, atol=1e-6)  # inside; the edges repeat the last pixel


@pytest.mark.parametrize("transform", [resize(7), resize_short(6), random_resized_crop(6), center_crop(4), crop(8, 2)])
def test_pictures_of_one_size_and_of_many_agree(transform):
    one, other = run(transform, SAME, 3), run(transform, many(*SAME), 3)
    other = np.stack(list(other))
    assert one.shape == other.shape and np.abs(one.astype(int) - other).max() <= 1


def test_pictures_of_another_size_are_refused_before_a_crop_hides_them():
    square = SAME[:, :9]
    np.testing.assert_array_equal(run(sized(9), many(*square)), square)
    with pytest.raises(UserError, match="a picture of 12 x 9, where 9 x 9 is taken"):
        run(compose(sized(9), crop(9, pad=1)), many(square[0], SAME[0]))


def test_floats_are_resampled_as_floats():
    x = DRAW.random((2, 6, 6, 1), np.float32)
    out = run(resize(3), x)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, run(resize(3), many(*x)), rtol=1e-5)


def test_crops_are_slices_at_every_place():
    x = np.arange(30, dtype=np.uint8).reshape(1, 5, 6, 1)
    corners = {tuple(np.argwhere(x[0, :, :, 0] == run(crop(3), x, seed)[0, 0, 0, 0])[0]) for seed in range(200)}
    assert corners == {(top, left) for top in range(3) for left in range(4)}
    np.testing.assert_array_equal(run(center_crop(3), x)[0, :, :, 0], x[0, 1:4, 1:4, 0])


def test_padded_crop_of_white_shows_black_borders_only():
    x = np.full((400, 8, 8, 1), 255, np.uint8)
    out = run(crop(8, pad=4), x)
    assert out.shape == x.shape and set(np.unique(out)) == {0, 255}
    lit = (out > 0).sum((1, 2, 3))
    assert lit.min() == 16 and lit.max() == 64  # 4 x 4 in the worst corner, all of it in the middle


def test_flip_mirrors_half_of_the_pictures():
    x = np.tile(np.arange(4, dtype=np.uint8).reshape(1, 1, 4, 1), (1000, 1, 1, 1))
    first = run(flip_lr, x)[:, 0, 0, 0]
    assert set(first) == {0, 3} and 0.45 < (first == 3).mean() < 0.55
    mirrored = run(flip_lr, many(*x))
    np.testing.assert_array_equal(np.stack(list(mirrored))[:, 0, 0, 0], first)
    np.testing.assert_array_equal(x[:, 0, 0, 0], 0)  # the input is left alone


def test_random_boxes_have_the_area_and_the_ratio_asked_for():
    sizes = np.tile([200, 300], (4000, 1))
    top, left, bottom, right = random_boxes(sizes, (0.2, 0.6), (1.0, 2.0), DRAW).T
    assert (top >= 0).all() and (left >= 0).all() and (bottom <= 200).all() and (right <= 300).all()
    area, ratio = (bottom - top) * (right - left) / 60_000, (right - left) / (bottom - top)
    assert area.min() > 0.19 and area.max() < 0.81 and ratio.min() > 0.48 and ratio.max() < 2.05
    assert 0.4 < area.mean() < 0.52


def test_a_box_that_never_fits_falls_back_to_the_largest_centred_one():
    box = random_boxes(np.array([[10, 100]]), (1.0, 1.0), (3 / 4, 4 / 3), DRAW)[0]
    assert box.tolist() == [0, 43, 10, 56]  # 10 high, 13 wide: the widest allowed


def test_pictures_too_small_for_a_crop_are_named(tmp_path):
    for name, size in (("a", 20), ("b", 20), ("c", 9)):
        Image.fromarray(np.zeros((size, 20, 3), np.uint8)).save(tmp_path / f"{name}.png")
    data = load_data(
        f"files:{tmp_path}", batch_size=2, spec={"image": ((16, 16, 3), "uint8")}, evaluate=compose(center_crop(16))
    )
    with pytest.raises(UserError, match=r"c.png: a picture of 9 x 20 is too small for a crop of 16 x 16"):
        [*data.evaluate("train"), *data.evaluate("test")]
