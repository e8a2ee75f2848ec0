"""Palettes: nearest colours, grids, k-means that finds what is there, files."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data import palettes
from aigc_jax.errors import UserError


def test_the_index_is_that_of_the_nearest_colour():
    rng = np.random.default_rng(0)
    table, x = rng.integers(0, 256, (40, 3)), rng.integers(0, 256, (5, 6, 7, 3), np.uint8)
    made = palettes.to_palette(lambda: np.float32(table))({"image": x}, rng)["image"]
    by_hand = ((x[..., None, :].astype(int) - table) ** 2).sum(-1).argmin(-1)
    assert made.dtype == np.int32
    np.testing.assert_array_equal(made[..., 0], by_hand)
    np.testing.assert_array_equal(palettes.from_palette(lambda: np.float32(table))(made), table[by_hand])
    for wrong in (x[..., :1], np.float32(x)):
        with pytest.raises(UserError, match="pictures in colour"):
            palettes.to_palette(lambda: np.float32(table))({"image": wrong}, rng)


def test_a_uniform_palette_is_a_grid():
    table = palettes.uniform(512)
    assert len(np.unique(table, axis=0)) == 512 and table.min() == 0 and table.max() == 255
    with pytest.raises(ValueError, match="such as 512, not 100"):
        palettes.load_palette("uniform", 100)


def test_k_means_finds_the_colours_there_are_and_the_same_ones_again():
    rng = np.random.default_rng(0)
    centres = np.array([[10, 20, 30], [90, 200, 40], [220, 60, 100], [250, 250, 240]])
    x = (centres[rng.integers(0, 4, (20, 16, 16))] + rng.integers(-4, 5, (20, 16, 16, 3))).astype(np.uint8)
    table = palettes.learned(x, 4)
    assert table.dtype == np.uint8 and np.abs(table.astype(int) - centres).max() <= 1
    np.testing.assert_array_equal(table, palettes.learned(x, 4))


def test_a_palette_is_made_from_a_source_and_read_from_its_file(tmp_path, monkeypatch):
    file = tmp_path / "palette.npy"
    monkeypatch.setattr(
        "sys.argv", ["palettes", "patches", str(file), "--colours", "8", "--size", "16", "--pictures", "9"]
    )
    palettes.main()
    table = palettes.load_palette(str(file), 8)()
    assert table.shape == (8, 3) and table.dtype == np.float32 and np.ptp(table) > 100
    np.save(file, table / 127.5 - 1)  # as iGPT's were released
    np.testing.assert_allclose(palettes.load_palette(str(file), 8)(), table, atol=1e-3)
    np.save(file, table.astype(int))
    with pytest.raises(UserError, match="holds int64 from .* a palette is uint8, or floats in"):
        palettes.load_palette(str(file), 8)()
    with pytest.raises(UserError, match=r"holds \(8, 3\), not a palette of 512"):
        palettes.load_palette(str(file), 512)()
    with pytest.raises(UserError, match="no palette in nowhere.npy"):
        palettes.load_palette("nowhere.npy", 512)()
