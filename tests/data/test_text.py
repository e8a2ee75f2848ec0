"""Windows of text: what is predicted, how often, and with which weight."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data import load_text
from aigc_jax.data.text import Windows
from aigc_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.txt").write_text("the cat sat on the mat\nthe end\n" * 4)
    (tmp_path / "test.txt").write_text("a dog sat on the mat.\n")
    return f"files:{tmp_path}"


def windows(count: int, length: int, padded: bool) -> Windows:
    return Windows(np.arange(count, dtype=np.int32), length, padded, "memory")


def test_training_windows_begin_at_every_offset():
    split = windows(10, 4, padded=False)
    taken = split.take(np.arange(len(split)))["tokens"]
    np.testing.assert_array_equal(taken, np.arange(6)[:, None] + np.arange(5))


@pytest.mark.parametrize("count", [9, 10, 11, 12])
def test_evaluation_predicts_every_token_but_the_first_once(count):
    split = windows(count, 4, padded=True)
    batch = split.take(np.arange(len(split)))
    targets = batch["tokens"][:, 1:][batch["weights"] > 0]
    np.testing.assert_array_equal(np.sort(targets), np.arange(1, count))


def test_the_mask_weighted_mean_of_examples_is_the_mean_over_tokens(folder):
    data = load_text(folder, batch_size=3, length=8)
    value = np.random.default_rng(0).random(256)  # a loss for each target
    by_example = by_token = examples = tokens = 0.0
    for batch in data.evaluate():
        loss, weights = value[batch["tokens"][:, 1:]], batch["weights"]
        by_example += (batch["mask"] * (loss * weights).sum(1) / weights.sum(1)).sum()
        examples += batch["mask"].sum()
        real = weights * (batch["mask"] > 0)[:, None]
        by_token, tokens = by_token + (loss * real).sum(), tokens + real.sum()
    assert tokens == len("a dog sat on the mat.\n") - 1
    np.testing.assert_allclose(by_example / examples, by_token / tokens, rtol=1e-6)


def test_batches_are_of_the_spec_and_decode_to_the_text(folder):
    data = load_text(folder, batch_size=2, length=5)
    batch = next(data.train(0))
    assert batch.keys() == {"tokens"} and batch["tokens"].shape == data.spec["tokens"].shape == (2, 6)
    assert batch["tokens"].dtype == np.int32
    assert all(text in "the cat sat on the mat\nthe end\n" * 4 for text in data.decode(batch["tokens"]))


def test_info_is_known_without_the_source_where_it_can_be(folder):
    assert load_text("files:/nowhere", batch_size=1, length=1).info["vocab"] == 256
    assert load_text("files:/nowhere", batch_size=1, length=1, tokenizer="char", vocab=70).info["vocab"] == 70
    info = load_text(folder, batch_size=1, length=1, tokenizer="char").info
    assert info["vocab"] == len(set("the cat sat on the mat\nthe end\n")) + 1  # `<unk>`: "g" and "." are only in test
    assert info["tokens"] == {"train": 31 * 4, "test": 22} and info["evaluation"] == "test"


def test_word_level_closes_lines(folder):
    data = load_text(folder, batch_size=1, length=3, tokenizer="word")
    assert data.info["tokens"]["train"] == 4 * (6 + 1 + 2 + 1)
    assert data.decode(data.info["tokenizer"].encode("the cat\nsat")[None]) == ["the cat\nsat\n"]


def test_synthetic_counts_within_the_vocabulary_and_pads():
    data = load_text("synthetic", batch_size=4, length=8, vocab=5)
    tokens = next(data.train(0))["tokens"]
    assert tokens.max() < 5 and ((tokens[:, 1:] - tokens[:, :-1]) % 5 == 1).all()
    assert 0 < list(data.evaluate())[-1]["mask"].min() + 1 < 2 and data.decode(tokens[:1])[0].count(" ") == 8
    assert min(batch["mask"].min() for batch in data.evaluate()) == 0


def test_bad_text_is_named(folder, tmp_path):
    def first(**kwargs):
        return next(load_text(folder, batch_size=1, **kwargs).train(0))

    with pytest.raises(UserError, match="124 tokens, fewer than a window of 1001"):
        first(length=1000)
    with pytest.raises(UserError, match="has no column 'en' of text: it has text"):
        first(length=4, column="en")
    with pytest.raises(UserError, match="tokenizer char has 13 tokens, the model a vocabulary of 9"):
        first(length=4, tokenizer="char", vocab=9)
    with pytest.raises(UserError, match="unknown tokenizer 'bpe'"):
        first(length=4, tokenizer="bpe")
    with pytest.raises(UserError, match="column 'label' holds int32, not text"):
        next(load_text("digits", batch_size=1, length=4, column="label").train(0))
    with pytest.raises(ValueError, match="length must be at least 1"):
        load_text(folder, batch_size=1, length=0)


@pytest.mark.parametrize("padded", [False, True])
def test_contiguous_rows_go_on_where_they_ended(padded):
    split = Windows(np.arange(2 * 3 * 4 + 3, dtype=np.int32), 4, padded, "memory", stripes=2)
    taken = [split.take(np.arange(2 * i, 2 * i + 2)) for i in range(len(split) // 2)]
    tokens = np.stack([batch["tokens"] for batch in taken], 1)  # [stripe, batch, length + 1]
    np.testing.assert_array_equal(tokens[0, 1:, 0], tokens[0, :-1, -1])
    np.testing.assert_array_equal(tokens[:, 0, 0], [0, 4 * len(taken)])
    if padded:  # every token but the first is predicted once
        weights = np.stack([batch["weights"] for batch in taken], 1)
        np.testing.assert_array_equal(np.sort(tokens[..., 1:][weights > 0]), np.arange(1, 27))
    assert split.where(1) == f"memory (token {4 * len(taken)})"


def test_a_contiguous_stream_reads_its_stripes_over_and_over(folder):
    data = load_text(folder, batch_size=3, length=8, contiguous=True)
    stream = data.train(7)
    batches = [next(stream)["tokens"] for _ in range(10)]
    for before, after in zip(batches[:4], batches[1:5]):
        np.testing.assert_array_equal(before[:, -1], after[:, 0])
    np.testing.assert_array_equal(batches[5], batches[0])  # 124 characters: 3 stripes of 5 windows of 8
    assert data.decode(np.concatenate([one[0, :-1] for one in batches[:5]])[None]) == [
        ("the cat sat on the mat\nthe end\n" * 4)[:40]
    ]
    with pytest.raises(UserError, match="124 tokens, fewer than 16 windows of 8"):
        next(load_text(folder, batch_size=16, length=8, contiguous=True).train(0))
