"""Bits for models of bits: pictures made black and white, or binary tables, through one function."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from aigc_jax.data.pipeline import Data, load_data
from aigc_jax.data.transforms import BINARIZED, Batch, binarize, compose, of_column
from aigc_jax.errors import UserError


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
        bits = compose(_refuse_table, binarize(how))
        return load_data(source, batch_size=batch_size, spec=spec, train=bits, evaluate=bits, protocol=BINARIZED[how])
    spec = {"x": ((columns,), "float32", "binary")}
    floats = compose(_refuse_pictures, of_column("x", lambda x, rng: np.asarray(x, np.float32)))
    return load_data(
        source, batch_size=batch_size, spec=spec, train=floats, evaluate=floats, decode=_lines, bits=columns
    )


def _refuse_table(batch: Batch, rng: np.random.Generator) -> Batch:
    if "image" not in batch and "x" in batch:
        row = np.asarray(batch["x"][0])
        columns = f"{row.size}, the number of its columns"
        if row.dtype == np.uint8 and np.any(row > 1):
            columns = f"N, the number of bits that its rows of {row.size} bytes hold"
        raise UserError(f"a table, not pictures: set --columns {columns}")
    return batch


def _refuse_pictures(batch: Batch, rng: np.random.Generator) -> Batch:
    if "x" not in batch and "image" in batch:
        raise UserError("pictures, not a table: set --columns 0 and --size")
    return batch


def _lines(rows: Any) -> list[str]:
    return ["".join("01"[int(bit)] for bit in row) for row in np.asarray(rows)]
