"""`files:DIR`: a local folder, described by its `dataset.json`, recognised as a known benchmark, or as it is.

`dataset.json` says how the raw files become columns (`aigc data build` writes it for the benchmarks of
`aigc_jax.data.recipes`; for other data it is written by hand):

    {"name": "mnist", "root": ".", "default": "mnist", "licence": "...", "source": "...",
     "variants": {"mnist": {"evaluation": "test", "info": {"classes": ["0", ...]},
       "splits": {"train": {"examples": 60000, "columns": {
           "image": {"format": "idx", "files": ["train-images-idx3-ubyte.gz"], "shape": [28, 28, 1]},
           "label": {"format": "idx", "files": ["train-labels-idx1-ubyte.gz"]}}}}}}}

`root` is where the raw files lie, from this file or absolute; `files:DIR#VARIANT` picks a variant. A column has a
`format` and its `files`, end to end:

    idx, npy        arrays                                  npz      `array`, the name of one of its arrays
    text            one document; `strip`: lines stripped   lines    one example a line; of a zip, of its `members`
    waves           all samples end to end, cut by `lengths`, a column
    pictures, names pictures of a zip, and their names; `members`: a pattern, if not all
    cifar           binary records; `labels`: label bytes a record; `take`: which byte, or "image"

and what is done to it, in this order: `bits` unpacks rows to that many bits; `times` multiplies; `pattern` takes its first
group out of a text, and `classes` the place of that among them; `dtype` converts; `shape` is that of one example. `rows` of
a split picks examples: {"range": [start, stop]}, of a fixed shuffle with {"shuffle": seed}, or {"column": NAME, "match":
PATTERN}; `part` of a split is the share [start, stop] of the characters of its documents.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aigc_jax.data import formats
from aigc_jax.data.folders import open_folder, open_table
from aigc_jax.data.recipes import recognise
from aigc_jax.data.tables import Source, Split, Table, column
from aigc_jax.errors import UserError, nearest

DESCRIPTION = "dataset.json"
PICTURES = re.compile(r"\.(png|jpe?g|bmp|gif|webp)$", re.IGNORECASE)


def open_files(place: str, channels: int | None = None, bits: int | None = None) -> Source:
    """The source `files:PLACE`; PLACE is a folder, or a file, with `#VARIANT` after it where there are several.

    bits: of the rows of a table that nothing describes; see `aigc_jax.data.folders.open_table`.

    Raises UserError for a missing or empty folder, an unknown variant, and whatever is wrong with a file.
    """
    folder, _, variant = place.partition("#")
    path = Path(folder).expanduser()
    if not path.exists():
        raise UserError(f"no such data folder: {path}")
    description = describe(path)
    if description is None:
        if variant:
            return open_table(path, variant, bits)
        return open_folder(path, channels)
    return open_described(description, path, variant, channels)


def describe(folder: Path) -> dict[str, Any] | None:
    """The description of a folder: its `dataset.json`, or that of the benchmark whose files it holds, or None."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return recognise(folder)
    try:
        description = json.loads(formats.read_text(path))
    except json.JSONDecodeError as error:
        raise UserError(f"{path} line {error.lineno}: {error.msg}") from None
    for key in ("variants", "default", "root"):
        if not isinstance(description, dict) or key not in description:
            raise UserError(f"{path} has no {key!r}: see the format in aigc_jax/data/files.py, or build it again")
    return description


def open_described(description: Mapping[str, Any], folder: Path, variant: str, channels: int | None = None) -> Source:
    """One variant of a described folder; a split is read when it is first asked for."""
    variants = description["variants"]
    name = f"files:{folder}#{variant}" if variant else f"files:{folder}"
    variant = variant or description["default"]
    if variant not in variants:
        raise UserError(nearest(variant, variants, f"variant of {folder}"))
    chosen = variants[variant]
    reader = _Reader((folder / description["root"]).resolve(), channels, chosen.get("info", {}).get("classes"))
    splits = _Splits(reader, chosen["splits"], folder)
    info = {key: description[key] for key in ("licence", "source") if key in description} | chosen.get("info", {})
    if len(variants) > 1:
        info["variants"] = list(variants)
    info["examples"] = {name: split["examples"] for name, split in chosen["splits"].items()}
    evaluation = chosen.get("evaluation", next(reversed(chosen["splits"])))
    return Source(name, splits, evaluation, info)


