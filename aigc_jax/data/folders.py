"""A user's own folder as it is: pictures, sounds or texts, told apart by their endings, or a table of it by its name.

    DIR/train/..., DIR/test/...    splits, where there are folders (or texts) of such names; else a fixed tenth is test
    DIR/CLASS/name.png             `image`, and `label` where every file lies in a folder of its class, ordered by name
    DIR/name.png, DIR/name.txt     `caption`, where every picture has a text of its name beside it
    DIR/name.wav                   `wave` int16 [samples], the mean of its channels, their number `channels`, its `rate` in
                                   Hz, and `label` as for pictures
    DIR/name.txt                   `text`; without splits, the last tenth of the characters of all texts is test
    DIR/NAME.npz                   `x`, by `files:DIR#NAME`: the arrays train, valid and test, rows of numbers or packed bits

Small sets of pictures are decoded once and kept; larger ones are decoded batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aigc_jax.data import formats
from aigc_jax.data.recipes import fitting, recipes
from aigc_jax.data.tables import Records, Source, Split, Table, column
from aigc_jax.errors import UserError

KINDS = {
    "image": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"),
    "wave": (".wav",),
    "text": (".txt", ".md", ".txt.gz", ".txt.xz"),
}
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "test": "test",
}
KEEP = 2**28
"""Bytes of decoded pictures that are kept in memory."""


def open_folder(path: Path, channels: int | None = None) -> Source:
    """The source of a folder, or of one file. Raises UserError where there is nothing to read."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    kind = _kind(files)
    if kind is None:
        known = fitting(path)
        found = "has the files of a known benchmark, which its name does not tell: it" if known else (
            f"no dataset.json and no pictures, sounds or texts among {len(files)} files; a known benchmark"
        )  # fmt: skip
        there = f"; a table is read by files:{path}#NAME, NAME one of {', '.join(tables(path))}" if tables(path) else ""
        raise UserError(
            f"{path}: {found} is described by aigc data build NAME --from {path}, "
            f"NAME one of {', '.join(known or recipes())}{there}"
        )
    files = [file for file in files if _is(file, kind)]
    splits = _splits(files, path)
    if kind == "text":
        return _texts(path, splits)
    return _examples(path, kind, splits, channels)


def tables(path: Path) -> list[str]:
    """The names of the tables of a folder: its `.npz` files."""
    return sorted(file.stem for file in path.glob("*.npz"))


def open_table(path: Path, name: str, bits: int | None = None) -> Source:
    """The table NAME.npz of a folder: `x` [N, D], its arrays `train`, `valid` and `test` as splits, those that it has.

    bits: where rows are so many bits packed into bytes, as `numpy.packbits` does it, they are unpacked; a file with rows of
          as many bytes that hold nothing but 0 and 1 is no packed one. Other numbers than bytes are read as float32.

    Raises UserError with the tables there are for another name, and with the shape for what is no table.
    """
    if name not in tables(path):
        raise UserError(f"{path} has no table {name!r}: there {_are(tables(path))}")
    file = path / f"{name}.npz"
    there = formats.names_in_npz(file)
    parts = [part for part in ("train", "valid", "test") if part in there]
    if not parts:
        raise UserError(f"{file} has none of the arrays train, valid and test: it has {', '.join(there) or 'none'}")
    rows = {part: _rows_of(file, part) for part in parts}
    if (
        bits
        and all(_may_be_packed(x, bits) for x in rows.values())
        and max(x.max(initial=0) for x in rows.values()) > 1
    ):
        rows = {part: _unpacked(x, bits, f"{file}: {part}") for part, x in rows.items()}
    splits = {part: Table({"x": x}, str(file)) for part, x in rows.items()}
    examples = {part: len(table) for part, table in splits.items()}
    return Source(f"files:{path}#{name}", splits, _evaluation(splits), {"examples": examples})


def _are(names: list[str]) -> str:
    return f"are {', '.join(names)}" if names else "is none"


def _rows_of(file: Path, part: str) -> np.ndarray:
    x = formats.read_npz(file, part)
    if x.ndim != 2:
        raise UserError(f"{file}: {part} is of shape {x.shape}, a table is rows of columns")
    return x if x.dtype == np.uint8 else x.astype(np.float32)


