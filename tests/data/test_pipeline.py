"""Order, resumption, padding, process shares and the checks of a batch against its spec."""

from __future__ import annotations

import collections

import jax
import numpy as np
import pytest

from aigc_jax.data import binarize, compose, images, load_data, scale, sounds
from aigc_jax.data import pipeline as pipeline_module
from aigc_jax.data.pipeline import Order
from aigc_jax.data.tables import Source, Table
from aigc_jax.data.transforms import Batch
from aigc_jax.errors import UserError

NUMBERS = {"x": ((), "int32")}


def numbers(monkeypatch, length: int, **kwargs):
    """`load_data` over the examples 0 .. length - 1 of split train, and 100, 101, ... of test."""
    splits = {
        "train": Table({"x": np.arange(length)}, "memory"),
        "test": Table({"x": 100 + np.arange(length)}, "memory"),
    }
    source = Source("memory", splits, "test", {"examples": {"train": length, "test": length}})
    monkeypatch.setattr(pipeline_module, "open_source", lambda name, *reading: source)
    return load_data("memory", spec=NUMBERS, **kwargs)


def test_an_epoch_holds_every_example_once_and_epochs_run_on():
    order = Order(length=10, batch_size=4, seed=3)
    stream = np.concatenate([order.rows(i) for i in range(5)])
    assert sorted(stream[:10]) == sorted(stream[10:]) == list(range(10))
    assert list(stream[:10]) != list(stream[10:])


def test_a_batch_larger_than_the_set_holds_whole_epochs():
    assert collections.Counter(Order(length=3, batch_size=7, seed=0).rows(0).tolist()).most_common()[0][1] == 3


def test_batch_i_is_a_function_of_seed_and_i(monkeypatch):
    def noise(batch: Batch, rng: np.random.Generator) -> Batch:
        return {"x": batch["x"] + 1000 * rng.integers(0, 9, len(batch["x"]))}

    data = numbers(monkeypatch, 10, batch_size=4, train=noise)
    first = [next(stream)["x"] for stream in [data.train(1)] for _ in range(6)]
    stream = data.train(1)
    stream.set_state({"index": 4})
    np.testing.assert_array_equal(next(stream)["x"], first[4])
    assert stream.get_state() == {"index": 5}
    assert not np.array_equal(next(data.train(2))["x"], first[0])
    assert len({tuple(x // 1000) for x in first}) == len(first)  # each batch has draws of its own


def test_a_stream_goes_back_to_a_state_it_has_passed(monkeypatch):
    stream = numbers(monkeypatch, 10, batch_size=4).train(0)
    next(stream)
    state, expected = stream.get_state(), next(stream)["x"]
    next(stream)
    stream.set_state(state)
    np.testing.assert_array_equal(next(stream)["x"], expected)
    assert stream.waited > 0


def test_evaluation_counts_every_example_once_in_order(monkeypatch):
    data = numbers(monkeypatch, 10, batch_size=4, eval_batch_size=4)
    batches = list(data.evaluate())
    assert [batch["x"].shape for batch in batches] == [(4,)] * 3
    mask = np.concatenate([batch["mask"] for batch in batches])
    assert mask.dtype == np.float32 and mask.sum() == 10
    np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in batches])[mask > 0], 100 + np.arange(10))
    assert np.concatenate([batch["x"] for batch in data.evaluate("train")])[:10].tolist() == list(range(10))
    assert next(data.evaluate("train[4:6]"))["x"].tolist() == [4, 5, 5, 5]


def test_processes_share_each_batch_without_overlap(monkeypatch):
    whole = next(numbers(monkeypatch, 10, batch_size=4).train(0))["x"]
    last = list(numbers(monkeypatch, 10, batch_size=4).evaluate())[-1]
    shares, masks = [], []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        data = numbers(monkeypatch, 10, batch_size=4)
        shares.append(next(data.train(0))["x"])
        masks.append(list(data.evaluate())[-1]["mask"])
    np.testing.assert_array_equal(np.concatenate(shares), whole)
    np.testing.assert_array_equal(np.concatenate(masks), last["mask"])
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    with pytest.raises(ValueError, match="batch of 4 does not divide over 3 processes"):
        next(numbers(monkeypatch, 10, batch_size=4).train(0))


