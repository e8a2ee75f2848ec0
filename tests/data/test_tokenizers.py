"""Look-ups equal the `tokenizers` library; texts come back; what is not in a vocabulary is named."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data.tokenizers import byte_tokenizer, char_tokenizer, make_tokenizer, tokenize, word_tokenizer
from aigc_jax.errors import UserError

TEXT = "Zoë said:\t«naïve»\n  漢字, 😀\x00 twice  twice\n\nend"


@pytest.mark.parametrize("made", [byte_tokenizer(), char_tokenizer(TEXT), word_tokenizer(TEXT)], ids=lambda t: t.name)
def test_look_up_equals_the_library(made, tmp_path):
    text = TEXT + "\n"
    ids = made.encode(text)
    assert ids.dtype == np.int32 and ids.tolist() == made.library.encode(text).ids
    made.save(tmp_path / "tokenizer.json")
    read = make_tokenizer(str(tmp_path / "tokenizer.json"))
    assert read.size == made.size and read.encode(text).tolist() == ids.tolist()


def test_bytes_are_their_own_ids():
    made = byte_tokenizer()
    assert made.size == 256 and made.encode(TEXT).tolist() == list(TEXT.encode())
    assert made.decode(made.encode(TEXT)) == made.library.decode(made.encode(TEXT).tolist()) == TEXT
    assert made.decode(np.array([65, 0xFF, 66])) == "A\ufffdB"


def test_characters_come_back_in_code_point_order():
    made = char_tokenizer("banana")
    assert made.encode("nab").tolist() == [2, 0, 1] and made.decode([1, 0, 2]) == "ban"
    with pytest.raises(ValueError, match=r"character 'z' \(U\+007A\) is none of the 3"):
        made.encode("zab")


def test_unknown_is_added_only_where_it_is_needed():
    assert char_tokenizer("ab", "ba").size == 2
    made = char_tokenizer("ab", "abc")
    assert made.size == 3 and made.encode("cab").tolist() == [2, 0, 1] == made.library.encode("cab").ids
    assert word_tokenizer("a b", "b").size == 3 and word_tokenizer("a b", "c").size == 4
    assert (
        word_tokenizer("a <unk>", "c").encode("c").tolist()[0] == word_tokenizer("a <unk>").encode("<unk>").tolist()[0]
    )
    with pytest.raises(ValueError, match="word 'c' is none of the 3"):
        word_tokenizer("a b").encode("a c")


def test_words_are_ranked_and_lines_closed():
    made = word_tokenizer("b a b\nb a\n")
    assert made.encode("b a\nb").tolist() == made.encode("b a\nb\n").tolist() == [0, 2, 1, 0, 1]
    assert made.decode([0, 2, 1, 1, 0]) == "b a\n\nb"


def test_ids_beyond_the_vocabulary_are_shown():
    for made, text in ((char_tokenizer("ab"), "ab"), (word_tokenizer("a b"), "a b")):
        beyond = np.append(made.encode(text), made.size)
        assert made.decode(beyond[:-1]).strip() == text and made.decode(beyond).endswith("\ufffd")


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such tokenizer: .*absent.json"):
        make_tokenizer(str(tmp_path / "absent.json"))
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match="bad.json is no tokenizer.json"):
        make_tokenizer(str(tmp_path / "bad.json"))


def test_tokenize_cuts_and_pads():
    batch = {"text": np.array(["abcd", "x"], object)}
    out = tokenize(byte_tokenizer(), 3, pad=7)(batch, np.random.default_rng(0))
    assert out["tokens"].tolist() == [[97, 98, 99], [120, 7, 7]] and out["tokens_length"].tolist() == [3, 1]
