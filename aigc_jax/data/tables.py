"""What a source is once it is open: splits of rows, read batch-wise.

A `Table` holds whole columns in memory, and a batch is one gather; `Records` read their rows one by one, from files or
from TFDS. Both answer `len`, `take(rows)` and `where(row)`, which is all that the pipeline asks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np

from aigc_jax.errors import UserError, nearest

Batch = dict[str, np.ndarray]
WEIGHT = "example_weight"
"""The column by which a split gives its rows a weight of their own in evaluation."""

Places = str | Mapping[str, str] | Callable[[int], str]


class Split(Protocol):
    """Rows of one split."""

    @property
    def grain(self) -> bool:
        """Whether rows are read record by record, by Grain's readers."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> Batch:
        """The rows [B] as {column: [B, ...]}; rows of different shapes make an object array [B]."""
        ...

    def where(self, row: int) -> str:
        """The file, or other place, that a row comes from: what an error names."""
        ...


class Source(NamedTuple):
    """An opened source.

    splits:     by name.
    evaluation: the name of the split that evaluations use unless told otherwise.
    info:       what is known besides: classes, rate, licence, source.
    """

    name: str
    splits: Mapping[str, Split]
    evaluation: str
    info: Mapping[str, Any]


class Table:
    """Whole columns in memory, all of one length; `places` names their files: one, by column, or by row."""

    grain = False

    def __init__(self, columns: Mapping[str, np.ndarray], places: Places) -> None:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise UserError(f"{_files(places)}: columns of different lengths: {counts}")
        self.columns = dict(columns)
        self._places = places
        self._length = next(iter(lengths.values()), 0)

    def __len__(self) -> int:
        return self._length

    def take(self, rows: np.ndarray) -> Batch:
        return {name: values[rows] for name, values in self.columns.items()}

    def where(self, row: int) -> str:
        return self._places(row) if callable(self._places) else f"{_files(self._places)} (example {row})"


def _files(places: Places) -> str:
    if callable(places):
        return places(0)
    return places if isinstance(places, str) else ", ".join(dict.fromkeys(places.values()))


class Records:
    """Rows that are read one at a time: `read(row)` gives one example, `place(row)` its file."""

    def __init__(
        self, length: int, read: Callable[[int], Mapping[str, Any]], place: Callable[[int], str], grain: bool = False
    ) -> None:
        self.grain = grain
        self._length, self._read, self._place = length, read, place

    def __len__(self) -> int:
        return self._length

    def take(self, rows: np.ndarray) -> Batch:
        if self.grain or len(rows) < 4:  # Grain brings its own threads
            return stack([self._read(int(row)) for row in rows])
        with ThreadPoolExecutor(4) as pool:  # decoding pictures releases the interpreter lock
            return stack(list(pool.map(self._read, rows.tolist())))

    def where(self, row: int) -> str:
        return self._place(row)


class Part:
    """The rows `start <= row < stop` of another split."""

    def __init__(self, base: Split, start: int, stop: int) -> None:
        self.grain = base.grain
        self._base, self._start, self._length = base, start, max(0, stop - start)

    def __len__(self) -> int:
        return self._length

    def take(self, rows: np.ndarray) -> Batch:
        return self._base.take(rows + self._start)

    def where(self, row: int) -> str:
        return self._base.where(row + self._start)


def stack(examples: Sequence[Mapping[str, Any]]) -> Batch:
    """Examples as columns; a column whose values differ in shape, or are text, is an object array [B]."""
    return {name: column([example[name] for example in examples]) for name in (examples[0] if examples else ())}


def column(values: Sequence[Any]) -> np.ndarray:
    """[B, ...] where the values have one shape, an object array [B] where they have not, or are text."""
    if isinstance(values[0], str) or len({np.shape(value) for value in values}) > 1:
        ragged = np.empty(len(values), object)
        ragged[:] = list(values) if isinstance(values[0], str) else [np.asarray(value) for value in values]
        return ragged
    return np.stack([np.asarray(value) for value in values])


_SLICE = re.compile(r"(?P<name>[^\[\]]+)\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\]")


def select(source: Source, wanted: str) -> Split:
    """The split of a name, or a part of it as TFDS writes one: `train[:50000]`, `train[-10000:]`, `train[:90%]`.

    Raises UserError for a split that the source has not, and for one without a row.
    """
    match = _SLICE.fullmatch(wanted)
    name = match["name"] if match else wanted
    if name not in source.splits:
        raise UserError(nearest(name, source.splits, f"split of {source.name}"))
    split = source.splits[name]
    if match:
        split = Part(split, _bound(match["start"], len(split), 0), _bound(match["stop"], len(split), len(split)))
    if not len(split):
        raise UserError(f"{source.name}: split {wanted} is empty: 0 examples")
    return split


def _bound(text: str | None, length: int, default: int) -> int:
    if text is None:
        return default
    value = round(float(text[:-1]) / 100 * length) if text.endswith("%") else int(text)
    return min(max(value + length if value < 0 else value, 0), length)
