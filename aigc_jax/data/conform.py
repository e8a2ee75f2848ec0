"""Holds batches to the spec of an experiment, and says which file does not fit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from aigc_jax.data.tables import Batch, Split
from aigc_jax.errors import UserError


class Conform(NamedTuple):
    """Holds a batch to its spec: names, shapes, integer ranges, bits, and no column else, but `also` where there is one."""

    source: str
    shapes: dict[str, tuple[tuple[int, ...], np.dtype]]
    limits: dict[str, int]
    also: str = ""
    binary: frozenset[str] = frozenset()

    def __call__(self, batch: Batch, split: Split, rows: np.ndarray) -> Batch:
        """Raises UserError naming the file of what does not fit, ValueError for a dtype that wants a transform."""
        out = {name: self._fit(name, batch, split, rows) for name in self.shapes}
        return {**out, self.also: batch[self.also]} if self.also in batch else out

    def _fit(self, name: str, batch: Batch, split: Split, rows: np.ndarray) -> np.ndarray:
        if name not in batch:
            raise UserError(f"{self.source} has no {name!r}, which the experiment takes: it has {', '.join(batch)}")
        x, (shape, dtype) = batch[name], self.shapes[name]
        if x.dtype == object or x.shape[1:] != shape:
            bad = next(i for i, one in enumerate(x) if np.shape(one) != shape)
            found = _times(np.shape(x[bad])) or type(x[bad]).__name__
            raise UserError(f"{split.where(int(rows[bad]))}: {name} is {found}, the experiment takes {_times(shape)}")
        if x.dtype != dtype:
            same = all(np.issubdtype(one, np.integer) for one in (x.dtype, dtype))
            if not same and not np.issubdtype(x.dtype, np.floating):
                raise ValueError(f"{name!r} is {x.dtype} after the transforms, the spec says {dtype}: add scale(...)")
            x = x.astype(dtype)
        if name in self.limits and x.size and not 0 <= x.min() <= x.max() < self.limits[name]:
            bad = int(np.argmax(((x < 0) | (x >= self.limits[name])).reshape(len(x), -1).any(1)))
            value = x[bad].max() if x[bad].max() >= self.limits[name] else x[bad].min()
            where, limit = split.where(int(rows[bad])), self.limits[name]
            raise UserError(f"{where}: {name} {value} is out of range: the experiment has {limit}, 0 to {limit - 1}")
        if name in self.binary and not (whole := (x == 0) | (x == 1)).all():
            bad = int(np.argmin(whole.reshape(len(x), -1).all(1)))
            where, value = split.where(int(rows[bad])), x[bad][~whole[bad]].flat[0]
            raise UserError(f"{where}: {name} holds {value:.6g}, the experiment takes bits, 0 and 1")
        return x


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
