"""Records: the small JSON files in `results/` that say what a run reached, and the tables of `docs/` written from them.

A record carries all that is needed to believe it or to repeat it: experiment, preset, knobs, the figure, what was
expected, protocol, seconds, device, commit, versions. `docs/results.md` and `docs/benchmarks.md` are written from
records alone, never by hand.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aigc_jax.errors import RunError, UserError
from aigc_jax.experiment import Entry
from aigc_jax.training.checkpoint import write_json
from aigc_jax.training.folder import read_json


class Verdict(NamedTuple):
    """A figure beside what was expected of it.

    direction: which side is good: "max" is reached at `expected - tolerance` and above, "min" at `expected +
               tolerance` and below.
    """

    metric: str
    value: float
    expected: float
    tolerance: float
    direction: str

    @property
    def reached(self) -> bool:
        """Whether the figure is as good as expected, within the tolerance; a figure that is no number is not."""
        if self.direction == "max":
            return self.value >= self.expected - self.tolerance
        return self.value <= self.expected + self.tolerance

    @property
    def bound(self) -> str:
        """What was expected, as `0.99 - 0.005` or `3.1 + 0.1`: the tolerance stands on the side that still counts."""
        return f"{self.expected:g} {'-' if self.direction == 'max' else '+'} {self.tolerance:g}"

    def __str__(self) -> str:
        return (
            f"{self.metric} = {self.value:.6g}, expected {self.bound}: {'reached' if self.reached else 'NOT reached'}"
        )


def verdict(result: Mapping[str, Any]) -> Verdict | None:
    """The verdict on a `result.json`; None where its preset expects nothing.

    Raises RunError if the run has no metric of the expected name.
    """
    expected = result.get("expected")
    if not expected:
        return None
    metric = expected["metric"]
    if metric not in result["metrics"]:
        raise RunError(f"the run has no metric {metric!r}: there are {', '.join(sorted(result['metrics']))}")
    value = result["metrics"][metric]
    direction = expected.get("direction", "min")
    if direction not in ("min", "max"):
        raise RunError(f"EXPECTED of {result.get('experiment')} has direction {direction!r}: it must be 'min' or 'max'")
    number = float("nan") if value is None else float(value)
    return Verdict(metric, number, float(expected["value"]), float(expected.get("tolerance", 0)), direction)


def write_record(workdir: Path, folder: Path, changed: Mapping[str, Any] | None = None) -> tuple[Verdict, Path]:
    """Writes the record of a finished run to `folder/<name>-<preset>.json`.

    changed: knobs that were given over those of the preset, such as where the data lie; the tables show them.

    Raises UserError if the folder holds no finished run, or its preset expects no figure.
    """
    result = read_json(workdir / "result.json")
    found = verdict(result)
    if found is None:
        raise UserError(f"preset {result['preset']} of {result['experiment']} has no EXPECTED figure to compare with")
    name = Path(result["experiment"]).stem
    record = {
        "experiment": name, "preset": result["preset"], **found._asdict(), "reached": found.reached,
        "seconds": result["seconds"], "device": result["device"], "cores": os.cpu_count(),
        "machine": platform.machine(), "steps": result.get("steps"), "commit": result["commit"],
        "versions": result["versions"], "protocol": result.get("protocol"), "knobs": _portable(result["knobs"]),
        "changed": _portable(changed or {}), "metrics": result["metrics"],
    }  # fmt: skip
    path = folder / f"{name}-{result['preset']}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, record)
    except OSError as error:
        raise UserError(f"cannot write the record {path}: {error.strerror}") from None
    return found, path


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of a folder by file name, in its order. Raises UserError for one that is damaged."""
    return {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}


def parity_file(entry: Entry, golden: Path) -> str:
    """The golden files of an experiment: by its name, by one of its systems, or by a network that its file imports."""
    text = entry.path.read_text(encoding="utf-8") if entry.path.is_file() else ""
    modules = re.findall(r"^from aigc_jax\.networks\.(\w+) import", text, re.MULTILINE)
    modules += [name for names in re.findall(r"^from aigc_jax\.networks import (.+)", text, re.MULTILINE)
                for name in re.findall(r"\w+", names)]  # fmt: skip
    names = (entry.name, *entry.systems, *modules)
    found = [
        path.name
        for path in sorted(golden.glob("*.npz"))
        if path.stem in names or path.stem.rpartition("_")[0] in names
    ]
    return ", ".join(found)


