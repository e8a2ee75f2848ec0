"""Bits: one function for pictures and tables, and what is none of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from aigc_jax.data import load_bits, load_data
from aigc_jax.errors import UserError


def described(folder, x):
    """A folder of one table, as `dataset.json` describes it."""
    np.savez(folder / "own.npz", train=x, valid=x[:2], test=x[:1])
    splits = {name: {"examples": len(part), "columns": {"x": {"format": "npz", "files": ["own.npz"], "array": name}}}
              for name, part in (("train", x), ("valid", x[:2]), ("test", x[:1]))}  # fmt: skip
    variants = {"own": {"evaluation": "test", "splits": splits}}
    (folder / "dataset.json").write_text(json.dumps({"variants": variants, "default": "own", "root": "."}))
    return f"files:{folder}"


def test_a_table_is_rows_of_bits_and_is_shown_as_such(tmp_path):
    x = np.random.default_rng(0).integers(0, 2, (6, 5)).astype(np.uint8)
    data = load_bits(described(tmp_path, x), batch_size=6, size=28, columns=5)
    batch = next(data.train(0))
    assert batch["x"].dtype == np.float32 and sorted(map(tuple, batch["x"])) == sorted(map(tuple, x))
    assert len(next(data.evaluate("valid"))["x"]) == 6 and data.decode(x[:1]) == ["".join(map(str, x[0]))]


def test_what_is_no_bit_is_refused_with_its_file(tmp_path):
    x = np.zeros((6, 5), np.uint8)
    x[4, 2] = 3
    data = load_bits(described(tmp_path, x), batch_size=6, size=28, columns=5)
    with pytest.raises(UserError, match=r"own.npz.*x holds 3, the experiment takes bits, 0 and 1"):
        next(data.train(0))
    grey = load_data("digits", batch_size=4, spec={"image": ((8, 8, 1), "float32", "binary")},
                     train=lambda batch, rng: {"image": batch["image"] / np.float32(255)})  # fmt: skip
    with pytest.raises(UserError, match="digits.*image holds 0.*takes bits"):
        next(grey.train(0))


def test_pictures_are_binarized():
    data = load_bits("digits", batch_size=16, size=8)
    assert set(np.unique(next(data.train(0))["image"])) == {0, 1}


def test_a_table_of_another_width_is_refused(tmp_path):
    data = load_bits(described(tmp_path, np.zeros((6, 5), np.uint8)), batch_size=6, size=28, columns=4)
    with pytest.raises(UserError, match="x is 5, the experiment takes 4"):
        next(data.train(0))
