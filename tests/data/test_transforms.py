"""Transforms of values against their formulas."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data import (
    binarize,
    block_means,
    compose,
    dequantize,
    normalize,
    one_hot,
    quantize,
    scale,
    to_unit,
    upper_bits,
    window,
)
from aigc_jax.errors import UserError

GREY = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def run(transform, x, name: str = "image", seed: int = 0) -> np.ndarray:
    return transform({name: x}, np.random.default_rng(seed))[name]


def test_scale_reaches_both_ends_and_keeps_steps_even():
    out = run(scale(-1, 1), GREY)
    assert out.dtype == np.float32 and out.min() == -1 and out.max() == 1
    np.testing.assert_allclose(out, GREY / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(run(scale(-1, 1), run(to_unit(), GREY)), out, atol=1e-6)


def test_normalize_by_channel():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), np.uint8)
    out = run(normalize((0.1, 0.2, 0.3), (0.5, 0.25, 2.0)), x)
    np.testing.assert_allclose(out, (x / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 2.0], rtol=1e-5)
    assert out.dtype == np.float32


def test_dynamic_binarization_draws_with_the_grey_level():
    x = np.full((4000, 1, 1, 1), 51, np.uint8)  # grey 0.2
    out = run(binarize("dynamic"), x)
    assert set(np.unique(out)) == {0, 1} and abs(out.mean() - 0.2) < 0.02
    assert not np.array_equal(out, run(binarize("dynamic"), x, seed=1))


def test_static_sets_stay_as_they_are_under_both():
    x = np.tile(np.array([0, 255], np.uint8), 500).reshape(10, 10, 10, 1)
    for how in ("dynamic", "threshold"):
        np.testing.assert_array_equal(run(binarize(how), x), x / 255)


def test_black_stays_black_when_the_lowest_number_is_drawn():
    class Lowest(np.random.Generator):
        def random(self, size=None, dtype=None, out=None):
            return np.zeros(size or (), np.float32)

    batch = {"image": np.array([[0, 1]], np.uint8)}
    assert binarize("dynamic")(batch, Lowest(np.random.PCG64()))["image"].tolist() == [[0, 1]]


def test_threshold_is_at_one_half():
    assert run(binarize("threshold"), GREY).sum() == 128
    with pytest.raises(ValueError, match="'static'"):
        binarize("static")


def test_quantized_levels_are_the_nearest_even_steps():
    np.testing.assert_array_equal(run(quantize(256), GREY), GREY)
    digits = np.rint(np.arange(17) * (255 / 16)).astype(np.uint8).reshape(1, 1, 17, 1)
    assert run(quantize(17), digits).dtype == np.int32
    np.testing.assert_array_equal(run(quantize(17), digits).ravel(), np.arange(17))
    np.testing.assert_array_equal(
        run(quantize(3), np.array([[0.0, 0.24, 0.26, 0.74, 0.76, 1.0]])), [[0, 0, 1, 1, 2, 2]]
    )
    with pytest.raises(ValueError, match="not 1"):
        quantize(1)


def test_blocks_are_reduced_to_their_means():
    x = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 3)).astype(np.uint8)
    out = run(block_means(3), x)
    assert out.dtype == np.float32 and out.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(out[1, 1, 2, 0], x[1, 3:6, 6:9, 0].mean() / 255, rtol=1e-6)
    with pytest.raises(UserError, match="blocks of 2 x 2 pixels do not fill 6 x 9"):
        run(block_means(2), x)


def test_dequantized_levels_fill_the_interval_and_floor_back():
    out = run(dequantize(), np.repeat(GREY, 20, 0))
    assert out.min() >= 0 and out.max() < 1
    np.testing.assert_array_equal(np.floor(out * 256), np.repeat(GREY, 20, 0))
    assert abs((out * 256 - GREY).mean() - 0.5) < 0.02
    assert run(dequantize(low=-1), GREY).min() < -0.9


def test_upper_bits_are_the_levels():
    out = run(upper_bits(5), GREY)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(np.rint(out * 31), GREY // 8)
    np.testing.assert_array_equal(run(upper_bits(), GREY / np.float32(255)), GREY / np.float32(255))
    with pytest.raises(UserError, match="image holds values from -0.5 to 1: pictures are bytes, or numbers in"):
        run(upper_bits(), np.array([[-0.5, 1.0]], np.float32))
    with pytest.raises(ValueError, match="1 to 8 bits, not 9"):
        upper_bits(9)


def test_one_hot_and_missing_columns():
    assert run(one_hot(3), np.array([2, 0]), "label").tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(UserError, match="no 'image' to transform: there is label"):
        scale()({"label": np.zeros(2)}, np.random.default_rng(0))


def test_compose_runs_in_order_on_pictures_of_many_sizes():
    many = np.empty(2, object)
    many[:] = [np.full((2, 3, 1), 255, np.uint8), np.zeros((4, 1, 1), np.uint8)]
    out = run(compose(to_unit(), scale(-1, 1)), many)
    assert out[0].shape == (2, 3, 1) and (out[0] == 1).all() and (out[1] == -1).all()


def test_window_cuts_and_pads_waves():
    waves = np.empty(2, object)
    waves[:] = [np.arange(10, dtype=np.int16), np.array([2**14, -(2**15)], np.int16)]
    first = run(window(4, random=False), waves, "wave")
    np.testing.assert_allclose(first * 2**15, [[0, 1, 2, 3], [2**14, -(2**15), 0, 0]])
    starts = {int(run(window(4), waves, "wave", seed)[0, 0] * 2**15) for seed in range(60)}
    assert starts == set(range(7)) and first.dtype == np.float32
