"""What panels share: examples of a run, and pictures side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def spread(run: Any, n: int, among: int = 10_000) -> dict[str, np.ndarray]:
    """n evaluation examples of a run, evenly over the first `among`: some test sets are sorted by class."""
    return {name: x[:: among // n][:n] for name, x in run.condition(among).items()}


def beside(again: Callable[[Any, Any], Any], n: int) -> Callable[[Any], np.ndarray]:
    """A panel of a run: n evaluation examples, and under each what `again`, (state, x) -> x, makes of it."""
    import jax

    compiled = jax.jit(again)

    def panel(run: Any) -> np.ndarray:
        x = spread(run, n)["image"]
        return tiles(np.stack([run.data.decode(each) for each in (x, jax.device_get(compiled(run.state, x)))]))

    return panel


def tiles(images: np.ndarray, least: int = 40) -> np.ndarray:
    """uint8 [R, N, H, W, C] -> one picture [H', W', 3] of R rows of N, with white lines between.

    least: pixels a row is high; small images are enlarged by whole pixels, lines with them.
    """
    images = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    rows, columns, height, width, channels = images.shape  # [R, N, H + 2, W + 2, C]
    picture = images.swapaxes(1, 2).reshape(rows * height, columns * width, channels)
    factor = -(-least // height)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1).repeat(3 // channels, axis=2)
