"""TFDS builders of the embedded sets: each wraps a NumPy function of `aigc_jax.data.embedded`.

They are prepared and read without TensorFlow: array_record files, pictures given as PNG file objects, floats as tensors.
`aigc data build digits` makes `tfds:aigc_digits`.
"""

from __future__ import annotations

import contextlib
import functools
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from aigc_jax.data import embedded, tones
from aigc_jax.data.prepared import tfds

EMBEDDED: dict[str, Callable[[], embedded.Splits]] = {
    "digits": embedded.digits,
    "patches": embedded.patches,
    "pydoc": embedded.pydoc,
    "blanks": embedded.blanks,
    "numbers": embedded.numbers,
    "adding": embedded.adding,
    "tones": tones.tones,
    **{f"toy_{name}": functools.partial(embedded.toy, name) for name in embedded.TOYS},
}
CLASSES = {
    "digits": [str(digit) for digit in range(10)],
    "patches": list(embedded.PHOTOGRAPHS),
    "tones": list(tones.OCTAVES),
}


def prepare(name: str, folder: Path) -> Path:
    """Prepares an embedded set under `folder`, unless it is there already; the folder of its version."""
    builder = builder_class(name)(data_dir=folder, file_format="array_record")
    with contextlib.redirect_stdout(sys.stderr):  # TFDS reports on standard output, which is kept for results
        builder.download_and_prepare()
    return Path(builder.data_dir)


@functools.cache
def builder_class(name: str) -> type:
    """The TFDS builder of an embedded set, `aigc_NAME`. Made once: TFDS refuses a second class of one name."""
    library, splits_of = tfds(), EMBEDDED[name]

    def info(self: Any) -> Any:
        columns = next(iter(splits_of().values()))
        features = {column: _feature(library, name, column, values) for column, values in columns.items()}
        return library.core.DatasetInfo(builder=self, features=library.features.FeaturesDict(features))

    def split_generators(self: Any, manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        return {split: _examples(columns) for split, columns in splits_of().items()}

    title = "Aigc" + "".join(part.capitalize() for part in name.split("_"))
    body = {
        "__module__": __name__,
        "__doc__": f"The embedded set {name}.",
        "VERSION": library.core.Version("1.0.0"),
        "_info": info,
        "_split_generators": split_generators,
        "_generate_examples": None,
    }
    return type(title, (library.core.GeneratorBasedBuilder,), body)


def _feature(library: Any, name: str, column: str, values: np.ndarray) -> Any:
    if column == "image":
        return library.features.Image(shape=values.shape[1:])
    if column == "label":
        return library.features.ClassLabel(names=CLASSES[name])
    if values.dtype == object:
        return library.features.Text()
    return library.features.Tensor(shape=values.shape[1:], dtype=values.dtype)


def _examples(columns: dict[str, np.ndarray]) -> Iterator[tuple[int, dict[str, Any]]]:
    for row in range(len(next(iter(columns.values())))):
        yield row, {column: _example(column, values[row]) for column, values in columns.items()}


def _example(column: str, value: Any) -> Any:
    if column != "image":
        return int(value) if column == "label" else value
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(value[..., 0] if value.shape[-1] == 1 else value).save(file, format="PNG")
    file.seek(0)
    return file
