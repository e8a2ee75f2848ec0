"""Pairs of texts, for translation: source and target as tokens with their lengths, the target closed by an end.

Token 0 is the end and the padding; the ids of a tokenizer begin after it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from aigc_jax.data.pipeline import Data, Info, load_data
from aigc_jax.data.sources import open_source
from aigc_jax.data.tables import Batch, select
from aigc_jax.data.tokenizers import Tokenizer, make_tokenizer
from aigc_jax.data.transforms import column_of
from aigc_jax.errors import UserError


def load_pairs(
    source: str,
    *,
    batch_size: int,
    columns: tuple[str, str],
    lengths: tuple[int, int],
    vocab: tuple[int, int],
    tokenizers: tuple[str, str] = ("word", "word"),
    eval_batch_size: int | None = None,
    splits: Mapping[str, str] | None = None,
) -> Data:
    """`source` [B, S], `source_length` [B], `target` [B, T], `target_length` [B], all int32.

    columns:    of the source: what is translated, and into what.
    lengths:    S and T, the end of the target included; longer texts are cut, and such a target has no end.
    vocab:      the model's, at least one more each than the tokenizers have.
    tokenizers: "char", "word", or the path of a `tokenizer.json`; the first two learn from the training split.
    splits:     as in `load_data`.

    decode gives the texts of target tokens up to the end; `info` has `vocab` and `tokenizers`, each of source and target.
    Raises UserError, when the source is read, for a vocabulary that is too small.
    """
    chosen = {"train": "train", **(splits or {})}

    @functools.cache
    def tokenizer(side: int) -> Tokenizer:
        def text(split: str) -> str:
            rows = select(opened, split)
            return "\n".join(column_of(rows.take(np.arange(len(rows))), columns[side]))

        opened = open_source(source)
        held = chosen.get("evaluate", opened.evaluation)
        made = make_tokenizer(tokenizers[side], lambda: text(chosen["train"]), lambda: text(held))
        if made.size >= vocab[side]:
            name = ("source", "target")[side]
            raise UserError(f"{source}: the {name} has {made.size} tokens and an end, the model takes {vocab[side]}")
        return made

    def tokens(texts: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
        rows, counts = np.zeros((len(texts), lengths[side]), np.int32), np.zeros(len(texts), np.int32)
        for row, text in enumerate(texts):
            ids = _without_end(tokenizer(side), text)[: lengths[side]] + 1
            rows[row, : len(ids)] = ids
            counts[row] = min(len(ids) + side, lengths[side])  # the target's end is counted
        return rows, counts

    def both(batch: Batch, rng: np.random.Generator) -> Batch:
        out: Batch = {}
        for side, name in enumerate(("source", "target")):
            out[name], out[f"{name}_length"] = tokens(column_of(batch, columns[side]), side)
        return out

    def decode(rows: Any) -> list[str]:
        if source == "synthetic":
            return [" ".join(map(str, row)) for row in np.asarray(rows)]
        return [tokenizer(1).decode(row[: _end(row)] - 1).strip("\n") for row in np.asarray(rows)]

    spec = {}
    for side, name in enumerate(("source", "target")):
        spec[name] = ((lengths[side],), "int32", vocab[side])
        spec[f"{name}_length"] = ((), "int32", lengths[side] + 1)
    data = load_data(source, batch_size=batch_size, spec=spec, train=both, evaluate=both, decode=decode,
                     eval_batch_size=eval_batch_size, splits=splits)  # fmt: skip
    known = {"source": source, "vocab": vocab}

    def facts() -> Mapping[str, Any]:
        made = {} if source == "synthetic" else {"tokenizers": (tokenizer(0), tokenizer(1))}
        return {**data.info, **made}

    return data._replace(info=Info(known, facts))


def _without_end(tokenizer: Tokenizer, text: str) -> np.ndarray:
    """The ids of a text; the end of a line, which words close it with, is left to the caller's own end."""
    ids = tokenizer.encode(text)
    return ids[:-1] if tokenizer.name == "word" and len(ids) else ids


def _end(row: np.ndarray) -> int:
    """The place of the first end, or the length of the row."""
    ends = np.flatnonzero(row == 0)
    return int(ends[0]) if len(ends) else len(row)
