"""Colour and sharpness against the standard library and Pillow; views against each other."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from aigc_jax.data import augment, compose, moco_v2, two_views
from aigc_jax.data.augment import blur, color_jitter, gaussian_blur, grayscale

DRAW = np.random.default_rng(0)
PICTURES = DRAW.integers(0, 256, (6, 9, 7, 3), np.uint8)
UNIT = (PICTURES / 255).astype(np.float32)


def run(transform, x, seed: int = 0) -> np.ndarray:
    return transform({"image": x}, np.random.default_rng(seed))["image"]


def factors(value: float) -> np.ndarray:
    return np.full((len(UNIT), 1, 1, 1), value, np.float32)


@pytest.mark.parametrize("turn", [-0.4, 0.0, 0.1, 0.5])
def test_hue_equals_colorsys(turn):
    def turned(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)

    expected = np.array([turned(pixel) for pixel in UNIT.reshape(-1, 3)]).reshape(UNIT.shape)
    np.testing.assert_allclose(augment._hue(UNIT, factors(turn)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (augment._brightness, ImageEnhance.Brightness),
        (augment._contrast, ImageEnhance.Contrast),
        (augment._saturation, ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_blends_equal_pillow_to_two_grey_levels(ours, theirs, factor):
    out = np.clip(ours(UNIT, factors(factor)), 0, 1) * 255
    expected = np.stack([np.asarray(theirs(Image.fromarray(x)).enhance(factor)) for x in PICTURES])
    assert np.abs(out - expected).max() < 2


def test_jitter_touches_its_share_and_stays_in_range():
    x = np.tile(PICTURES[:1], (500, 1, 1, 1))
    out = run(color_jitter(p=0.8), x)
    changed = np.abs(out - x / 255).reshape(500, -1).max(1) > 1e-6
    assert 0.74 < changed.mean() < 0.86 and out.dtype == np.float32 and out.min() >= 0 and out.max() <= 1
    np.testing.assert_allclose(run(color_jitter(p=0.0), PICTURES), UNIT, atol=1e-7)
    np.testing.assert_allclose(run(color_jitter(0, 0, 0, 0, p=1.0), PICTURES), UNIT, atol=1e-5)
    assert run(color_jitter(p=1.0), PICTURES[..., :1]).shape == (6, 9, 7, 1)


def test_grey_has_equal_channels_and_the_luma_of_pillow():
    out = run(grayscale(1.0), PICTURES)
    np.testing.assert_array_equal(out[..., 0], out[..., 2])
    theirs = np.stack([np.asarray(Image.fromarray(x).convert("L")) for x in PICTURES])
    assert np.abs(out[..., 0] * 255 - theirs).max() < 1
    np.testing.assert_allclose(run(grayscale(0.0), PICTURES), UNIT)


def test_blur_is_a_gaussian_kernel_that_keeps_constants():
    spot = np.zeros((1, 21, 21, 1), np.float32)
    spot[0, 10, 10] = 1
    out = blur(spot, np.array([1.5]))[0, :, :, 0]
    distance = np.arange(21) - 10
    profile = np.exp(-(distance**2) / (2 * 1.5**2))
    np.testing.assert_allclose(out, np.outer(profile, profile) / profile.sum() ** 2, atol=1e-4)
    np.testing.assert_allclose(blur(np.ones((2, 5, 8, 3), np.float32), np.array([0.1, 2.0])), 1, rtol=1e-5)
    np.testing.assert_allclose(run(gaussian_blur((1e-3, 2e-3), p=1.0), PICTURES), UNIT, atol=1e-6)


def test_two_views_differ_and_keep_the_rest():
    batch = {"image": PICTURES, "label": np.arange(6)}
    out = two_views(moco_v2(8))(batch, np.random.default_rng(0))
    assert out.keys() == {"view1", "view2", "label"} and out["view1"].shape == (6, 8, 8, 3)
    assert out["view1"].dtype == np.float32 and not np.array_equal(out["view1"], out["view2"])
    again = two_views(compose(moco_v2(8)))(batch, np.random.default_rng(0))
    np.testing.assert_array_equal(out["view2"], again["view2"])


def test_the_second_view_may_have_a_transform_of_its_own():
    def unchanged(batch, rng):
        return batch

    def inverted(batch, rng):
        return {"image": 255 - batch["image"]}

    out = two_views(unchanged, inverted, of="photo")({"photo": PICTURES}, np.random.default_rng(0))
    assert out.keys() == {"view1", "view2"}
    np.testing.assert_array_equal(out["view1"], PICTURES)
    np.testing.assert_array_equal(out["view2"], 255 - PICTURES)


def test_moco_v2_without_blur_keeps_edges_sharper():
    def sharpness(blurred: bool) -> float:
        out = run(moco_v2(16, blur=blurred), np.tile(PICTURES, (20, 1, 1, 1)))
        return float(np.abs(np.diff(out, axis=2)).mean())

    assert sharpness(False) > 1.2 * sharpness(True)
