"""`tfds:NAME`: a TFDS data set that lies prepared on this machine, read through `tfds.data_source` without TensorFlow.

Data sets lie in `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`, as NAME[/CONFIG]/VERSION. What is not there is an error
at once: nothing is downloaded here. Small sets of fixed shapes are read into memory once, as batches are then gathered
a hundred times faster than record by record; larger ones are read by Grain.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aigc_jax.data.tables import Batch, Records, Source, Split, Table, stack
from aigc_jax.errors import UserError

KEEP = 2**28
"""Bytes of a split, decoded, that are kept in memory."""

CHUNK = 1024
EVALUATION = ("validation", "test", "train")
"""The first of these is the evaluation split: where there are both, the labels of a test set are often withheld."""


def tfds() -> Any:
    """The library, imported when first needed. Raises UserError that says what to install."""
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise UserError(
            f"tfds: sources need tensorflow-datasets and Grain (pip install tensorflow-datasets grain): {error}"
        ) from None
    return tensorflow_datasets


def root() -> Path:
    """Where prepared data sets lie."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def open_tfds(name: str) -> Source:
    """The source `tfds:NAME[/CONFIG][:VERSION]`. Raises UserError where it is not prepared, or not as array_record."""
    folder = find(name)
    builder = tfds().builder_from_directory(folder)
    counts = {split: info.num_examples for split, info in builder.info.splits.items()}
    try:
        sources = {split: builder.as_data_source(split=split) for split in counts}
    except NotImplementedError:
        kind = builder.info.file_format.value
        raise UserError(f"{folder} is prepared as {kind}: prepare it with file_format='array_record'") from None
    features = dict(builder.info.features.items())
    splits = {split: _split(source, features, str(folder)) for split, source in sources.items()}
    info: dict[str, Any] = {"examples": counts}
    if names := getattr(features.get("label"), "names", None):
        info["classes"] = list(names)
    if rates := {rate for feature in features.values() if (rate := getattr(feature, "sample_rate", None))}:
        info["rate"] = rates.pop()
    evaluation = next((split for split in EVALUATION if split in splits), next(iter(splits)))
    return Source(f"tfds:{name}", splits, evaluation, info)


def find(name: str) -> Path:
    """The folder of the newest prepared version of a name. Raises UserError with the places looked at."""
    path, _, version = name.partition(":")
    base = root() / path
    found = [file.parent for file in base.glob("**/dataset_info.json") if not version or file.parent.name == version]
    if not found:
        raise UserError(
            f"tfds:{name} is not prepared on this machine: no {base}/**/dataset_info.json; prepare it with "
            f"aigc data build {path} (TFDS downloads, and may need TensorFlow), or read raw files by files:DIR"
        )
    return max(found, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)])


def _split(source: Any, features: Mapping[str, Any], place: str) -> Split:
    def read(row: int) -> dict[str, Any]:
        return {name: _plain(value) for name, value in source[row].items()}

    records = Records(len(source), read, _Place(place), grain=True)
    shapes = [(feature.shape, feature.np_dtype) for feature in features.values()]
    fixed = all(shape is not None and None not in shape for shape, _ in shapes)
    if fixed and sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in shapes) * len(source) <= KEEP:
        return Table(_columns(source), place)
    return records


class _Place:
    """row -> where it lies; a class, so that it travels to reader processes."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def __call__(self, row: int) -> str:
        return f"{self._folder} (example {row})"


def _columns(source: Any) -> Batch:
    parts = []
    for start in range(0, len(source), CHUNK):
        rows = source.__getitems__(list(range(start, min(start + CHUNK, len(source)))))
        parts.append(stack([{name: _plain(value) for name, value in row.items()} for row in rows]))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _plain(value: Any) -> Any:
    """Text comes as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
