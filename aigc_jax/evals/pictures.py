"""What panels share: examples of a run, and pictures side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def spread(run: Any, n: int, among: int = 10_000) -> dict[str, np.ndarray]:
    """n of the first `among` evaluation examples of a run: of every class in turn, or evenly where there are no labels.

    Some test sets are sorted by class, and in others every k-th example is of one class. With fewer examples than classes,
    these are spread evenly, too.
    """
    batch = run.condition(among)
    if "label" not in batch:
        return {name: x[:: among // n][:n] for name, x in batch.items()}
    labels = np.asarray(batch["label"])
    classes = np.unique(labels)
    shown = min(n, len(classes))
    rows = [np.flatnonzero(labels == one) for one in classes[np.arange(shown) * len(classes) // shown]]
    chosen = [rows[i % shown][i // shown % len(rows[i % shown])] for i in range(n)]
    return {name: x[chosen] for name, x in batch.items()}


def beside(again: Callable[[Any, Any], Any], n: int) -> Callable[[Any], np.ndarray]:
    """A panel of a run: n evaluation examples, and under each what `again`, (state, x) -> x, makes of it."""
    import jax

    compiled = jax.jit(again)

    def panel(run: Any) -> np.ndarray:
        x = spread(run, n)["image"]
        return tiles(np.stack([run.data.decode(each) for each in (x, jax.device_get(compiled(run.state, x)))]))

    return panel


def titled(picture: np.ndarray, columns: Sequence[str]) -> Figure:
    """A picture of tiles, as `tiles` makes it, with the name of each column above it."""
    from matplotlib.figure import Figure

    height, width, _ = picture.shape
    figure = Figure(figsize=(0.9 * len(columns), 0.9 * len(columns) * height / width))
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    axes.xaxis.tick_top()
    axes.set_xticks((np.arange(len(columns)) + 0.5) * width / len(columns) - 0.5, columns, fontsize=8)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def tiles(images: np.ndarray, least: int = 40) -> np.ndarray:
    """uint8 [R, N, H, W, C] -> one picture [H', W', 3] of R rows of N, with white lines between.

    least: pixels a row is high; small images are enlarged by whole pixels, lines with them.
    """
    images = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    rows, columns, height, width, channels = images.shape  # [R, N, H + 2, W + 2, C]
    picture = images.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    factor = -(-least // height)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1).repeat(3 // channels, axis=2)
