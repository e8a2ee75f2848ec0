"""Pairs of texts as tokens: lengths, ends, and the way back."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data import load_pairs, open_source
from aigc_jax.errors import UserError

NUMBERS = dict(columns=("figures", "words"), tokenizers=("char", "word"), lengths=(6, 10), vocab=(12, 32))


def test_numbers_come_with_their_lengths_and_ends():
    data = load_pairs("numbers", batch_size=50, **NUMBERS)
    batch = next(data.evaluate())
    table = open_source("numbers").splits["test"].take(np.arange(50))
    assert batch.keys() == {"source", "source_length", "target", "target_length", "mask"}
    assert data.decode(batch["target"]) == list(table["words"])
    source = data.info["tokenizers"][0]
    for row in range(50):
        length, end = batch["source_length"][row], batch["target_length"][row]
        assert source.decode(batch["source"][row, :length] - 1) == table["figures"][row]
        assert end == len(table["words"][row].split()) + 1 and batch["target"][row, end - 1] == 0
        assert (batch["target"][row, : end - 1] > 0).all() and not batch["target"][row, end:].any()
    assert next(data.train(0))["target"].shape == data.spec["target"].shape == (50, 10)


def test_longer_texts_are_cut_and_have_no_end():
    batch = next(load_pairs("numbers", batch_size=50, **{**NUMBERS, "lengths": (2, 3)}).evaluate())
    words = [text.split() for text in open_source("numbers").splits["test"].take(np.arange(50))["words"]]
    np.testing.assert_array_equal(batch["target_length"], [min(len(one) + 1, 3) for one in words])
    assert all((batch["target"][row] > 0).all() for row, one in enumerate(words) if len(one) > 2)


def test_a_vocabulary_without_room_for_the_end_is_refused():
    data = load_pairs("numbers", batch_size=2, **{**NUMBERS, "vocab": (12, 31)})
    with pytest.raises(UserError, match="the target has 31 tokens and an end, the model takes 31"):
        next(data.train(0))


def test_synthetic_pairs_need_no_source():
    data = load_pairs("synthetic", batch_size=4, **NUMBERS)
    assert len(data.decode(next(data.train(0))["target"])) == 4