class _Splits(Mapping[str, Split]):
    """Splits that are read when first asked for."""

    def __init__(self, reader: _Reader, described: Mapping[str, Any], folder: Path) -> None:
        def read(name: str) -> Split:
            try:
                return reader.split(name, described[name])
            except KeyError as error:
                raise UserError(
                    f"{folder / DESCRIPTION}: split {name} lacks {error}: see aigc_jax/data/files.py"
                ) from None

        self._described, self._read = described, functools.cache(read)

    def __getitem__(self, name: str) -> Split:
        if name not in self._described:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._described)

    def __len__(self) -> int:
        return len(self._described)


class _Reader:
    """Reads the columns of a description. Files that several columns or splits share are read once."""

    def __init__(self, root: Path, channels: int | None, classes: list[str] | None) -> None:
        self._root, self._channels, self._classes = root, channels, classes
        self._raw = functools.cache(self._read)

    def split(self, name: str, described: Mapping[str, Any]) -> Table:
        """The table of one split. Raises UserError where the number of examples is not what the description says."""
        columns = {column: self.column(one) for column, one in described["columns"].items()}
        if "rows" in described:
            rows = self._rows(described["rows"], columns)
            columns = {column: values[rows] for column, values in columns.items()}
        if "part" in described:
            columns = {column: _part(values, *described["part"]) for column, values in columns.items()}
        places = {column: str(self._path(one["files"][0])) for column, one in described["columns"].items()}
        for key, values in columns.items():
            if len(values) != described["examples"]:
                expected, found = described["examples"], len(values)
                raise UserError(f"{places[key]}: split {name} has {found} examples of {key!r}, expected {expected}")
        if self._classes and "label" in columns:
            _check_labels(columns["label"], len(self._classes), places["label"])
        return Table(columns, places)

    def column(self, one: Mapping[str, Any]) -> np.ndarray:
        """One column, all of its rows."""
        options = {key: one[key] for key in ("array", "members", "labels", "take", "strip") if key in one}
        if "lengths" in one:
            return self._waves(one)
        parts = [self._raw(name, one["format"], tuple(options.items())) for name in one["files"]]
        values = parts[0] if len(parts) == 1 else np.concatenate(parts)
        place = str(self._path(one["files"][0]))
        if "bits" in one:
            values = _unpacked(values, one["bits"], place)
        if "times" in one:
            values = values * values.dtype.type(one["times"])
        if "pattern" in one:
            values = _classes(values, one["pattern"], one.get("classes"), place)
        if "dtype" in one:
            values = values.astype(one["dtype"])
        if "shape" in one:
            values = _shaped(values, tuple(one["shape"]), place)
        return values

    def _path(self, name: str) -> Path:
        return formats.locate(self._root, name)

    def _read(self, name: str, kind: str, options: tuple[tuple[str, Any], ...]) -> np.ndarray:
        path, known = self._path(name), dict(options)
        match kind:
            case "idx":
                return formats.read_idx(path)
            case "npy":
                return formats.read_npy(path)
            case "npz":
                return _texts_as_objects(formats.read_npz(path, known["array"]))
            case "text":
                text = formats.read_text(path)
                stripped = (
                    "".join(line.strip() + "\n" for line in formats.lines_of(text)) if known.get("strip") else text
                )
                return np.array([stripped], object)
            case "lines":
                return self._lines(path, known.get("members"))
            case "pictures" | "names":
                return self._zip(path, kind, known.get("members", ""))
            case "cifar":
                records, labels = formats.read_cifar(path, known["labels"]), known["labels"]
                if known["take"] == "image":
                    return records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
                return records[:, known["take"]]
        raise UserError(nearest(kind, FORMATS, f"format of {path}"))

    def _lines(self, path: Path, members: str | None) -> np.ndarray:
        if members is None:
            return np.array(formats.lines_of(formats.read_text(path)), object)
        with formats.open_zip(path) as archive:
            names = sorted(name for name in archive.namelist() if re.search(members, name))
            texts = [formats.decode_text(formats.read_member(archive, name), f"{path}: {name}") for name in names]
        return np.array([line for text in texts for line in formats.lines_of(text)], object)

    def _zip(self, path: Path, kind: str, members: str) -> np.ndarray:
        with formats.open_zip(path) as archive:
            every = (name for name in archive.namelist() if PICTURES.search(name))
            names = sorted(name for name in every if re.search(members, name))
            if not names:
                raise UserError(f"{path} holds no picture" + (f" whose name matches {members!r}" if members else ""))
            if kind == "names":
                return np.array(names, object)
            read = formats.read_picture
            return column(
                [read(formats.read_member(archive, name), f"{path}: {name}", self._channels) for name in names]
            )

    def _waves(self, one: Mapping[str, Any]) -> np.ndarray:
        """An object array of waves: views of all samples."""
        lengths = self.column(one["lengths"])
        samples = self.column({key: value for key, value in one.items() if key != "lengths"} | {"format": "npy"})
        if lengths.sum() != len(samples):
            place = self._path(one["files"][0])
            raise UserError(f"{place} has {len(samples)} samples, the {len(lengths)} lengths add up to {lengths.sum()}")
        waves = np.empty(len(lengths), object)
        waves[:] = np.split(samples, np.cumsum(lengths)[:-1])
        return waves

    def _rows(self, rows: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> np.ndarray | slice:
        if "match" in rows:
            return np.array([bool(re.search(rows["match"], text)) for text in columns[rows["column"]]])
        start, stop = rows["range"]
        if "shuffle" not in rows:
            return slice(start, stop)
        count = len(next(iter(columns.values())))
        return np.random.RandomState(rows["shuffle"]).permutation(count)[start:stop]


FORMATS = ("idx", "npy", "npz", "text", "lines", "waves", "pictures", "names", "cifar")


def _unpacked(values: np.ndarray, bits: int, place: str) -> np.ndarray:
    if values.ndim != 2 or values.shape[1] != -(-bits // 8):
        raise UserError(f"{place}: expected rows of {-(-bits // 8)} bytes for {bits} bits, found shape {values.shape}")
    return np.unpackbits(values, axis=1, count=bits)


def _classes(values: np.ndarray, pattern: str, classes: list[str] | None, place: str) -> np.ndarray:
    """The first group of `pattern` in each text, or its place among `classes`."""
    places = {name: i for i, name in enumerate(classes or ())}
    out = []
    for text in values:
        match = re.search(pattern, text)
        if match is None:
            raise UserError(f"{place}: {text!r} does not match {pattern!r}")
        if classes is not None and match[1] not in places:
            raise UserError(f"{place}: {match[1]!r} in {text!r} is none of the {len(classes)} classes")
        out.append(match[1] if classes is None else places[match[1]])
    return np.array(out, object if classes is None else np.int32)


def _shaped(values: np.ndarray, shape: tuple[int, ...], place: str) -> np.ndarray:
    if values.dtype == object or int(np.prod(values.shape[1:])) != int(np.prod(shape)):
        found = "many shapes" if values.dtype == object else " x ".join(map(str, values.shape[1:]))
        raise UserError(f"{place}: examples of {found}, expected {' x '.join(map(str, shape))}")
    return values.reshape(-1, *shape)


def _check_labels(labels: np.ndarray, classes: int, place: str) -> None:
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if bad.size:
        raise UserError(
            f"{place}: label {labels[bad[0]]} of example {bad[0]} is none of the {classes} classes, 0 to {classes - 1}"
        )


def _texts_as_objects(values: np.ndarray) -> np.ndarray:
    return values.astype(object) if values.dtype.kind == "U" else values


def _part(documents: np.ndarray, start: float, stop: float) -> np.ndarray:
    return np.array([text[int(len(text) * start) : int(len(text) * stop)] for text in documents], object)
