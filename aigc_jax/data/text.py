"""Text as windows of tokens, for language models.

A training example is a window of `length + 1` tokens at any offset of the training text, in random order. Evaluation
windows do not overlap: their starts lie `length` apart, so that every token but the very first is predicted exactly
once.

`contiguous` is for models that carry a state from batch to batch: the text is cut into as many stripes as a batch has
rows, and row b of each batch goes on where row b of the batch before ended, in evaluation too. At the end of an epoch
every row jumps to the beginning of its stripe.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from aigc_jax.data.conform import Conform
from aigc_jax.data.pipeline import Data, Info, assemble
from aigc_jax.data.sources import open_source
from aigc_jax.data.tables import WEIGHT, Batch, Source, select
from aigc_jax.data.tokenizers import Tokenizer, make_tokenizer
from aigc_jax.data.transforms import compose
from aigc_jax.errors import UserError, nearest


class Windows(NamedTuple):
    """The windows of a text: at every offset, or, for evaluation, every `length` tokens with the last one padded.

    stripes: above 0, windows lie `length` apart and row r is window r // stripes of stripe r % stripes: batches of so
             many rows, taken in order, read each stripe from its beginning to its end. Where `padded`, the last stripes
             may end early, in rows of weight 0; otherwise the end of the text that fills no window of all is left out.

    take gives `tokens` [B, length + 1]; where `padded` also `weights` [B, length], 1 where the target is a token of the
    text, and the weight of the row, the share of such targets, which becomes `mask`: the mean over examples of
    per-example means, weighted by `mask`, is the mean over tokens.
    """

    tokens: np.ndarray
    length: int
    padded: bool
    place: str
    stripes: int = 0

    @property
    def grain(self) -> bool:
        return False

    def __len__(self) -> int:
        targets = len(self.tokens) - 1
        if self.stripes:
            whole = self.length * self.stripes
            return self.stripes * (-(-targets // whole) if self.padded else max(0, targets) // whole)
        return -(-targets // self.length) if self.padded else max(0, targets - self.length + 1)

    def take(self, rows: np.ndarray) -> Batch:
        index = self._starts(rows)[:, None] + np.arange(self.length + 1)  # [B, length + 1]
        if not self.padded:
            return {"tokens": self.tokens[index]}
        tokens = np.where(index < len(self.tokens), self.tokens[np.minimum(index, len(self.tokens) - 1)], 0)
        weights = (index[:, 1:] < len(self.tokens)).astype(np.float32)
        return {"tokens": tokens, "weights": weights, WEIGHT: weights.mean(1)}

    def where(self, row: int) -> str:
        return f"{self.place} (token {self._starts(np.array([row]))[0]})"

    def _starts(self, rows: np.ndarray) -> np.ndarray:
        """The first token of each row."""
        if self.stripes:
            per_stripe = len(self) // self.stripes
            rows = rows % self.stripes * per_stripe + rows // self.stripes
        return rows * self.length if self.padded or self.stripes else rows


def load_text(
    source: str,
    *,
    batch_size: int,
    length: int,
    tokenizer: str = "byte",
    vocab: int | None = None,
    column: str = "text",
    eval_batch_size: int | None = None,
    splits: Mapping[str, str] | None = None,
    contiguous: bool = False,
) -> Data:
    """The text of a source as `{"tokens": [B, length + 1] int32}`: inputs `tokens[:, :-1]`, targets `tokens[:, 1:]`.

    source:    see `aigc_jax.data`; `synthetic` counts upwards, modulo the vocabulary.
    tokenizer: "byte", "char", "word" (blanks, `<eos>` for the newline), or the path of a `tokenizer.json`; "char" and
               "word" learn their vocabulary from the training text.
    vocab:     the vocabulary of the model, at least that of the tokenizer; without it, that of the tokenizer, for which
               "char" and "word" read the source.
    column:    of the source; several documents are joined by newlines.
    splits:    as in `load_data`.
    contiguous: row b of a batch goes on where row b of the batch before ended; see the module.

    Evaluation batches carry `weights` [B, length] and `mask` [B] (see `Windows`); rows that are padding alone have
    mask 0. `info` has `tokenizer`, `vocab`, and `tokens`, the tokens of each split read so far.
    Raises ValueError for a length below 1; UserError, when the source is read, for a text shorter than a window.
    """
    if length < 1:
        raise ValueError(f"windows of {length} tokens: length must be at least 1")
    chosen = {"train": "train", **(splits or {})}
    if source == "synthetic":
        corpus: _Corpus = _Counting(vocab or 256, length, eval_batch_size or batch_size)
    else:
        corpus = _Corpus(source, column, tokenizer, vocab, chosen["train"], chosen.get("evaluate"))

    def windows(split: str, padded: bool) -> Windows:
        rows = (eval_batch_size or batch_size) if padded else batch_size
        found = Windows(corpus.tokens(split), length, padded, corpus.where(split), rows if contiguous else 0)
        if not len(found):
            least = f"{rows} windows of {length}" if contiguous and not padded else f"a window of {length + 1}"
            raise UserError(f"{found.place}: {len(found.tokens)} tokens, fewer than {least}")
        return found

    known: dict[str, Any] = {"source": source}
    if vocab or tokenizer == "byte" or source == "synthetic":  # known without reading the source
        known["vocab"] = vocab or 256
    limits = {"tokens": vocab} if vocab else {}
    return assemble(
        Conform(source, {"tokens": ((length + 1,), np.dtype(np.int32))}, limits, also="weights"),
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        train_split=lambda: windows(chosen["train"], padded=False),
        eval_split=lambda name: windows(name or corpus.evaluation, padded=True),
        train=compose(),
        evaluate=compose(),
        decode=corpus.decode,
        info=Info(known, corpus.facts),
        shuffle=not contiguous,
    )


class _Corpus:
    """The token arrays of a source, made when first asked for."""

    def __init__(
        self, source: str, column: str, tokenizer: str, vocab: int | None, train: str, evaluation: str | None
    ) -> None:
        self._name, self._column, self._tokenizer, self._vocab = source, column, tokenizer, vocab
        self._train, self._evaluation = train, evaluation
        self.tokens = functools.cache(self._encode)

    @functools.cached_property
    def source(self) -> Source:
        return open_source(self._name)

    @property
    def evaluation(self) -> str:
        return self._evaluation or self.source.evaluation

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        made = make_tokenizer(self._tokenizer, lambda: self._text(self._train), lambda: self._text(self.evaluation))
        if self._vocab and made.size > self._vocab:
            raise UserError(f"tokenizer {made.name} has {made.size} tokens, the model a vocabulary of {self._vocab}")
        return made

    def decode(self, tokens: Any) -> list[str]:
        return [self.tokenizer.decode(row) for row in np.asarray(tokens)]

    def facts(self) -> Mapping[str, Any]:
        tokens = {name: len(self.tokens(name)) for name in (self._train, self.evaluation)}
        known = {"tokenizer": self.tokenizer, "vocab": self._vocab or self.tokenizer.size, "tokens": tokens}
        return {**self.source.info, **known, "evaluation": self.evaluation}

    def where(self, split: str) -> str:
        return _documents(self.source, split, self._column)[1]

    def _encode(self, split: str) -> np.ndarray:
        """int32 [T], the whole split."""
        try:
            return self.tokenizer.encode(self._text(split))
        except ValueError as error:
            raise UserError(f"{self.where(split)}: {error}") from None

    def _text(self, split: str) -> str:
        return _documents(self.source, split, self._column)[0]


class _Counting(_Corpus):
    """The synthetic text: token t is t modulo the vocabulary."""

    def __init__(self, vocab: int, length: int, batch_size: int) -> None:
        super().__init__("synthetic", "text", "byte", vocab, "train", "test")
        self._lengths = {"train": 64 * length + 1, "test": length * (batch_size + batch_size // 2) + length // 2 + 2}

    def decode(self, tokens: Any) -> list[str]:
        return [" ".join(map(str, row)) for row in np.asarray(tokens)]

    def facts(self) -> Mapping[str, Any]:
        return {"tokens": self._lengths, "evaluation": "test", "tokenizer": self.tokenizer, "vocab": self._vocab}

    def where(self, split: str) -> str:
        return f"synthetic {split}"

    def _encode(self, split: str) -> np.ndarray:
        if split not in self._lengths:
            raise UserError(nearest(split, self._lengths, "split of synthetic"))
        return np.arange(self._lengths[split], dtype=np.int32) % (self._vocab or 256)


def _documents(source: Source, split: str, column: str) -> tuple[str, str]:
    """The text of a split, its documents joined by newlines, and where it lies."""
    rows = select(source, split)
    table = rows.take(np.arange(len(rows)))
    if column not in table:
        raise UserError(f"{source.name} has no column {column!r} of text: it has {', '.join(table)}")
    texts = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in table[column]]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{rows.where(0)}: column {column!r} holds {type(texts[0]).__name__}, not text")
    return "\n".join(texts), rows.where(0)
