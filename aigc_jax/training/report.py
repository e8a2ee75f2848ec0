"""report.html: a run folder as one self-contained page, and several runs beside each other on another.

The page holds the result beside what was expected, the curves, samples over training, the panels of the experiment,
protocol, knobs and environment. It is written at the end of training and can be written again from the folder at any
time; panels are kept as pictures in `panels/`, so that this needs no restored state.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from aigc_jax.errors import UserError
from aigc_jax.experiment import find
from aigc_jax.training import page
from aigc_jax.training.checkpoint import write_json
from aigc_jax.training.curves import chart, metric_groups, series
from aigc_jax.training.folder import read_json, read_rows
from aigc_jax.training.panels import to_png
from aigc_jax.training.records import Verdict, verdict

if TYPE_CHECKING:
    from aigc_jax.training.run import Run

GALLERY = 10  # moments of training that the gallery shows
TIMING = {"steps_per_second": "steps per second", "waiting_for_data": "share of time waiting for data",
          "model_flop_utilisation": "model FLOP utilisation"}  # fmt: skip


class Folder(NamedTuple):
    """What a run folder holds: config, result ({} while it trains), rows of metrics and of timing."""

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]
    metrics: list[dict[str, Any]]
    timing: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return Path(str(self.config.get("experiment") or self.path.name)).stem


def read_folder(path: Path) -> Folder:
    """Reads a run folder. Raises UserError if it holds no run."""
    result = path / "result.json"
    return Folder(path, read_json(path / "config.json"), read_json(result) if result.exists() else {},
                  read_rows(path / "metrics.jsonl"), read_rows(path / "timing.jsonl"))  # fmt: skip


def write(run: Run) -> Path:
    """Draws the panels of a run into its folder and writes `report.html` there; returns its path.

    Raises UserError for a run that has no folder. A panel that fails is named on the page and stops nothing: the
    training is done by then.
    """
    if run.workdir is None:
        raise UserError("a run without a folder has no report: train it with a workdir")
    draw_panels(run, run.workdir / "panels")
    return write_page(run.workdir)


def draw_panels(run: Run, folder: Path) -> None:
    """Draws the experiment's panels as `panels/<name>.png`, and `panels/index.json`: their order, and what failed."""
    folder.mkdir(parents=True, exist_ok=True)
    failed: dict[str, str | None] = {}
    for name, panel in run.experiment.panels.items():
        try:
            (folder / f"{name}.png").write_bytes(to_png(panel(run)))
            failed[name] = None
        except Exception as error:  # a picture is never worth a finished run
            failed[name] = f"{type(error).__name__}: {error}"
    write_json(folder / "index.json", failed)


def write_page(workdir: Path) -> Path:
    """Writes `report.html` from the files of a run folder alone. Raises UserError if it holds no run."""
    folder = read_folder(Path(workdir))
    expected = folder.result.get("expected") or {}
    found = verdict(folder.result) if expected.get("metric") in folder.result.get("metrics", {}) else None
    body = [
        page.header(folder.name, str(folder.config.get("preset") or ""), _lead(folder)),
        _cards(folder, found),
        page.section("Curves", "charts", [page.chart(svg) for svg in _charts(folder, found)]),
        page.section("Samples over training", "gallery", _gallery(folder.path / "samples")),
        page.section("Panels", "panels", _panels(folder.path / "panels")),
        page.section("Result", "columns", _result(folder)),
        page.section("Speed", "charts", [page.chart(svg) for svg in _speed(folder)]),
        page.section("Knobs and environment", "columns", _environment(folder)),
    ]
    target = folder.path / "report.html"
    target.write_text(page.document(f"{folder.name} {folder.config.get('preset') or ''}", body), encoding="utf-8")
    return target


def compare(workdirs: Sequence[Path], target: Path) -> Path:
    """Writes one page that lays several runs over each other: curves, final metrics, the knobs in which they differ."""
    folders = [read_folder(Path(workdir)) for workdir in workdirs]
    labels = _labels(folders)
    bases = list(dict.fromkeys(base for folder in folders for base in metric_groups(folder.metrics)))
    charts = []
    for name in itertools.chain.from_iterable((base, f"eval/{base}") for base in bases):
        curves = {label: series(folder.metrics, name) for label, folder in zip(labels, folders)}
        if any(len(steps) for steps, _ in curves.values()):
            charts.append(page.chart(chart(curves, name)))
    metrics = dict.fromkeys(name for folder in folders for name in folder.result.get("metrics", {}))
    finals = [(name, *(folder.result.get("metrics", {}).get(name, "") for folder in folders)) for name in metrics]
    body = [
        page.header("Comparison", f"{len(folders)} runs", ", ".join(str(folder.path) for folder in folders)),
        page.section("Curves", "charts", charts),
        page.section("Final metrics", "columns", [page.table(finals, ("metric", *labels))] if finals else []),
        page.section("Samples", "panels", _last_samples(folders, labels)),
        page.section("Knobs that differ", "columns", _differences(folders, labels)),
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page.document("Comparison", body), encoding="utf-8")
    return target


