"""What a run is judged by beyond per-example metrics: functions of a run that give numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any


def name_of(split: str | None) -> str:
    """A split in the words of a protocol; None is the evaluation split."""
    return "the evaluation split" if split is None else f"the split {split!r}"


@dataclasses.dataclass(frozen=True)
class Evaluator:
    """(run) -> {metric: float}.

    protocol: one line on how it is measured; it is printed with the numbers, and kept beside them in `result.json`.
    """

    measure: Callable[[Any], dict[str, float]]
    protocol: str

    def __call__(self, run: Any) -> dict[str, float]:
        return self.measure(run)
