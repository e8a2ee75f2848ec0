"""`build` describes raw files after it has checked them; `show` says what a source holds."""

from __future__ import annotations

import gzip
import json
import struct

import numpy as np
import pytest

from aigc_jax.data import build, load_data, manage, open_source, recipes, show
from aigc_jax.data import files as files_module
from aigc_jax.errors import UserError

KNOWN = recipes.recipes()
FORMATS = set(files_module.FORMATS)


def idx(x: np.ndarray) -> bytes:
    return gzip.compress(bytes([0, 0, 8, x.ndim]) + struct.pack(f">{x.ndim}I", *x.shape) + x.tobytes())


def small_mnist(count: int = 6):
    """The recipe of MNIST for `count` pictures, with a second variant."""
    recipe = json.loads(json.dumps(KNOWN["mnist"]))
    splits = recipe["variants"]["mnist"]["splits"]
    splits["valid"]["rows"]["range"] = [count - 2, count]
    for name, examples in (("train", count), ("valid", 2), ("test", 3)):
        splits[name]["examples"] = examples
    recipe["variants"]["small"] = {"evaluation": "test", "splits": {"test": splits["test"]}}
    return {"mnist": recipe}


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A folder with the files of a small MNIST, and the recipe that fits."""
    draw = np.random.default_rng(0)
    folder = tmp_path / "mnist"
    folder.mkdir()
    for prefix, count in (("train", 6), ("t10k", 3)):
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(draw.integers(0, 256, (count, 28, 28), np.uint8)))
        (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(draw.integers(0, 10, count).astype(np.uint8)))
    monkeypatch.setattr(manage, "recipes", small_mnist)
    monkeypatch.setattr(recipes, "recipes", small_mnist)
    monkeypatch.setenv("AIGC_DATA_DIR", str(tmp_path / "home"))
    return folder


SPEC = {"image": ((28, 28, 1), "uint8"), "label": ((), "int32", 10)}


def test_build_writes_beside_the_files(raw):
    assert build("mnist", raw) == raw
    data = load_data(f"files:{raw}", batch_size=4, spec=SPEC)
    assert [batch["mask"].sum() for batch in data.evaluate("train")] == [4, 2]
    train = [batch["image"] for batch in data.evaluate("train")]
    np.testing.assert_array_equal(next(data.evaluate("valid"))["image"][:2], train[1][:2])
    assert data.info["classes"][9] == "9" and data.info["evaluation"] == "test"


def test_build_writes_elsewhere_when_told_or_when_it_must(raw, tmp_path):
    assert build("mnist", raw, tmp_path / "there") == tmp_path / "there"
    raw.chmod(0o555)
    try:
        target = build("mnist", raw)
    finally:
        raw.chmod(0o755)
    assert target == tmp_path / "home" / "mnist" and not (raw / "dataset.json").exists()
    for folder in (target, tmp_path / "there"):
        assert next(load_data(f"files:{folder}", batch_size=2, spec=SPEC).train(0))["image"].shape == (2, 28, 28, 1)


def test_a_known_folder_is_read_without_being_built(raw):
    assert show(str(raw))["splits"]["test"]["examples"] == 3
    small = show(f"{raw}#small")
    assert small["source"] == f"files:{raw}#small" and list(small["splits"]) == ["test"]
    assert small["info"]["variants"] == ["mnist", "small"]
    assert not (raw / "dataset.json").exists()


def test_a_folder_of_another_name_must_be_built(raw):
    raw.rename(raw.parent / "mine")
    with pytest.raises(UserError, match="aigc data build NAME --from .*mine, NAME one of mnist$"):
        open_source(f"files:{raw.parent / 'mine'}")


def test_show_lists_splits_and_columns(raw):
    shown = show(f"files:{raw}")
    assert shown["splits"]["train"] == {
        "examples": 6,
        "columns": {"image": {"dtype": "uint8", "shape": [28, 28, 1]}, "label": {"dtype": "uint8", "shape": []}},
    }
    assert shown["evaluation"] == "test" and shown["info"]["licence"] == "none stated"
    assert json.loads(json.dumps(show("pydoc")))["splits"]["test"]["columns"]["text"]["dtype"] == "text"


def test_what_is_missing_or_wrong_is_named(raw, tmp_path):
    with pytest.raises(UserError, match="unknown benchmark to build from files 'mnits': did you mean 'mnist'"):
        build("mnits", raw)
    with pytest.raises(UserError, match="no such data folder: .*absent"):
        build("mnist", tmp_path / "absent")
    labels = raw / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(idx(np.zeros(4, np.uint8)))
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte.gz: split test has 4 examples of 'label', expected 3"):
        build("mnist", raw)
    labels.write_bytes(idx(np.full(3, 11, np.uint8)))
    with pytest.raises(UserError, match="label 11 of example 0 is none of the 10 classes"):
        build("mnist", raw)
    labels.unlink()
    with pytest.raises(UserError, match="lacks 1 of the 4 files of mnist: t10k-labels-idx1-ubyte.gz"):
        build("mnist", raw)
    assert not (raw / "dataset.json").exists()


def test_building_without_files_needs_tensorflow_or_a_folder():
    with pytest.raises(UserError, match="building tfds:mnist needs TensorFlow .* aigc data build mnist --from DIR"):
        build("mnist")


def test_building_what_nobody_knows_lists_what_there_is():
    with pytest.raises(
        UserError, match="'nothing': there are: adding, binarized_mnist, .*, wikitext2; or any name of TFDS"
    ):
        build("nothing")
    with pytest.raises(UserError, match="'cifra100': did you mean 'cifar100'"):
        build("cifra100")


def test_a_folder_named_as_a_benchmark_says_how_it_is_made(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw.rename(tmp_path / "downloads")
    with pytest.raises(
        UserError, match="no such data folder: mnist: aigc data build mnist --from DIR --to mnist makes"
    ):
        open_source("files:mnist#small")
    build("mnist", "downloads", "mnist")
    assert list(open_source("files:mnist#small").splits) == ["test"]
    with pytest.raises(UserError, match="no such data folder: nowhere$"):
        open_source("files:nowhere")


def test_sources_are_read_again_after_a_build(raw):
    one = np.zeros(1, int)
    assert open_source(f"files:{raw}").splits["test"].take(one)["image"].any()
    (raw / "t10k-images-idx3-ubyte.gz").write_bytes(idx(np.zeros((3, 28, 28), np.uint8)))
    build("mnist", raw)
    assert not open_source(f"files:{raw}").splits["test"].take(one)["image"].any()


def test_a_folder_that_only_bears_the_name_is_read_as_it_is(raw):
    for file in raw.iterdir():
        file.unlink()
    (raw / "notes.txt").write_text("zero to nine" * 9)
    assert open_source(f"files:{raw}").splits["train"].take(np.zeros(1, int))["text"][0].startswith("zero")


@pytest.mark.parametrize("recipe", KNOWN.values(), ids=lambda recipe: recipe["name"])
def test_recipes_are_whole_and_plain_json(recipe):
    assert json.loads(json.dumps(recipe)) == recipe and recipes.files_of(recipe)
    for variant in recipe["variants"].values():
        assert "train" in variant["splits"] or "support" in variant["splits"]
        assert variant["evaluation"] in variant["splits"]
        for split in variant["splits"].values():
            assert {column["format"] for column in split["columns"].values()} <= FORMATS
            if "label" in split["columns"]:
                assert variant["info"]["classes"]
            start, stop = split.get("rows", {}).get("range", (0, split["examples"]))
            assert stop - start == split["examples"]
