import numpy as np
import pytest

from aigc_jax.data import load_bpe_pairs
from aigc_jax.data.bpe import keep, learn
from aigc_jax.errors import UserError

TEXTS = ["Zwei Männer gehen über die Straße.", "two men walk over the street", "a man  and a man", "über, über"]


def test_every_text_comes_back_and_frequent_pairs_become_one():
    tokenizer = learn(TEXTS, 270)
    assert tokenizer.size == 270
    for text in [*TEXTS, "never seen: ŷ 漢字 🙂", ""]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert len(tokenizer.encode("über")) < len(" über".encode())


def test_the_same_texts_give_the_same_vocabulary_and_others_another(tmp_path):
    path = tmp_path / "deep" / "one.json"
    keep(path, TEXTS, 265)
    first = path.read_bytes()
    path.write_text("a mark")
    keep(path, TEXTS, 265)
    assert path.read_text() == "a mark", "what is there already is not learned again"
    keep(path, [*TEXTS, "other other other"], 265)
    other = path.read_bytes()
    keep(path, TEXTS, 265)
    assert path.read_bytes() == first != other
    assert sorted(child.name for child in path.parent.iterdir()) == ["one.json", "one.sha256"]


def test_pairs_share_one_vocabulary_learned_from_both_sides(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGC_CACHE", str(tmp_path / "cache"))
    data = load_bpe_pairs("numbers", batch_size=4, columns=("words", "figures"), lengths=(12, 8), vocab=300)
    assert not (tmp_path / "cache").exists(), "nothing is learned before it is needed"
    batch = next(data.train(0))
    assert batch["source"].shape == (4, 12) and batch["target"].shape == (4, 8)
    for row, length in zip(batch["target"], batch["target_length"]):
        assert row[length - 1] == 0 and np.all(row[: length - 1] > 0)
    assert all(text.isdigit() for text in data.decode(batch["target"]))
    one, other = data.info["tokenizers"]
    assert one.encode("seven").tolist() == other.encode("seven").tolist() and one.size == 299
    held = next(iter(data.evaluate()))
    again = load_bpe_pairs("numbers", batch_size=4, columns=("words", "figures"), lengths=(12, 8), vocab=300)
    np.testing.assert_array_equal(next(iter(again.evaluate()))["source"], held["source"])


def test_what_cannot_be_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="a vocabulary of 256 does not hold 256 bytes and the end"):
        load_bpe_pairs("numbers", batch_size=4, columns=("words", "figures"), lengths=(12, 8), vocab=256)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIGC_CACHE", str(tmp_path / "file"))
    data = load_bpe_pairs("numbers", batch_size=4, columns=("words", "figures"), lengths=(12, 8), vocab=300)
    with pytest.raises(UserError, match="the vocabulary cannot be kept"):
        data.train(0)