def _may_be_packed(x: np.ndarray, bits: int) -> bool:
    return x.dtype == np.uint8 and x.shape[1] == -(-bits // 8) < bits


def _unpacked(x: np.ndarray, bits: int, where: str) -> np.ndarray:
    unpacked = np.unpackbits(x, axis=1)
    if unpacked[:, bits:].any():
        raise UserError(f"{where} holds more than {bits} bits in rows of {x.shape[1]} bytes")
    return unpacked[:, :bits]


def _is(file: Path, kind: str) -> bool:
    return file.name.lower().endswith(KINDS[kind])


def _kind(files: Sequence[Path]) -> str | None:
    """Pictures before sounds before texts: texts beside pictures are captions, a README is no data set."""
    return next((kind for kind in KINDS if any(_is(file, kind) for file in files)), None)


def _splits(files: Sequence[Path], path: Path) -> dict[str, list[Path]]:
    """Files by split, where every file lies in a folder of such a name, or bears it; one split "all" else."""
    found: dict[str, list[Path]] = {}
    for file in files:
        top = file.relative_to(path).parts[0].partition(".")[0].lower() if file != path else ""
        found.setdefault(SPLIT_NAMES.get(top, "all"), []).append(file)
    return found if "train" in found and "all" not in found else {"all": list(files)}


def _texts(path: Path, splits: dict[str, list[Path]]) -> Source:
    texts = {name: [formats.read_text(file) for file in files] for name, files in splits.items()}
    if "all" in texts:
        whole = "\n".join(texts["all"])
        cut = len(whole) * 9 // 10
        texts = {"train": [whole[:cut]], "test": [whole[cut:]]}
    tables = {name: Table({"text": column(documents)}, str(path)) for name, documents in texts.items()}
    examples = {name: len(table) for name, table in tables.items()}
    return Source(f"files:{path}", tables, _evaluation(tables), {"examples": examples})


def _examples(path: Path, kind: str, splits: dict[str, list[Path]], channels: int | None) -> Source:
    roots = {name: path if name == "all" else _top(files[0], path) for name, files in splits.items()}
    classes = sorted({file.relative_to(roots[name]).parts[0] for name, files in splits.items() for file in files})
    labelled = all(len(file.relative_to(roots[name]).parts) > 1 for name, files in splits.items() for file in files)
    held = _held_out(splits["all"]) if "all" in splits else splits

    def split(name: str, files: list[Path]) -> Split:
        root = roots.get(name, path)
        labels = [classes.index(file.relative_to(root).parts[0]) for file in files] if labelled else None
        return _rows(files, kind, labels, channels)

    tables = {name: split(name, files) for name, files in held.items() if files}
    info: dict[str, Any] = {"examples": {name: len(files) for name, files in held.items()}}
    if labelled:
        info["classes"] = classes
    if kind == "wave":
        rates = {formats.read_wav(formats.read_bytes(file), str(file))[0] for files in held.values() for file in files}
        info |= {"rate": rates.pop()} if len(rates) == 1 else {"rates": sorted(rates)}
    return Source(f"files:{path}", tables, _evaluation(tables), info)


def _top(file: Path, path: Path) -> Path:
    return path / file.relative_to(path).parts[0]


def _held_out(files: list[Path]) -> dict[str, list[Path]]:
    """A fixed shuffle, its first tenth (one file at least, if there are two) as test."""
    count = max(1, len(files) // 10) if len(files) > 1 else 0
    order = np.random.RandomState(0).permutation(len(files))
    return {
        "train": [files[i] for i in np.sort(order[count:])],
        "test": [files[i] for i in np.sort(order[:count])],
    }


def _evaluation(tables: dict[str, Any]) -> str:
    return next(name for name in ("test", "valid", "train") if name in tables)


def _rows(files: list[Path], kind: str, labels: list[int] | None, channels: int | None) -> Split:
    captions = [file.with_suffix(".txt") for file in files]
    captioned = kind == "image" and all(caption.is_file() for caption in captions)

    def read(row: int) -> dict[str, Any]:
        example = _columns(files[row], kind, channels)
        if labels is not None:
            example["label"] = np.int32(labels[row])
        if captioned:
            example["caption"] = formats.read_text(captions[row]).strip()
        return example

    records = Records(len(files), read, lambda row: str(files[row]))
    if read(0)[kind].nbytes * len(files) > KEEP:  # the first stands for all
        return records
    return Table(records.take(np.arange(len(files))), lambda row: str(files[row]))


def _columns(file: Path, kind: str, channels: int | None) -> dict[str, Any]:
    data = formats.read_bytes(file)
    if kind == "image":
        return {"image": formats.read_picture(data, str(file), channels)}
    rate, wave = formats.read_channels(data, str(file))
    mixed = np.rint(wave.mean(1)).astype(np.int16)
    return {"wave": mixed, "rate": np.int32(rate), "channels": np.int32(wave.shape[1])}
