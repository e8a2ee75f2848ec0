"""Folders with a `dataset.json`: every format it can name, and what is wrong with it."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zipfile

import numpy as np
import pytest
from PIL import Image

from aigc_jax.data import load_data, open_source
from aigc_jax.errors import UserError

DRAW = np.random.default_rng(0)
BITS = DRAW.integers(0, 2, (6, 20), np.uint8)
WAVES = [DRAW.integers(-999, 999, length).astype(np.int16) for length in (5, 9, 2)]
PICTURES = DRAW.integers(0, 2, (4, 5, 5), np.uint8) * 255


def describe(folder, splits, evaluation=None, **info):
    variant = {"splits": splits, "info": info} | ({"evaluation": evaluation} if evaluation else {})
    description = {"name": "mine", "root": ".", "default": "mine", "licence": "CC0", "variants": {"mine": variant}}
    (folder / "dataset.json").write_text(json.dumps(description))
    return f"files:{folder}"


def split(examples, columns, **more):
    return {"examples": examples, "columns": columns, **more}


def read(name, split="train"):
    rows = open_source(name).splits[split]
    return rows.take(np.arange(len(rows)))


def packed_npy(x):
    file = io.BytesIO()
    np.save(file, x)
    return lzma.compress(file.getvalue())


def test_bit_packed_rows_and_shards(tmp_path):
    np.savez(tmp_path / "bits.npz", train=np.packbits(BITS, axis=1))
    for i in range(2):
        (tmp_path / f"part_{i}.npy.xz").write_bytes(packed_npy(BITS[3 * i : 3 * i + 3]))
    bits = {"format": "npz", "files": ["bits.npz"], "array": "train", "bits": 20, "times": 255, "shape": [4, 5, 1]}
    shards = {"format": "npy", "files": ["part_0.npy.xz", "part_1.npy.xz"], "dtype": "float32"}
    batch = read(describe(tmp_path, {"train": split(6, {"image": bits, "x": shards})}))
    np.testing.assert_array_equal(batch["image"].reshape(6, 20), BITS * 255)
    assert batch["image"].dtype == np.uint8 and batch["x"].dtype == np.float32
    np.testing.assert_array_equal(batch["x"], BITS)


def test_rows_by_range_shuffle_and_name(tmp_path):
    np.savez(tmp_path / "index.npz", x=np.arange(6), names=np.array([f"{c}_{i}" for c in "ab" for i in range(3)]))
    x = {"format": "npz", "files": ["index.npz"], "array": "x"}
    names = {"format": "npz", "files": ["index.npz"], "array": "names"}
    label = {**names, "pattern": "^([a-z])_", "classes": ["b", "a"]}
    columns = {"x": x, "name": names, "label": label}
    name = describe(
        tmp_path,
        {
            "train": split(4, columns, rows={"column": "name", "match": "_[12]$"}),
            "middle": split(3, columns, rows={"range": [1, 4]}),
            "drawn": split(2, columns, rows={"shuffle": 0, "range": [4, 6]}),
        },
        classes=["b", "a"],
    )
    assert read(name)["name"].tolist() == ["a_1", "a_2", "b_1", "b_2"] and read(name)["label"].tolist() == [1, 1, 0, 0]
    assert read(name, "middle")["x"].tolist() == [1, 2, 3]
    assert read(name, "drawn")["x"].tolist() == np.random.RandomState(0).permutation(6)[4:].tolist()
    assert open_source(name).evaluation == "drawn" and open_source(name).info["examples"]["middle"] == 3


def test_waves_are_cut_by_their_lengths(tmp_path):
    (tmp_path / "all.npy.xz").write_bytes(packed_npy(np.concatenate(WAVES)))
    np.savez(tmp_path / "index.npz", lengths=[len(wave) for wave in WAVES], short=[5, 9])
    waves = {"format": "waves", "files": ["all.npy.xz"]}
    lengths = {"format": "npz", "files": ["index.npz"], "array": "lengths"}
    found = read(describe(tmp_path, {"train": split(3, {"wave": {**waves, "lengths": lengths}})}))["wave"]
    assert all((one == other).all() for one, other in zip(found, WAVES, strict=True))
    open_source.cache_clear()
    name = describe(tmp_path, {"train": split(2, {"wave": {**waves, "lengths": {**lengths, "array": "short"}}})})
    with pytest.raises(UserError, match="all.npy.xz has 16 samples, the 2 lengths add up to 14"):
        read(name)


def test_text_lines_and_parts(tmp_path):
    (tmp_path / "a.en.gz").write_bytes(gzip.compress(b"one\ntwo\nthree\n"))
    (tmp_path / "a.de").write_text("eins\nzwei\ndrei\n")
    (tmp_path / "book.txt").write_text(" 0123 \n 56789\n")
    lines = {language: {"format": "lines", "files": [f"a.{language}.gz"]} for language in ("en", "de")}
    book = {"text": {"format": "text", "files": ["book.txt"], "strip": True}}
    name = describe(
        tmp_path,
        {"train": split(3, lines), "text": split(1, book, part=[0, 0.5]), "rest": split(1, book, part=[0.5, 1])},
    )
    assert read(name)["de"].tolist() == ["eins", "zwei", "drei"] and read(name)["en"][2] == "three"
    assert read(name, "text")["text"][0] + read(name, "rest")["text"][0] == "0123\n56789\n"
    assert len(read(name, "text")["text"][0]) == 5


def test_zips_of_pictures_and_their_names(tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for i, x in enumerate(PICTURES):
            file = io.BytesIO()
            Image.fromarray(x).convert("1").save(file, "PNG")
            archive.writestr(f"{'ab'[i % 2]}/{i}.png", file.getvalue())
        archive.writestr("run1/labels.txt", "a x\nb y\n")
    zipped = {"files": ["all.zip"], "members": "^[ab]/"}
    columns = {
        "image": {"format": "pictures", **zipped, "shape": [5, 5, 1]},
        "label": {"format": "names", **zipped, "pattern": "^(.)/", "classes": ["a", "b"]},
    }
    lines = {"text": {"format": "lines", "files": ["all.zip"], "members": "labels"}}
    name = describe(tmp_path, {"train": split(4, columns), "lines": split(2, lines)})
    np.testing.assert_array_equal(read(name)["image"][..., 0], PICTURES[[0, 2, 1, 3]])
    assert read(name)["label"].tolist() == [0, 0, 1, 1] and read(name, "lines")["text"][1] == "b y"


def test_cifar_binaries(tmp_path):
    image = DRAW.integers(0, 256, (3, 32, 32, 3), np.uint8)
    records = np.concatenate([np.array([[7], [0], [9]], np.uint8), image.transpose(0, 3, 1, 2).reshape(3, -1)], 1)
    (tmp_path / "data.bin").write_bytes(records.tobytes())
    cifar = {"format": "cifar", "files": ["data.bin"], "labels": 1}
    batch = read(
        describe(tmp_path, {"train": split(3, {"image": {**cifar, "take": "image"}, "label": {**cifar, "take": 0}})})
    )
    np.testing.assert_array_equal(batch["image"], image)
    assert batch["label"].tolist() == [7, 0, 9]


@pytest.fixture
def table(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((4, 3), np.uint8))
    np.save(tmp_path / "y.npy", np.array([0, 1, 2, 1]))
    x = {"format": "npy", "files": ["x.npy"]}
    return tmp_path, x, {"format": "npy", "files": ["y.npy"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"examples": 5}, "x.npy: split train has 4 examples of 'x', expected 5"),
        ({"x": {"shape": [2]}}, "x.npy: examples of 3, expected 2"),
        ({"x": {"bits": 99}}, r"x.npy: expected rows of 13 bytes for 99 bits, found shape \(4, 3\)"),
        ({"x": {"files": ["z.npy"]}}, "missing data file: .*z.npy"),
        ({"x": {"format": "nyp"}}, "unknown format of .*x.npy 'nyp': did you mean 'npz' or 'npy'"),
        ({"x": {"format": "npz"}}, "dataset.json: split train lacks 'array'"),
        ({"classes": ["a", "b"]}, "y.npy: label 2 of example 2 is none of the 2 classes, 0 to 1"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_named(table, change, message):
    folder, x, label = table
    columns = {"x": {**x, **change.get("x", {})}, "label": label}
    name = describe(
        folder, {"train": split(change.get("examples", 4), columns)}, classes=change.get("classes", list("abc"))
    )
    with pytest.raises(UserError, match=message) as caught:
        read(name)
    assert "\n" not in str(caught.value)


def test_damaged_descriptions(table):
    folder, x, _ = table
    name = describe(folder, {"train": split(4, {"x": x})})
    with pytest.raises(UserError, match="unknown variant of .* 'yours': there are: mine"):
        open_source(f"{name}#yours")
    (folder / "dataset.json").write_text('{"name": "mine",\n "root" "."}')
    with pytest.raises(UserError, match="dataset.json line 2: Expecting ':' delimiter"):
        open_source(name)
    (folder / "dataset.json").write_text("[]")
    with pytest.raises(UserError, match="dataset.json has no 'variants'"):
        open_source(name)
    with pytest.raises(UserError, match="no such data folder: /nowhere"):
        open_source("files:/nowhere")


def test_only_the_split_asked_for_is_read(table):
    folder, x, _ = table
    broken = {"x": {"format": "npy", "files": ["absent.npy"]}}
    name = describe(folder, {"train": split(4, {"x": x}), "test": split(4, broken)})
    data = load_data(name, batch_size=2, spec={"x": ((3,), "uint8")})
    assert next(data.train(0))["x"].shape == (2, 3) and data.info["licence"] == "CC0"
    with pytest.raises(UserError, match="absent.npy"):
        next(data.evaluate())
