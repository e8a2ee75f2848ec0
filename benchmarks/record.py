"""The record that a benchmark writes: its protocol and figures, and on what device, when, by which versions and commit."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import Any

import jax

from aigc_jax.training.folder import commit, versions


def write(path: Path | None, benchmark: str, figures: dict[str, Any]) -> None:
    """Writes the record to `path`; None writes nothing.

    figures: what was measured and how, as `aigc results` shows them: facts, and `cases`, the rows of a table.
    """
    if path is None:
        return
    made_by = {
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores",
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "commit": commit(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"benchmark": benchmark, **made_by, **figures}, indent=2) + "\n", encoding="utf-8")
