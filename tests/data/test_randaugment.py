"""RandAugment's policy: how many operations, how strong, how often."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import rand_augment
from aigc_jax.data.randaugment import OPERATIONS, Operation

PICTURES = np.random.default_rng(0).integers(60, 200, (600, 20, 20, 3), np.uint8)
LEVEL = np.array([0.9, 0.9, 0.44, 0.0])
SIGN = np.array([1.0, -1.0, 1.0, 1.0])


def run(transform, x, seed: int = 0) -> np.ndarray:
    return transform({"image": x}, np.random.default_rng(seed))["image"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("rotate", [27, -27, 13.2, 0]),
        ("posterize", [1, 1, 3, 4]),
        ("solarize", [26, 26, 144, 256]),
        ("solarize add", [99, 99, 48, 0]),
        ("colour", [1.81, 0.19, 1.396, 1]),
        ("contrast", [1.81, 0.19, 1.396, 1]),
        ("brightness", [1.81, 0.19, 1.396, 1]),
        ("sharpness", [1.81, 0.19, 1.396, 1]),
        ("shear x", [0.27, -0.27, 0.132, 0]),
        ("shear y", [0.27, -0.27, 0.132, 0]),
        ("translate x", [0.405, -0.405, 0.198, 0]),
        ("translate y", [0.405, -0.405, 0.198, 0]),
    ],
)
def test_strengths_are_those_of_the_published_policy(name, expected):
    np.testing.assert_allclose(OPERATIONS[name].strength(LEVEL, SIGN), expected, atol=1e-9)


def test_an_operation_is_one_of_all_on_half_of_the_pictures():
    calls = dict.fromkeys(OPERATIONS, 0)

    def counted(name, operation):
        def call(picture, strength):
            calls[name] += 1
            return operation.run(picture, strength)

        return Operation(call, operation.strength)

    with pytest.MonkeyPatch.context() as patch:
        watched = {name: counted(name, operation) for name, operation in OPERATIONS.items()}
        patch.setattr("aigc_jax.data.randaugment.OPERATIONS", watched)
        out = run(rand_augment(), PICTURES)
    done = np.array(list(calls.values()))
    assert abs(done.sum() - 600) < 70 and done.min() > 15 and done.max() < 70  # 2 x 600 / 2, each of 15 about 40
    touched = (out != PICTURES).any((1, 2, 3)).mean()
    assert 0.65 < touched < 0.78  # 1 - 0.5^2, without those that an operation leaves as they are


def test_no_layer_no_share_and_no_strength_change_nothing():
    np.testing.assert_array_equal(run(rand_augment(layers=0), PICTURES), PICTURES)
    np.testing.assert_array_equal(run(rand_augment(p=0), PICTURES), PICTURES)
    mild = run(rand_augment(0, deviation=0), PICTURES).astype(int) - PICTURES
    changed = (np.abs(mild).max((1, 2, 3)) > 1).mean()  # by what knows no strength, and by posterisation to 4 bits
    assert 0.18 < changed < 0.32


def test_floats_become_levels_and_the_input_is_left_alone():
    before = PICTURES.copy()
    out = run(rand_augment(), PICTURES, 3)
    np.testing.assert_array_equal(run(rand_augment(), (PICTURES / 255).astype(np.float32), 3), out)
    np.testing.assert_array_equal(before, PICTURES)
    between = np.full((1, 2, 2, 3), 100.6 / 255, np.float32)
    np.testing.assert_array_equal(run(rand_augment(layers=0), between), 101)
    assert run(rand_augment(), PICTURES[..., :1]).shape == (600, 20, 20, 1)


@pytest.mark.parametrize("magnitude", [-1, 10.5])
def test_a_magnitude_out_of_range_is_refused(magnitude):
    with pytest.raises(ValueError, match="magnitude of RandAugment must lie in"):
        rand_augment(magnitude)


RAMP = np.broadcast_to((10 * np.arange(20, dtype=np.uint8))[None, :, None], (20, 20, 3))


def shown(name, strength, x=RAMP):
    picture = Image.fromarray(x[..., 0] if x.shape[-1] == 1 else np.ascontiguousarray(x))
    return np.asarray(OPERATIONS[name].run(picture, strength)).reshape(x.shape).astype(int)


def test_operations_move_turn_and_change_levels_as_their_names_say():
    """On a ramp that grows by 10 to the right, whose outside is grey."""
    moved = shown("translate x", 0.25)
    np.testing.assert_array_equal(moved[:, :15], RAMP[:, 5:])
    assert (moved[:, 15:] == 128).all()
    np.testing.assert_array_equal(shown("translate y", -0.25)[5:], RAMP[:15])
    np.testing.assert_array_equal(shown("rotate", 180.0), RAMP[::-1, ::-1])
    sheared = shown("shear x", 0.3)
    assert sheared[0, 5, 0] < sheared[10, 5, 0], "lower rows show what lies further right"
    np.testing.assert_array_equal(shown("shear y", 0.3)[:, 0], RAMP[:, 0])
    np.testing.assert_array_equal(shown("invert", 0.0), 255 - RAMP.astype(int))
    np.testing.assert_array_equal(shown("posterize", 2.0), RAMP & 0b11000000)
    np.testing.assert_array_equal(shown("solarize", 100.0), np.where(RAMP < 100, RAMP, 255 - RAMP.astype(int)))
    np.testing.assert_array_equal(shown("solarize add", 50.0), np.where(RAMP < 128, RAMP + 50, RAMP))
    np.testing.assert_array_equal(shown("brightness", 0.5), RAMP // 2)
    assert shown("auto contrast", 0.0).min() == 0 and shown("auto contrast", 0.0).max() == 255
    for name in ("colour", "contrast", "brightness", "sharpness"):
        np.testing.assert_array_equal(shown(name, 1.0), RAMP)


@pytest.mark.parametrize("name", OPERATIONS)
def test_grey_pictures_stay_grey(name):
    grey = run(rand_augment(p=1.0), PICTURES[:20, ..., :1])
    assert grey.shape == (20, 20, 20, 1) and grey.dtype == np.uint8
    assert shown(name, 1.0, np.ascontiguousarray(RAMP[..., :1])).shape == (20, 20, 1)


def test_pictures_of_other_channels_are_refused():
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        run(rand_augment(), np.zeros((2, 4, 4, 4), np.uint8))
