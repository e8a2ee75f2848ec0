"""Curves of a run, or of several side by side, as SVG: one small chart for each metric."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLOURS = ("#2a6fbb", "#d1603d", "#3b8f5a", "#8a5bb0", "#b08a2a", "#4aa3a3", "#c25a8e", "#6b6b6b")
MOST_POINTS = 600  # in one curve; a chart is some 300 pixels wide
Row = Mapping[str, Any]


def metric_groups(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Metrics by chart: `loss` and `eval/loss` share one. The loss comes first, then what is evaluated."""
    names = dict.fromkeys(name for row in rows for name in row if name != "step")
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.removeprefix("eval/"), []).append(name)

    def order(base: str) -> tuple[bool, bool, str]:
        return base != "loss", not any(name.startswith("eval/") for name in groups[base]), base

    return {base: sorted(groups[base]) for base in sorted(groups, key=order)}


def chart(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], title: str, target: tuple[float, float] | None = None
) -> str:
    """One chart as SVG text.

    curves: label -> (steps, values); an `eval/...` curve has points on it, a long one a smooth line over its pale
            values.
    target: (value, tolerance) drawn as a dashed line with a band.
    """
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": title, "svg.fonttype": "path", "font.size": 8}):
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        figure = Figure(figsize=(4.2, 2.5), layout="constrained")
        axes = figure.subplots()
        for index, (label, (steps, values)) in enumerate(curves.items()):
            _draw(axes, steps, values, label, COLOURS[index % len(COLOURS)])
        if target:
            value, tolerance = target
            axes.axhline(value, color="#444", lw=0.9, ls="--", label=f"expected {value:g}")
            axes.axhspan(value - tolerance, value + tolerance, color="#444", alpha=0.08, lw=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_title(title, fontsize=9, loc="left", color="#333")
        axes.grid(alpha=0.25, lw=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors="#555", labelsize=7)
        if _spans_decades([values for _, values in curves.values()]):
            axes.set_yscale("log")
        if len(curves) > 1 or target:
            axes.legend(fontsize=6.5, frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return file.getvalue()


def series(rows: Sequence[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) of one metric where it is a finite number, thinned to what a chart can show."""
    pairs = [
        (row["step"], row[name]) for row in rows if isinstance(row.get(name), (int, float)) and np.isfinite(row[name])
    ]
    points = np.array(pairs, float).reshape(-1, 2)
    if len(points) > MOST_POINTS:
        points = points[np.linspace(0, len(points) - 1, MOST_POINTS).round().astype(int)]
    return points[:, 0], points[:, 1]


def _draw(axes: Any, steps: np.ndarray, values: np.ndarray, label: str, colour: str) -> None:
    if "eval/" in label or len(values) < 60:
        axes.plot(steps, values, color=colour, lw=1.3, marker="o" if len(values) < 60 else None, ms=2.2, label=label)
        return
    axes.plot(steps, values, color=colour, lw=0.6, alpha=0.3)
    axes.plot(steps, _smooth(values), color=colour, lw=1.4, label=label)


def _smooth(values: np.ndarray) -> np.ndarray:
    """A mean over a fiftieth of the curve on either side, less at its ends, so that it starts where the values do."""
    reach = max(1, len(values) // 50)
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - reach, 0), np.minimum(at + reach + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def _spans_decades(all_values: Sequence[np.ndarray]) -> bool:
    """Whether positive values spread over more than two powers of ten, which a linear axis would press flat."""
    values = np.concatenate(all_values) if all_values else np.array([])
    return len(values) > 2 and values.min() > 0 and values.max() / values.min() > 100
