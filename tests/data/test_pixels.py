"""Pictures as bits and as levels of grey."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aigc_jax.data import load_pixels


def test_digits_are_bits_or_the_seventeen_levels_they_were():
    bits = next(load_pixels("digits", batch_size=16, size=8, levels=2).train(0))
    assert bits.keys() == {"image"} and bits["image"].dtype == np.float32 and set(np.unique(bits["image"])) == {0, 1}
    data = load_pixels("digits", batch_size=1437, size=8, levels=17, classes=10)
    batch = next(data.train(0))
    assert batch["image"].dtype == np.int32 and set(np.unique(batch["image"])) == set(range(17))
    assert batch.keys() == {"image", "label"}
    assert set(np.unique(data.decode(batch["image"]))) == set(np.rint(np.arange(17) * 255 / 16).astype(int))


def test_black_and_white_pictures_are_reduced_to_blocks_that_are_half_white(tmp_path):
    x = np.zeros((3, 4, 4, 1), np.uint8)
    x[:, :2, 0], x[:, 3, 3] = 255, 255  # half of the first block, a quarter of the last
    np.savez(tmp_path / "own.npz", train=x)
    splits = {"train": {"examples": 3, "columns": {"image": {"format": "npz", "files": ["own.npz"], "array": "train"}}}}
    described = {"variants": {"own": {"evaluation": "train", "splits": splits}}, "default": "own", "root": "."}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    data = load_pixels(f"files:{tmp_path}", batch_size=3, size=2, levels=2, how="threshold", block=2)
    np.testing.assert_array_equal(next(data.train(0))["image"][..., 0], [[[1, 0], [0, 0]]] * 3)


def test_colours_become_indices_of_a_palette_and_draws_colours_again():
    data = load_pixels("patches", batch_size=8, size=32, colours=3, levels=512, palette="uniform")
    pictures = next(load_pixels("patches", batch_size=8, size=32, colours=3).train(0))["image"]
    x = next(data.train(0))["image"]
    assert x.shape == (8, 32, 32, 1) and x.dtype == np.int32 and len(np.unique(x)) > 60 and x.max() < 512
    # steps of 255 / 7: a colour is never farther than half of one from its index's, but for its rounding
    assert np.abs(data.decode(x).astype(int) - pictures).max() <= 19
    with pytest.raises(ValueError, match="blocks of 2"):
        load_pixels("patches", batch_size=8, size=16, levels=512, palette="uniform", block=2)
