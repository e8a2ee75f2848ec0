"""RandAugment's policy: how many operations, how strong, how often. The operations themselves: test_byte_operations."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data import byte_operations, rand_augment
from aigc_jax.data.randaugment import OPERATIONS

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
        ("solarize_add", [99, 99, 48, 0]),
        ("colour", [1.81, 0.19, 1.396, 1]),
        ("contrast", [1.81, 0.19, 1.396, 1]),
        ("brightness", [1.81, 0.19, 1.396, 1]),
        ("sharpness", [1.81, 0.19, 1.396, 1]),
        ("shear_x", [0.27, -0.27, 0.132, 0]),
        ("shear_y", [0.27, -0.27, 0.132, 0]),
        ("translate_x", [0.405, -0.405, 0.198, 0]),
        ("translate_y", [0.405, -0.405, 0.198, 0]),
    ],
)
def test_strengths_are_those_of_the_published_policy(name, expected):
    strength = dict(OPERATIONS)[getattr(byte_operations, name)]
    np.testing.assert_allclose(strength(LEVEL, SIGN), expected, atol=1e-9)


def test_an_operation_is_one_of_all_on_half_of_the_pictures():
    calls = {operation: 0 for operation, _ in OPERATIONS}

    def counted(operation):
        def call(x, strength):
            calls[operation] += len(x)
            return operation(x, strength)

        return call

    with pytest.MonkeyPatch.context() as patch:
        watched = tuple((counted(operation), strength) for operation, strength in OPERATIONS)
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
