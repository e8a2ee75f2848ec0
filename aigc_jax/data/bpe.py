"""Pairs of texts in one vocabulary of byte pairs, learned from both sides of the training split (arXiv:1508.07909).

The units are bytes and what merges of the most frequent pairs make of them, within words: no text is unknown, and decoding
gives every text back. A vocabulary is learned when first needed, in the same way each time, and kept as a `tokenizer.json` in
$AIGC_CACHE/bpe or ~/.cache/aigc_jax/bpe, beside the digest of the text it was learned from.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aigc_jax.data.pairs import load_pairs
from aigc_jax.data.pipeline import Data, Info, Stream
from aigc_jax.data.sources import open_source
from aigc_jax.data.tables import select
from aigc_jax.data.tokenizers import Tokenizer
from aigc_jax.data.transforms import column_of
from aigc_jax.errors import UserError


def load_bpe_pairs(
    source: str, *, columns: tuple[str, str], vocab: int, splits: dict[str, str] | None = None, **options: Any
) -> Data:
    """As `load_pairs`, with one vocabulary for both columns: at most `vocab` ids, 0 among them.

    options: its lengths and batch sizes.

    Raises ValueError for a vocabulary that cannot hold the bytes.
    """
    if vocab < 257:
        raise ValueError(f"a vocabulary of {vocab} does not hold 256 bytes and the end")
    split = (splits or {}).get("train", "train")
    name = hashlib.sha256(repr((_place(source), columns, vocab, split)).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("AIGC_CACHE") or Path.home() / ".cache" / "aigc_jax") / "bpe"
    path = folder / f"{name}.json"
    pairs = load_pairs(source, columns=columns, vocab=(vocab, vocab), tokenizers=(str(path), str(path)), splits=splits,
                       **options)  # fmt: skip
    if source == "synthetic":
        return pairs

    @functools.cache
    def learned() -> None:
        rows = select(open_source(source), split)
        table = rows.take(np.arange(len(rows)))
        keep(path, [text for column in columns for text in column_of(table, column)], vocab - 1)

    def train(seed: int) -> Stream:
        learned()
        return pairs.train(seed)

    def evaluate(split: str | None = None) -> Iterator[dict[str, Any]]:
        learned()
        yield from pairs.evaluate(split)

    def decode(rows: Any) -> list[str]:
        learned()
        return pairs.decode(rows)

    def facts() -> Any:
        learned()
        return pairs.info

    known = {"source": source, "vocab": (vocab, vocab)}
    return pairs._replace(train=train, evaluate=evaluate, decode=decode, info=Info(known, facts))


def keep(path: Path, texts: list[str], size: int) -> None:
    """Learns the vocabulary of a file, unless the file is of these texts already; whole files alone get their name."""
    digest = hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
    stamp = path.with_suffix(".sha256")
    if path.is_file() and stamp.is_file() and stamp.read_text() == digest:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, write in ((path, learn(texts, size).save), (stamp, lambda place: place.write_text(digest))):
            part = target.with_name(f"{target.name}.{os.getpid()}")  # of this process: others may be at the same
            write(part)
            os.replace(part, target)
    except OSError as error:
        raise UserError(f"the vocabulary cannot be kept: {error}; AIGC_CACHE names another folder") from None


def learn(texts: list[str], size: int) -> Tokenizer:
    """Byte pairs of texts, `size` units at most; blanks belong to the word after them, and the first word has one too."""
    from tokenizers import Tokenizer as Library
    from tokenizers import decoders, models, pre_tokenizers, trainers

    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    library.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=sorted(alphabet), show_progress=False)
    library.train_from_iterator(texts, trainer)
    return Tokenizer("bpe", library)


def _place(source: str) -> str:
    """The name of a source, a folder by its whole path."""
    kind, _, rest = source.partition(":")
    return f"files:{Path(rest).expanduser().resolve()}" if kind == "files" else source
