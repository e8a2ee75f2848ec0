"""What the panels of this chapter share: rows of pictures above each other, column by column one example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def spread(run: Any, n: int, among: int = 10_000) -> Any:
    """n evaluation examples of a run, evenly over the first `among`: some test sets are sorted by class."""
    return run.condition(among)["image"][:: among // n][:n]


def rows_of(pictures: Sequence[np.ndarray], least: int = 40) -> np.ndarray:
    """Decoded pictures, one uint8 [n, H, W, C] for each row -> uint8 [H', W', 3], with white lines between.

    least: pixels an example is high; small ones are enlarged by whole pixels.
    """
    rows = np.pad(np.stack(pictures), ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    count, n, height, width, channels = rows.shape  # [rows, n, H + 2, W + 2, C]
    picture = rows.swapaxes(1, 2).reshape(count * height, n * width, channels)
    factor = -(-least // height)
    return picture.repeat(factor, axis=0).repeat(factor, axis=1).repeat(3 // channels, axis=2)
