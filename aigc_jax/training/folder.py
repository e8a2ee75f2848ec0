"""The run folder: what a run writes, row by row, and what tells one run from another.

config.json    experiment, preset, resolved knobs; versions and commit
metrics.jsonl  one row a logged step, of values that depend on the computation alone
timing.jsonl   wall-clock values beside it
samples/       step_<step>.png, .txt or .wav
checkpoints/   see checkpoint.py
result.json    final metrics, expected metrics, protocol, seconds, device
report.html    all of it in one page
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigc_jax.errors import UserError
from aigc_jax.training.checkpoint import write_json

FREE = ("steps",)  # knobs that are not part of a run's identity: a run may be made longer


def versions() -> dict[str, str]:
    """Versions of Python and of the packages on which numbers depend."""
    found = {"python": platform.python_version()}
    for name in ("aigc-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit of the checkout this package lies in, with "+changes" if it is not clean; "unknown" outside of one."""
    here = Path(__file__).resolve().parent

    def git(*words: str) -> str:
        done = subprocess.run(("git", *words), cwd=here, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def prepare(workdir: Path, config: Mapping[str, Any], resume: bool) -> None:
    """Makes the run folder, or checks that a folder to be resumed holds this very run.

    Raises UserError for a folder that is not empty without `resume`, or that holds another experiment or other knobs.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"{workdir} is a file: give a folder with --workdir")
    written = workdir.is_dir() and any(workdir.iterdir())
    if written and not resume:
        raise UserError(f"{workdir} is not empty: continue it with --resume, or give another --workdir")
    path = workdir / "config.json"
    if written and not path.exists():
        raise UserError(f"{workdir} holds no run (no config.json): give another --workdir")
    if written:
        _same_run(workdir, read_json(path), config)
        return
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        write_json(path, {**config, "versions": versions(), "commit": commit()})
    except OSError as error:
        raise UserError(f"cannot write the run folder {workdir}: {error.strerror}") from None


def _same_run(workdir: Path, stored: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    if stored.get("experiment") != config["experiment"]:
        raise UserError(f"{workdir} holds a run of {stored.get('experiment')!r}, not of {config['experiment']!r}")
    before, now = stored.get("knobs", {}), json.loads(json.dumps(config["knobs"]))
    changed = [f"{name} {before.get(name)!r} there, {now.get(name)!r} here" for name in {**before, **now}
               if name not in FREE and before.get(name) != now.get(name)]  # fmt: skip
    if changed:
        raise UserError(f"{workdir} holds a run with other knobs: {'; '.join(changed)}")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON file of a run folder. Raises UserError where it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no run: {path.name} is missing") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is damaged: line {error.lineno}, {error.msg}") from None


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .jsonl file; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def cut_rows(path: Path, step: int) -> None:
    """Drops the rows past a step, so that after a resume each step stands there once."""
    if not path.exists():
        return
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(
        "".join(f"{json.dumps(row)}\n" for row in read_rows(path) if row["step"] <= step), encoding="utf-8"
    )
    beside.replace(path)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Adds one row and hands it to the system, so that a killed process loses none."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(row)) + "\n")
