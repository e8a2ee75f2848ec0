"""Operations on bytes against Pillow's own results."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from aigc_jax.data import byte_operations as operations

DRAW = np.random.default_rng(0)
FLAT = np.full((1, 33, 30, 3), 77, np.uint8)  # one level: nothing to stretch, nothing to spread
NARROW = DRAW.integers(90, 140, (2, 33, 30, 3), np.uint8)
PICTURES = np.concatenate([DRAW.integers(0, 256, (3, 33, 30, 3), np.uint8), NARROW, FLAT])
ORDER = np.array([2.0, -2.0, 1.0, 0.5, -1.0, 0.0])  # a strength for each picture, that they may not be mistaken


def solarize_add(picture, added):
    return picture.point([min(255, level + int(added)) if level < 128 else level for level in range(256)] * 3)


def moved(*entries):
    """(picture, strength) -> Pillow's affine transformation by entries that may depend on the strength and the picture."""
    return lambda picture, s: picture.transform(
        picture.size, Image.Transform.AFFINE, [entry(s, picture) if callable(entry) else entry for entry in entries],
        resample=Image.Resampling.BILINEAR, fillcolor=(128,) * 3
    )  # fmt: skip


EXACT = {
    "auto_contrast": (0, lambda picture, s: ImageOps.autocontrast(picture)),
    "equalize": (0, lambda picture, s: ImageOps.equalize(picture)),
    "invert": (0, lambda picture, s: ImageOps.invert(picture)),
    "posterize": (3 + ORDER, lambda picture, s: ImageOps.posterize(picture, int(s))),
    "solarize": (128 + 64 * ORDER, lambda picture, s: ImageOps.solarize(picture, int(s))),
    "solarize_add": (55 + 27 * ORDER, lambda picture, s: solarize_add(picture, int(s))),
    "colour": (1 + 0.45 * ORDER, lambda picture, s: ImageEnhance.Color(picture).enhance(s)),
    "contrast": (1 + 0.45 * ORDER, lambda picture, s: ImageEnhance.Contrast(picture).enhance(s)),
    "brightness": (1 + 0.45 * ORDER, lambda picture, s: ImageEnhance.Brightness(picture).enhance(s)),
    "sharpness": (1 + 0.45 * ORDER, lambda picture, s: ImageEnhance.Sharpness(picture).enhance(s)),
}
AFFINE = {
    "shear_x": (0.15 * ORDER, moved(1, lambda s, p: s, 0, 0, 1, 0)),
    "shear_y": (0.15 * ORDER, moved(1, 0, 0, lambda s, p: s, 1, 0)),
    "translate_x": (0.2 * ORDER, moved(1, 0, lambda s, p: s * p.width, 0, 1, 0)),
    "translate_y": (0.2 * ORDER, moved(1, 0, 0, 0, 1, lambda s, p: s * p.height)),
    "rotate": (15 * ORDER, lambda picture, s: picture.rotate(s, Image.Resampling.BILINEAR, fillcolor=(128,) * 3)),
}


def both(name, strength, theirs):
    strength = np.broadcast_to(np.asarray(strength, float), len(PICTURES))
    ours = getattr(operations, name)(PICTURES, strength)
    assert ours.dtype == np.uint8
    return ours, np.stack([np.asarray(theirs(Image.fromarray(x), s)) for x, s in zip(PICTURES, strength)])


@pytest.mark.parametrize("name", EXACT)
def test_levels_equal_pillow_to_the_bit(name):
    np.testing.assert_array_equal(*both(name, *EXACT[name]))


@pytest.mark.parametrize("name", AFFINE)
def test_affine_operations_equal_pillow_to_a_grey_level(name):
    ours, theirs = both(name, *AFFINE[name])
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert (ours[0] == operations.FILL).all(-1).mean() > 0.03, "nothing of outside is seen"


@pytest.mark.parametrize("name", [*EXACT, *AFFINE])
def test_grey_pictures_and_small_ones_keep_their_shape(name):
    operation = getattr(operations, name)
    grey = operation(PICTURES[..., :1], np.ones(len(PICTURES)))
    one = operation(PICTURES[:2, :2, :1], np.ones(2))
    assert grey.shape == (6, 33, 30, 1) and one.shape == (2, 2, 1, 3) and grey.dtype == one.dtype == np.uint8
