"""BLEU of what a run translates (Papineni et al. 2002), by sacrebleu, with the signature of how it was measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from aigc_jax.data.sources import open_source
from aigc_jax.data.tables import select
from aigc_jax.data.transforms import column_of
from aigc_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Bleu:
    """An evaluator: run -> {"bleu"}, 0 to 100, of its samples against a column of the source as it stands there.

    column:   of the references; texts as they are, not cut to the model's lengths.
    split:    None is the evaluation split.
    tokenize: sacrebleu's: "13a" for plain text, "none" for text that is tokenised already.
    """

    column: str
    split: str | None = None
    tokenize: str = "13a"

    @property
    def protocol(self) -> str:
        split = self.split or "the evaluation split"
        return f"sacrebleu of {split}, one reference each, column {self.column!r}: {self.signature}"

    @property
    def signature(self) -> str:
        metric = _metric(self.tokenize)
        metric.corpus_score(["a"], [["a"]])  # it names the number of references, known once something was scored
        return str(metric.get_signature())

    def __call__(self, run: Any) -> dict[str, float]:
        return {
            "bleu": corpus_bleu(translations(run, self.split), references(run, self.column, self.split), self.tokenize)
        }


def corpus_bleu(texts: list[str], wanted: list[str], tokenize: str = "13a") -> float:
    """BLEU of texts against one reference each, 0 to 100. Raises ValueError where there are not as many of both."""
    if len(texts) != len(wanted):
        raise ValueError(f"{len(texts)} translations and {len(wanted)} references")
    return float(_metric(tokenize).corpus_score(texts, [wanted]).score)


def translations(run: Any, split: str | None = None) -> list[str]:
    """What a run writes for every example of a split, in order."""
    texts = []
    for batch in run.data.evaluate(split):
        real = np.asarray(batch["mask"]) > 0
        texts += run.data.decode(np.asarray(run.sample(batch))[real])
    return texts


def references(run: Any, column: str, split: str | None = None) -> list[str]:
    """The column of a split of a run's source."""
    rows = select(open_source(run.data.info["source"]), split or run.data.info["evaluation"])
    return [str(text) for text in column_of(rows.take(np.arange(len(rows))), column)]


def _metric(tokenize: str) -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ModuleNotFoundError:
        raise UserError("BLEU is measured by sacrebleu: pip install sacrebleu") from None
    # force: sacrebleu warns of tokenised text, which "none" is meant for
    return BLEU(tokenize=tokenize, force=True)