def results_page(
    entries: Iterable[Entry], records: Iterable[Mapping[str, Any]], parameters: Mapping[str, int], golden: Path
) -> str:
    """`docs/results.md`: one row for each experiment, and one more for each further preset that has a record.

    parameters: of the paper preset, by experiment.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_name.setdefault(record["experiment"], []).append(record)
    lines = [
        "# Results", "",
        "Written by `aigc results` from the records in `results/`; do not edit by hand. A record is written by",
        "`aigc reproduce NAME --preset P`. Parameters are those of the paper preset (`aigc describe NAME`). Parity is",
        "the file of golden values in `tests/golden/` that the tests compare with.", "",
    ]  # fmt: skip
    head = ("experiment", "systems", "parameters (paper)", "parity", "preset", "metric", "expected", "value", "",
            "seconds", "device", "commit")  # fmt: skip
    rows = []
    for entry in entries:
        count = f"{parameters[entry.name]:,}" if entry.name in parameters else ""
        first = (entry.name, ", ".join(entry.systems), count, parity_file(entry, golden))
        found = by_name.get(entry.name, [])
        rows += [(*first, *_record_cells(record)) for record in found] or [(*first, *("",) * 8)]
    return "\n".join([*lines, _table(head, rows), ""])


def benchmarks_page(records: Mapping[str, Mapping[str, Any]]) -> str:
    """`docs/benchmarks.md`: a section for each record of `results/benchmarks/`, by file name.

    A record is one flat object, shown as two columns, or has `cases`, a list of them, shown as a table under what they
    share. Lists and deeper objects, such as all single timings, stay in the file.
    """
    lines = [
        "# Benchmarks", "",
        "Written by `aigc results` from the records in `results/benchmarks/`; do not edit by hand.", "",
    ]  # fmt: skip
    for name, record in records.items():
        facts, cases = _flat(record), [_flat(case) for case in record.get("cases", [])]
        head = list(dict.fromkeys(key for case in cases for key in case))
        lines += [f"## {record.get('benchmark', name)}", "", _table(("", ""), facts.items()), ""]
        if cases:
            lines += [_table(head, [[case.get(key, "") for key in head] for case in cases]), ""]
    return "\n".join(lines)


def write_pages(docs: Path, pages: Mapping[str, str]) -> list[Path]:
    """Writes the pages into `docs/`, and returns their paths."""
    docs.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in pages.items():
        (docs / name).write_text(text, encoding="utf-8")
        paths.append(docs / name)
    return paths


def _portable(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """Knobs in which a local data folder is called by its name alone: where it lies is nobody else's business."""

    def cut(value: Any) -> Any:
        is_folder = isinstance(value, str) and value.startswith("files:")
        return f"files:{Path(value.removeprefix('files:')).name}" if is_folder else value

    return {name: cut(value) for name, value in knobs.items()}


def _record_cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    found = Verdict(**{name: record[name] for name in Verdict._fields})
    reached = "yes" if found.reached else "**no**"
    changed = ", ".join(f"{name}={value}" for name, value in record["changed"].items())
    preset = record["preset"] + (f" with {changed}" if changed else "")
    return (preset, found.metric, found.bound, f"{found.value:.5g}", reached, f"{record['seconds']:.0f}",
            record["device"], record["commit"])  # fmt: skip


def _flat(record: Mapping[str, Any]) -> dict[str, str]:
    """What of a record fits into cells: text, numbers, and versions in one line."""
    cells = {}
    for name, value in record.items():
        if isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values()):
            cells[name] = ", ".join(f"{key} {one}" for key, one in value.items())
        elif isinstance(value, (str, int, float)):
            cells[name] = f"{value:.6g}" if isinstance(value, float) else str(value)
    return cells


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    cells = [list(head), *([str(cell).replace("|", "\\|") for cell in row] for row in rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(cells[0]), *lines[1:]])
