"""Bits for models of bits: pictures made black and white, or binary tables, through one function."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from aigc_jax.data.pipeline import Data, load_data
from aigc_jax.data.transforms import BINARIZED, binarize, of_column


def load_bits(
    source: str, *, batch_size: int, size: int, columns: int = 0, how: Literal["dynamic", "threshold"] = "dynamic"
) -> Data:
    """The data of a source as {"image": [B, size, size, 1]}, or, with columns, as {"x": [B, columns]}, float32 0. and 1.

    size:    side of the pictures; how: see `aigc_jax.data.binarize`.
    columns: of a table whose `x` holds 0 and 1; one that no `dataset.json` describes may have them packed into bytes. It is
             decoded as lines of 0 and 1.

    What holds anything else is a UserError with its place.
    """
    if not columns:
        spec = {"image": ((size, size, 1), "float32", "binary")}
        return load_data(
            source,
            batch_size=batch_size,
            spec=spec,
            train=binarize(how),
            evaluate=binarize(how),
            protocol=BINARIZED[how],
        )
    spec = {"x": ((columns,), "float32", "binary")}
    floats = of_column("x", lambda x, rng: np.asarray(x, np.float32))
    return load_data(
        source, batch_size=batch_size, spec=spec, train=floats, evaluate=floats, decode=_lines, bits=columns
    )


def _lines(rows: Any) -> list[str]:
    return ["".join("01"[int(bit)] for bit in row) for row in np.asarray(rows)]