def _lead(folder: Folder) -> str:
    """What the experiment is, in its own words; a user's file may be gone by now."""
    try:
        entry = find(str(folder.config["experiment"]))
    except (KeyError, UserError):
        return str(folder.path)
    return f"{entry.summary} {entry.paper}"


def _cards(folder: Folder, found: Verdict | None) -> str:
    cards = []
    if found:
        label = f"{found.metric}, expected {found.bound}"
        state = "reached" if found.reached else "not reached"
        cards.append(page.card(f"{found.value:.5g} {state}", label, "good" if found.reached else "bad"))
    last = folder.metrics[-1]["step"] if folder.metrics else 0
    cards.append(page.card(f"{last:,}", "steps" if folder.result else "steps so far: not finished"))
    seconds = folder.result.get("seconds") or (folder.timing[-1]["seconds"] if folder.timing else 0)
    cards.append(page.card(_duration(seconds), "training time"))
    if folder.result:
        cards.append(page.card(str(folder.result.get("device", "")), "device"))
    return f'<div class="cards">{"".join(cards)}</div>'


def _charts(folder: Folder, found: Verdict | None) -> list[str]:
    charts = []
    for base, names in metric_groups(folder.metrics).items():
        curves = {name: series(folder.metrics, name) for name in names}
        curves = {name: curve for name, curve in curves.items() if len(curve[0])}
        target = (found.expected, found.tolerance) if found and found.metric in names else None
        if curves:
            charts.append(chart(curves, base, target))
    return charts


def _speed(folder: Folder) -> list[str]:
    found = {name: series(folder.timing, name) for name in TIMING}
    return [chart({TIMING[name]: curve}, TIMING[name]) for name, curve in found.items() if len(curve[0]) > 1]


def _gallery(samples: Path) -> list[str]:
    files = sorted(path for path in samples.glob("step_*") if path.suffix in (".png", ".txt", ".wav"))
    if len(files) > GALLERY:
        files = [files[i] for i in np.linspace(0, len(files) - 1, GALLERY).round().astype(int)]
    return [page.sample_file(path, f"step {int(path.stem.removeprefix('step_')):,}") for path in files]


def _panels(folder: Path) -> list[str]:
    index = read_json(folder / "index.json") if (folder / "index.json").exists() else {}
    drawn = [name for name, error in index.items() if error is None]
    parts = [page.picture((folder / f"{name}.png").read_bytes(), ".png", name.replace("_", " ")) for name in drawn]
    failed = [(name, error) for name, error in index.items() if error is not None]
    return parts + ([page.table(failed, ("panel", "could not be drawn"))] if failed else [])


def _result(folder: Folder) -> list[str]:
    if not folder.result:
        return []
    tables = [page.table(sorted(folder.result["metrics"].items()), ("metric", "value"))]
    protocol = folder.result.get("protocol")
    if protocol:
        rows = protocol.items() if isinstance(protocol, Mapping) else [("protocol", protocol)]
        tables.append(page.table(rows, ("evaluator", "protocol")))
    return tables


def _environment(folder: Folder) -> list[str]:
    knobs = [(name, repr(value)) for name, value in folder.config.get("knobs", {}).items()]
    versions = folder.result.get("versions") or folder.config.get("versions", {})
    place = [("run folder", folder.path.resolve().name), ("commit", folder.config.get("commit", "unknown"))]
    return [page.table(knobs, ("knob", "value")), page.table([*place, *versions.items()], ("environment", ""))]


def _labels(folders: Sequence[Folder]) -> list[str]:
    """The folders' names; the whole path where two have the same."""
    names = [folder.path.resolve().name for folder in folders]
    return [str(folder.path) if names.count(name) > 1 else name for name, folder in zip(names, folders)]


def _last_samples(folders: Sequence[Folder], labels: Sequence[str]) -> list[str]:
    found = [(label, sorted((folder.path / "samples").glob("step_*"))) for label, folder in zip(labels, folders)]
    return [page.sample_file(files[-1], label) for label, files in found if files]


def _differences(folders: Sequence[Folder], labels: Sequence[str]) -> list[str]:
    knobs = [folder.config.get("knobs", {}) for folder in folders]
    names = dict.fromkeys(name for one in knobs for name in one)
    rows = [(name, *(repr(one.get(name, "")) for one in knobs)) for name in names
            if len({repr(one.get(name)) for one in knobs}) > 1]  # fmt: skip
    return [page.table(rows, ("knob", *labels))] if rows else []


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
