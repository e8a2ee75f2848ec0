"""`synthetic`: arrays of the spec, for tests and for timing a step without its data.

Deterministic, and learnable: every example belongs to a class, the integers tell it, the floats are a pattern of it
with a little noise. Floats lie in [0, 1] (0 or 1 where the spec says "binary"); integers below the third entry of the spec, or
below 2 without one. The evaluation split is one batch and a half, so that padding is always met.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aigc_jax.data.tables import Source, Table

NOISE = 0.05
KINDS = 10
"""Patterns of floats: a wave in ten phases."""
LIMIT = 2**26
"""Bytes of the training split at most (but one example at least): it repeats sooner where examples are large."""


def synthetic(spec: Mapping[str, Any], batch_size: int, eval_batch_size: int) -> Source:
    """`train`, four batches, and `test`, a batch and a half, of arrays of the spec."""
    bytes_each = sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype, *_ in spec.values())
    rows = max(1, min(4 * batch_size, LIMIT // max(bytes_each, 1)))
    held = eval_batch_size + max(1, eval_batch_size // 2)
    splits = {"train": Table(_columns(spec, rows, 0), "synthetic"), "test": Table(_columns(spec, held, 1), "synthetic")}
    return Source("synthetic", splits, "test", {"examples": {name: len(table) for name, table in splits.items()}})


def _columns(spec: Mapping[str, Any], rows: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    kind = np.arange(rows)  # the class; every column takes it modulo its own range
    return {name: _column(kind, rng, *entry) for name, entry in spec.items()}


def _column(
    kind: np.ndarray, rng: np.random.Generator, shape: tuple[int, ...], dtype: str, limit: Any = None
) -> np.ndarray:
    size = int(np.prod(shape))
    place = np.arange(size)
    if np.issubdtype(np.dtype(dtype), np.integer):  # the class itself, or a run that starts at it
        return ((kind[:, None] + place) % (limit or 2)).reshape(-1, *shape).astype(dtype)
    wave = 0.5 + 0.5 * np.sin(0.7 * place + 2 * np.pi / KINDS * (kind % KINDS)[:, None])  # [rows, size]
    x = np.clip(wave + NOISE * rng.standard_normal((len(kind), size), np.float32), 0, 1)
    return (np.rint(x) if limit == "binary" else x).reshape(-1, *shape).astype(dtype)
