"""`tfds:`: the embedded sets as TFDS data sets, read without TensorFlow, in memory and by Grain alike."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from aigc_jax.data import build, builders, load_data, load_text, open_source, prepared
from aigc_jax.errors import UserError

SPEC = {"image": ((8, 8, 1), "uint8"), "label": ((), "int32", 10)}


def few_digits():
    draw = np.random.default_rng(0)

    def columns(count: int):
        return {
            "image": draw.integers(0, 256, (count, 8, 8, 1), np.uint8),
            "label": draw.integers(0, 10, count).astype(np.int32),
        }

    return {"train": columns(20), "test": columns(5)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder of prepared data: the first rows of digits, and the documentation."""
    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(folder))
        patch.setitem(builders.EMBEDDED, "digits", few_digits)
        build("digits")
        build("toy_moons")
        build("pydoc")
    return folder


@pytest.fixture
def tfds_home(home, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(home))
    open_source.cache_clear()
    return home


def test_what_was_built_is_read_back_without_tensorflow(tfds_home):
    source = open_source("tfds:aigc_digits")
    expected = few_digits()
    assert source.info == {"examples": {"train": 20, "test": 5}, "classes": list("0123456789")}
    for name, columns in expected.items():
        found = source.splits[name].take(np.arange(len(source.splits[name])))
        order = np.lexsort(found["image"].reshape(len(found["image"]), -1).T)
        wanted = np.lexsort(columns["image"].reshape(len(columns["image"]), -1).T)
        np.testing.assert_array_equal(found["image"][order], columns["image"][wanted])
        np.testing.assert_array_equal(found["label"][order], columns["label"][wanted])
    assert "tensorflow" not in sys.modules


def test_grain_reads_the_same_batches_and_resumes(tfds_home, monkeypatch):
    def batches(count: int, start: int = 0):
        open_source.cache_clear()
        stream = load_data("tfds:aigc_digits", batch_size=3, spec=SPEC).train(5)
        stream.set_state({"index": start})
        return [next(stream)["image"] for _ in range(count)]

    in_memory = batches(10)
    monkeypatch.setattr(prepared, "KEEP", 0)
    np.testing.assert_array_equal(batches(10), in_memory)
    np.testing.assert_array_equal(batches(2, start=8), in_memory[8:])
    data = load_data("tfds:aigc_digits", batch_size=3, spec=SPEC)
    assert [batch["mask"].sum() for batch in data.evaluate()] == [3, 2]


def test_tensors_and_texts(tfds_home):
    batch = next(load_data("tfds:aigc_toy_moons", batch_size=4, spec={"x": ((2,), "float32")}).train(0))
    assert batch["x"].shape == (4, 2)
    text = load_text("tfds:aigc_pydoc", batch_size=2, length=16)
    assert text.decode(next(text.evaluate())["tokens"]) == load_text("pydoc", batch_size=2, length=16).decode(
        next(load_text("pydoc", batch_size=2, length=16).evaluate())["tokens"]
    )


def test_what_is_not_prepared_is_an_error_at_once(tfds_home):
    with pytest.raises(UserError, match="tfds:mnist is not prepared on this machine: no .*files:DIR"):
        open_source("tfds:mnist")
    with pytest.raises(UserError, match="tfds:aigc_digits:9.9.9 is not prepared"):
        open_source("tfds:aigc_digits:9.9.9")
    with pytest.raises(UserError, match="unknown data set to build 'mnits': did you mean 'mnist'"):
        build("mnits")


def test_the_newest_version_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for version in ("9.0.0", "10.0.1"):
        (tmp_path / "a" / "b" / version).mkdir(parents=True)
        (tmp_path / "a" / "b" / version / "dataset_info.json").write_text("{}")
    assert prepared.find("a/b").name == "10.0.1" == prepared.find("a").name
    assert prepared.find("a:9.0.0").name == "9.0.0"


def test_without_the_library_the_rest_works(tfds_home, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(UserError, match=r"need .* Grain \(pip install tensorflow-datasets grain\)"):
        open_source("tfds:aigc_digits")
    assert len(open_source("digits").splits["train"]) == 1437
