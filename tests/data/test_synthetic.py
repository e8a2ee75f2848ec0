"""Synthetic arrays: of the spec, in range, deterministic, and of a length that needs padding."""

from __future__ import annotations

import numpy as np

from aigc_jax.data import load_data, scale

SPEC = {
    "image": ((4, 4, 1), "float32"),
    "bits": ((5,), "float32", "binary"),
    "label": ((), "int32", 10),
    "tokens": ((6,), "int32", 7),
    "flag": ((), "int32"),
}


def test_batches_are_of_the_spec_and_in_range():
    data = load_data("synthetic", batch_size=6, spec=SPEC, train=scale(-1, 1))  # no transform touches them
    batch = next(data.train(0))
    assert {name: (x.shape, x.dtype) for name, x in batch.items()} == {
        name: (one.shape, one.dtype) for name, one in data.spec.items()
    }
    assert 0 <= batch["image"].min() < batch["image"].max() <= 1 and set(batch["bits"].ravel()) == {0, 1}
    assert batch["label"].max() < 10 and batch["tokens"].max() < 7 and batch["flag"].max() == 1
    np.testing.assert_array_equal(
        batch["image"], next(load_data("synthetic", batch_size=6, spec=SPEC).train(0))["image"]
    )


def test_evaluation_is_a_batch_and_a_half():
    data = load_data("synthetic", batch_size=6, eval_batch_size=4, spec=SPEC)
    assert [batch["mask"].sum() for batch in data.evaluate()] == [4, 2]
    assert data.info["examples"] == {"train": 24, "test": 6}


def test_classes_differ_more_than_examples_of_one():
    batch = next(load_data("synthetic", batch_size=40, spec=SPEC).train(0))
    x, label = batch["image"].reshape(40, -1), batch["label"]
    distance = np.abs(x[:, None] - x[None]).mean(-1)
    same = label[:, None] == label[None]
    assert distance[same].max() < distance[~same].min()
