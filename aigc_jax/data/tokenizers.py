"""Tokenizers: bytes, characters, words, or a `tokenizer.json` of the `tokenizers` library.

All four are objects of that library (`Tokenizer.library`), so they are saved and read by it. Bytes, characters and
words are encoded by table look-up, which gives the library's ids a hundred times faster; a test holds the two equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aigc_jax.data.transforms import Transform, column_of
from aigc_jax.errors import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

UNKNOWN, END = "<unk>", "<eos>"


class Tokenizer:
    """Text <-> ids. `size` is the number of ids; `encode` gives int32 [T], `decode` takes integers [T]."""

    def __init__(
        self,
        name: str,
        library: Library,
        encode: Callable[[str], np.ndarray] | None = None,
        decode: Callable[[list[int]], str] | None = None,
    ) -> None:
        self.name, self.library = name, library
        self.size: int = library.get_vocab_size()
        self._encode, self._decode = encode, decode

    def encode(self, text: str) -> np.ndarray:
        """int32 [T]. Raises ValueError for a character outside the vocabulary, where there is no unknown token."""
        if self._encode is not None:
            return self._encode(text)
        return np.asarray(self.library.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, ids: Any) -> str:
        """The text of ids [T]; bytes that are no UTF-8 are shown as U+FFFD, and so are characters and words beyond the
        vocabulary, which a network with more outputs may write.
        """
        ids = np.asarray(ids).tolist()
        return self._decode(ids) if self._decode else self.library.decode(ids, skip_special_tokens=False)

    def save(self, path: str | Path) -> None:
        """Writes a `tokenizer.json`."""
        self.library.save(str(path))


def make_tokenizer(name: str, text: Callable[[], str] = str, unseen: Callable[[], str] = str) -> Tokenizer:
    """The tokenizer of a name: "byte", "char", "word", or the path of a `tokenizer.json`.

    text:   gives the training text that characters and words are learned from.
    unseen: gives other text that will be encoded: where it holds what the training text has not, `<unk>` is added.

    Raises UserError for another name, or a file that is missing or no tokenizer.
    """
    if name == "byte":
        return byte_tokenizer()
    if name == "char":
        return char_tokenizer(text(), unseen())
    if name == "word":
        return word_tokenizer(text(), unseen())
    if name.endswith(".json"):
        return read_tokenizer(Path(name))
    raise UserError(f"unknown tokenizer {name!r}: byte, char, word, or the path of a tokenizer.json")


def byte_tokenizer() -> Tokenizer:
    """256 ids, exactly the bytes of UTF-8."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers

    library = Library(models.BPE(vocab={shown: byte for byte, shown in enumerate(_shown_bytes())}, merges=[]))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.decoder = decoders.ByteLevel()
    return Tokenizer(
        "byte",
        library,
        lambda text: np.frombuffer(text.encode(), np.uint8).astype(np.int32),
        lambda ids: bytes(ids).decode(errors="replace"),
    )


def _shown_bytes() -> list[str]:
    """The printable character that stands for each byte in byte-level vocabularies: itself, or one from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def char_tokenizer(text: str, unseen: str = "") -> Tokenizer:
    """One id for each character of `text`, in the order of code points; `<unk>` last, only where `unseen` needs it."""
    from tokenizers import Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Library

    points = np.unique(_code_points(text))
    unknown = not np.isin(np.unique(_code_points(unseen)), points).all()
    names = [chr(point) for point in points] + [UNKNOWN] * unknown
    library = Library(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))
    library.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    library.decoder = decoders.Fuse()
    table = np.full(0x110000, len(points) if unknown else -1, np.int32)
    table[points] = np.arange(len(points))

    def encode(text: str) -> np.ndarray:
        found = _code_points(text)
        ids = table[found]
        if ids.size and ids.min() < 0:
            strange = chr(found[np.argmin(ids)])
            raise ValueError(
                f"character {strange!r} (U+{ord(strange):04X}) is none of the {len(names)} of the tokenizer"
            )
        return ids

    return Tokenizer("char", library, encode, lambda ids: "".join(_name(names, i) for i in ids))


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def word_tokenizer(text: str, unseen: str = "") -> Tokenizer:
    """Words between blanks, `<eos>` at the end of every line, as word-level language models have; most frequent first.

    A word that the training text has not is `<unk>`, which is added where neither text holds it and `unseen` needs it.
    """
    from tokenizers import Tokenizer as Library
    from tokenizers import models, normalizers, pre_tokenizers

    counts = Counter(_words(text))
    names = sorted(counts, key=lambda word: (-counts[word], word))
    if UNKNOWN not in names and not set(_words(unseen)) <= set(names):
        names.append(UNKNOWN)
    ids = {name: i for i, name in enumerate(names)}
    library = Library(models.WordLevel(ids, unk_token=UNKNOWN))
    library.normalizer = normalizers.Replace("\n", f" {END} ")
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()

    def encode(text: str) -> np.ndarray:
        unknown = ids.get(UNKNOWN, -1)
        found = np.array([ids.get(word, unknown) for word in _words(text)], np.int32)
        if found.size and found.min() < 0:
            raise ValueError(
                f"word {_words(text)[int(np.argmin(found))]!r} is none of the {len(names)} of the tokenizer"
            )
        return found

    def decode(numbers: list[int]) -> str:
        lines: list[list[str]] = [[]]
        for number in numbers:
            name = _name(names, number)
            if name == END:
                lines.append([])
            else:
                lines[-1].append(name)
        return "\n".join(" ".join(line) for line in lines)

    return Tokenizer("word", library, encode, decode)


def _words(text: str) -> list[str]:
    """Words in order, every line closed by END; a text without a last newline still ends its last line."""
    lines = text.removesuffix("\n").split("\n") if text else []
    return [word for line in lines for word in (*line.split(), END)]


def read_tokenizer(path: Path) -> Tokenizer:
    """A `tokenizer.json`. Raises UserError naming the file."""
    from tokenizers import Tokenizer as Library

    if not path.is_file():
        raise UserError(f"no such tokenizer: {path}")
    try:
        return Tokenizer(str(path), Library.from_file(str(path)))
    except Exception as error:  # the library raises plain Exception
        raise UserError(f"{path} is no tokenizer.json: {error}") from None


def tokenize(tokenizer: Tokenizer, length: int, *, of: str = "text", to: str = "tokens", pad: int = 0) -> Transform:
    """Text [B] -> ids [B, length] int32, cut or padded with `pad`; `to`_length [B] holds the number of ids kept."""

    def ids(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        rows = np.full((len(texts), length), pad, np.int32)
        counts = np.zeros(len(texts), np.int32)
        for row, text in enumerate(texts):
            found = tokenizer.encode(text)[:length]
            rows[row, : len(found)], counts[row] = found, len(found)
        return rows, counts

    def transform(batch: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
        rows, counts = ids(list(column_of(batch, of)))
        return {**batch, to: rows, f"{to}_length": counts}

    return transform


def _name(names: list[str], number: int) -> str:
    return names[number] if number < len(names) else "\ufffd"
