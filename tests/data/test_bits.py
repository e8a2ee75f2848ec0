"""Bits: one function for pictures and tables, and what is none of it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from aigc_jax.data import load_bits, load_data, open_source
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


def test_a_table_read_as_pictures_and_pictures_as_a_table_name_the_knob(tmp_path):
    table = load_bits(described(tmp_path, np.zeros((6, 5), np.uint8)), batch_size=6, size=28)
    with pytest.raises(UserError, match="own.npz .*: a table, not pictures: set --columns 5"):
        next(table.train(0))
    np.savez(tmp_path / "own.npz", train=np.full((6, 2), 224, np.uint8))
    with pytest.raises(UserError, match="set --columns N, the number of bits that its rows of 2 bytes hold"):
        next(load_bits(f"files:{tmp_path}#own", batch_size=6, size=28).train(0))
    with pytest.raises(UserError, match="digits .*: pictures, not a table: set --columns 0"):
        next(load_bits("digits", batch_size=6, size=8, columns=5).train(0))


def test_pictures_are_binarized():
    data = load_bits("digits", batch_size=16, size=8)
    assert set(np.unique(next(data.train(0))["image"])) == {0, 1}


def test_a_table_of_another_width_is_refused(tmp_path):
    data = load_bits(described(tmp_path, np.zeros((6, 5), np.uint8)), batch_size=6, size=28, columns=4)
    with pytest.raises(UserError, match="x is 5, the experiment takes 4"):
        next(data.train(0))


@pytest.fixture
def bare(tmp_path):
    """Two tables in a folder that nothing describes: one of bytes, one of the same bits packed."""
    rows = np.random.default_rng(0).integers(0, 2, (7, 13)).astype(np.uint8)
    parts = {"train": rows[:4], "valid": rows[4:6], "test": rows[6:]}
    np.savez(tmp_path / "own.npz", **parts)
    np.savez(tmp_path / "packed.npz", **{name: np.packbits(x, axis=1) for name, x in parts.items()})
    return tmp_path, rows


@pytest.mark.parametrize("name", ["own", "packed"])
def test_a_bare_folder_of_tables_is_read_by_their_names(bare, name):
    folder, rows = bare
    data = load_bits(f"files:{folder}#{name}", batch_size=4, size=28, columns=13)
    assert sorted(map(tuple, next(data.train(0))["x"])) == sorted(map(tuple, rows[:4]))
    np.testing.assert_array_equal(next(data.evaluate("valid"))["x"][:2], rows[4:6])
    np.testing.assert_array_equal(next(data.evaluate())["x"][:1], rows[6:])
    assert data.info["examples"] == {"train": 4, "valid": 2, "test": 1} and data.info["evaluation"] == "test"


def refusal(folder, columns, name="own"):
    open_source.cache_clear()  # what was opened last stays open, and these files change
    with pytest.raises(UserError) as caught:
        next(load_bits(f"files:{folder}#{name}", batch_size=4, size=28, columns=columns).train(0))
    (line,) = str(caught.value).splitlines()
    return line.replace(str(folder), "DIR")


def test_what_is_wrong_with_a_bare_table_is_one_line_with_the_numbers(bare):
    folder, rows = bare
    assert refusal(folder, 13, "onw") == "DIR has no table 'onw': there are own, packed"
    assert re.fullmatch(r"DIR/own.npz \(example \d\): x is 13, the experiment takes 12", refusal(folder, 12))
    assert "x is 2, the experiment takes 17" in refusal(folder, 17, "packed")
    assert refusal(folder, 9, "packed") == "DIR/packed.npz: train holds more than 9 bits in rows of 2 bytes"
    assert "x is 13, the experiment takes 104" in refusal(folder, 104), "13 bytes of 0 and 1 are not 104 bits"
    np.savez(folder / "own.npz", train=rows[:4] + 2)
    assert re.fullmatch(
        r"DIR/own.npz \(example \d\): x holds [23], the experiment takes bits, 0 and 1", refusal(folder, 13)
    )
    np.savez(folder / "own.npz", valid=rows)
    assert "unknown split of files:DIR#own 'train': there are: valid" in refusal(folder, 13)
    np.savez(folder / "own.npz", x=rows)
    assert refusal(folder, 13) == "DIR/own.npz has none of the arrays train, valid and test: it has x"
    np.savez(folder / "own.npz", train=rows[0])
    assert refusal(folder, 13) == "DIR/own.npz: train is of shape (13,), a table is rows of columns"
    with pytest.raises(UserError, match="a table is read by files:.*#NAME, NAME one of own, packed"):
        next(load_bits(f"files:{folder}", batch_size=4, size=28, columns=13).train(0))


def test_packed_is_said_of_a_file_not_of_a_split(tmp_path):
    rng = np.random.default_rng(0)
    parts = {"train": rng.integers(0, 2, (6, 13)), "test": np.zeros((4, 13), int)}  # zeros alone: bytes of 0
    np.savez(tmp_path / "own.npz", **{name: np.packbits(x.astype(np.uint8), axis=1) for name, x in parts.items()})
    data = load_bits(f"files:{tmp_path}#own", batch_size=4, size=0, columns=13)
    (test,) = data.evaluate("test")
    np.testing.assert_array_equal(test["x"], parts["test"])


def test_whole_numbers_are_a_table_of_real_values_too(tmp_path):
    np.savez(tmp_path / "own.npz", train=np.arange(12).reshape(4, 3), test=np.arange(6).reshape(2, 3))
    data = load_data(f"files:{tmp_path}#own", batch_size=2, spec={"x": ((3,), "float32")})
    (test,) = data.evaluate("test")
    np.testing.assert_array_equal(test["x"], [[0, 1, 2], [3, 4, 5]])


def test_a_name_where_there_is_no_table_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("words " * 100)
    with pytest.raises(UserError, match="has no table 'own': there is none"):
        next(load_bits(f"files:{tmp_path}#own", batch_size=2, size=0, columns=3).train(0))