def test_nothing_is_opened_before_a_batch_is_asked_for():
    data = load_data("tfds:no_such_set", batch_size=2, spec={"image": ((32, 32, 3), "float32")})
    stream, evaluation = data.train(0), data.evaluate()
    assert data.spec == {"image": jax.ShapeDtypeStruct((2, 32, 32, 3), np.float32)}
    assert data.info["source"] == "tfds:no_such_set"
    with pytest.raises(UserError, match="no_such_set is not prepared"):
        next(stream)
    with pytest.raises(UserError, match="no_such_set is not prepared"):
        next(evaluation)


def test_a_failed_reader_fails_again_and_does_not_end_the_stream(monkeypatch):
    def broken(batch: Batch, rng: np.random.Generator) -> Batch:
        raise ValueError("broken transform")

    stream = numbers(monkeypatch, 10, batch_size=4, train=broken).train(0)
    for _ in range(2):
        with pytest.raises(ValueError, match="broken transform"):
            next(stream)
    assert stream.get_state() == {"index": 0}


def test_the_spec_is_enforced_with_the_numbers():
    def first(**kwargs):
        return next(load_data("digits", batch_size=2, **kwargs).train(0))

    with pytest.raises(
        UserError, match=r"digits \(example \d+\): image is 8 x 8 x 1, the experiment takes 32 x 32 x 3"
    ):
        first(spec={"image": ((32, 32, 3), "uint8")})
    with pytest.raises(UserError, match="digits has no 'caption', which the experiment takes: it has image, label"):
        first(spec={"caption": ((), "int32")})
    with pytest.raises(UserError, match="digits has 10 classes, the experiment 4"):
        first(spec={"label": ((), "int32", 4)})
    with pytest.raises(ValueError, match="'image' is uint8 after the transforms, the spec says float32: add scale"):
        first()
    with pytest.raises(ValueError, match="batch sizes must be at least 1: batch_size 0"):
        load_data("digits", batch_size=0)


def test_labels_out_of_range_name_the_example(monkeypatch):
    data = numbers(monkeypatch, 5, batch_size=5)
    assert next(data.train(0))["x"].dtype == np.int32
    source = Source("memory", {"train": Table({"x": np.array([0, 7])}, "labels.npy")}, "train", {})
    monkeypatch.setattr(pipeline_module, "open_source", lambda name, *reading: source)
    data = load_data("memory", batch_size=2, spec={"x": ((), "int32", 3)})
    with pytest.raises(UserError, match=r"labels.npy \(example 1\): x 7 is out of range: the experiment has 3, 0 to 2"):
        next(data.evaluate())


def test_splits_are_chosen_in_tfds_notation():
    data = load_data(
        "digits",
        batch_size=7,
        splits={"train": "train[:7]", "evaluate": "train[-100:]"},
        spec={"label": ((), "int32", 10)},
    )
    assert sum(batch["mask"].sum() for batch in data.evaluate()) == 100
    stream = data.train(0)
    assert sorted(next(stream)["label"]) == sorted(next(stream)["label"])
    assert data.info["evaluation"] == "train[-100:]"
    with pytest.raises(UserError, match="split train\\[5:5\\] is empty: 0 examples"):
        next(data.evaluate("train[5:5]"))
    with pytest.raises(UserError, match="unknown split of digits 'tset': did you mean 'test'"):
        next(data.evaluate("tset"))


def test_decode_inverts_scale():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    scaled = scale(-1, 1)({"image": pixels}, np.random.default_rng(0))["image"]
    np.testing.assert_array_equal(images(-1, 1)(scaled), pixels)
    np.testing.assert_array_equal(images()(np.array([-0.5, 2.0])), [0, 255])
    rate, wave = sounds(8000)(np.array([[3.0, 0.5]]))
    assert rate == 8000 and wave.tolist() == [[1.0, 0.5]] and wave.dtype == np.float32


def test_evaluation_draws_the_same_every_time():
    data = load_data("digits", batch_size=32, spec={"image": ((8, 8, 1), "float32")}, evaluate=compose(binarize()))
    np.testing.assert_array_equal(next(data.evaluate())["image"], next(data.evaluate())["image"])
