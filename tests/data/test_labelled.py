"""The pipeline of labelled pictures: what training sees, what evaluation sees, and how pictures come to their size."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import labelled_images, repeated
from aigc_jax.data.labelled import COLOURS
from aigc_jax.errors import UserError

DIGITS = dict(batch_size=30, size=8, channels=1, classes=10, flip=False)


@pytest.fixture
def photographs(tmp_path):
    """Twelve pictures 40 x 30, two classes: red grows from the left to the right, green from above to below."""
    down, across = np.meshgrid(np.arange(30), np.arange(40), indexing="ij")
    picture = np.stack([6 * across, 8 * down, np.zeros_like(down)], -1).astype(np.uint8)
    for number in range(12):
        folder = tmp_path / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return f"files:{tmp_path}"


def first(source, seed=0, **options):
    data = labelled_images(source, **options)
    return next(data.train(seed)), next(data.evaluate("train"))


def unit(image, colours="imagenet"):
    mean, deviation = COLOURS[colours]
    return image * np.float32(deviation) + np.float32(mean)


def test_evaluation_sees_the_middle_of_the_scaled_picture(photographs):
    options = dict(batch_size=12, size=21, channels=3, classes=2)
    for share, width in ((0.875, 30), (0.7, 22.5), (1.0, 40)):
        _, batch = first(photographs, share=share, **options)
        red = 255 * unit(batch["image"])[0, 10, :, 0]
        seen = (red[-1] - red[0]) / 6 * 21 / 20  # in pixels of the file, of which 30 are the shorter side
        assert seen == pytest.approx(30 * share, abs=1.2), (share, width)
        assert (red[0] + red[-1]) / 2 == pytest.approx(6 * 19.5, abs=6)


@pytest.mark.parametrize("crops", ["resized", "shorter", "scaled"])
def test_photographs_come_to_their_size(photographs, crops):
    batch, _ = first(photographs, batch_size=12, size=16, channels=3, classes=2, crops=crops, colours="cifar")
    image = unit(batch["image"], "cifar")
    assert image.shape == (12, 16, 16, 3) and image.min() > -0.01 and image.max() < 1.01
    turned = np.sign(image[:, 8, -1, 0] - image[:, 8, 0, 0])
    assert set(turned) == {-1.0, 1.0}, "half are mirrored"
    slopes = np.abs(image[:, 8, -1, 0] - image[:, 8, 0, 0])
    assert (np.ptp(slopes) > 0.1) == (crops == "resized"), "boxes of other crops have one size"


def test_pictures_that_have_their_size_are_padded_and_cropped():
    batch, judged = first("digits", crops="padded", pad=2, **DIGITS)
    assert (batch["image"].min((1, 2, 3)) == -1).all() and batch["image"].dtype == np.float32
    assert judged["image"].shape == (30, 8, 8, 1) and batch["label"].dtype == np.int32
    with pytest.raises(UserError, match="a picture of 8 x 8, where 9 x 9 is taken"):
        first("digits", crops="padded", **{**DIGITS, "size": 9})
    larger, _ = first("digits", crops="scaled", **{**DIGITS, "size": 20})
    assert larger["image"].shape == (30, 20, 20, 1)


def test_augmentation_stays_out_of_evaluation():
    plain, judged = first("digits", crops="padded", **DIGITS)
    strong, same = first("digits", crops="padded", magnitude=9.0, erasing=0.5, **DIGITS)
    np.testing.assert_array_equal(judged["image"], same["image"])
    np.testing.assert_array_equal(plain["label"], strong["label"])
    assert (plain["image"] != strong["image"]).any((1, 2, 3)).mean() > 0.6
    assert np.abs(strong["image"]).max() > 1.5, "noise of erased boxes is not clipped"


def test_copies_of_a_picture_lie_apart_and_differ():
    batch, _ = first("digits", crops="padded", pad=2, repeats=3, **DIGITS)
    label, image = batch["label"].reshape(3, 10), batch["image"].reshape(3, 10, -1)
    np.testing.assert_array_equal(label[0], label[1])
    np.testing.assert_array_equal(label[0], label[2])
    assert (image[0] != image[1]).any(-1).sum() > 5
    rows = repeated(3)({"label": np.arange(8)}, np.random.default_rng(0))["label"]
    assert rows.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    "wrong, message", [(dict(share=0.0), "share of the shorter side"), (dict(repeats=0), "repeated")]
)
def test_what_cannot_be_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        labelled_images("digits", **DIGITS, **wrong)
