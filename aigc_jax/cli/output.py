"""How commands print: one JSON document and nothing else, or tables that fit the terminal and stay whole in a pipe."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any


@contextlib.contextmanager
def only_json(asked: bool) -> Iterator[None]:
    """Sends what anything prints meanwhile to standard error, so that standard output holds the document alone."""
    if not asked:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def print_json(value: Any) -> None:
    """Prints one JSON document; what JSON has no number for (nan, inf) becomes null."""
    print(json.dumps(_plain(value), indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints rows under headings, columns that hold numbers aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    cells = [[_text(cell) for cell in row] for row in rows]
    numbers = [all(_is_number(row[i]) for row in cells) for i in range(len(columns))]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, number in zip(columns, numbers):
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=10_000)
    console.print(table)


def quantity(value: float, unit: str = "") -> str:
    """124439808 -> 124 M: three figures and the prefix of thousands."""
    for power, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= power:
            return f"{value / power:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def _text(cell: Any) -> str:
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)


def _is_number(text: str) -> bool:
    return not text or text.replace(",", "").replace(".", "").lstrip("-").isdigit()


def _plain(value: Any) -> Any:
    """Tuples, paths and numpy scalars as JSON has them."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
