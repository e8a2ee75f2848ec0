"""Folders of published weights: config.json beside safetensors, in one file or in shards with an index.

Only safetensors is read. A pickle runs whatever its author put into it, so it is refused, with what to do instead.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from aigc_jax.errors import UserError

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
GENERATION = "generation_config.json"
PICKLES = (".bin", ".pt", ".pth", ".tar", ".pkl", ".ckpt")
BESIDE = (".json", ".txt", ".model", ".spm")  # tokenizers, preprocessing and generation settings
FLOATS = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
"""Types that float32 holds without loss."""
NUMBER = re.compile(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?", re.IGNORECASE)
NAMES = ("_name_or_path", "architecture", "transformers_version")
"""Options whose text may look like a number."""


class Stored(NamedTuple):
    """An array of a file, not read yet; `kind` is safetensors' word for its type."""

    file: Path
    shape: tuple[int, ...]
    kind: str


class Folder(NamedTuple):
    """A folder of published weights: its configuration, the arrays its files hold, and how it wants texts to be written."""

    path: Path
    config: dict[str, Any]
    stored: dict[str, Stored]
    generation: dict[str, Any] | None = None

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """The arrays of those names, file by file. Raises UserError for a file that cannot be read."""
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.stored[name].file, []).append(name)
        for file, inside in by_file.items():
            with _opened(file) as reader:
                yield from ((name, reader.get_tensor(name)) for name in inside)


def open_folder(path: str | Path) -> Folder:
    """Reads the configuration and the headers of the weights.

    Raises UserError where there is no such folder, no configuration, no safetensors file or only pickles, for a shard
    that is missing, and for a file that is damaged or cut off.
    """
    path = Path(path)
    config = read_config(path)
    stored: dict[str, Stored] = {}
    for file in _weights(path):
        with _opened(file) as reader:
            names: list[str] = reader.keys()
            for name in names:
                part = reader.get_slice(name)
                stored[name] = Stored(file, tuple(part.get_shape()), part.get_dtype())
    return Folder(path, config, stored, _read_json(path / GENERATION) if (path / GENERATION).exists() else None)


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a folder. Raises UserError where it is missing or damaged, or holds a number as text."""
    if not path.is_dir():
        raise UserError(
            f"no folder {path}: weights are read from a local folder, to which a hub's are downloaded first"
        )
    if not (path / CONFIG).exists():
        raise UserError(f"{path} holds no published weights: there is no {CONFIG}")
    config = _read_json(path / CONFIG)
    for name, value in config.items():
        if isinstance(value, str) and NUMBER.fullmatch(value) and name not in NAMES:
            raise UserError(f"{path / CONFIG}: {name} = {value!r} is text where a number is meant: take the quotes off")
    return config


def write_folder(
    path: Path, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray], beside: Path | None = None
) -> None:
    """Writes configuration and arrays, and copies what else lies in the folder `beside`.

    All of it is written under another name first: a folder of weights is whole, or it is not there. Raises UserError for
    a folder that is not empty, and where it cannot be written.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UserError(f"{path} is not empty: give another folder for the weights")
    path = path.absolute()  # "." has no name of its own
    partial = path.with_name(path.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in extras(beside) if beside else ():
            shutil.copy(file, partial / file.name)
        save_file({name: np.asarray(array, order="C") for name, array in arrays.items()}, partial / WEIGHTS,
                  metadata={"format": "pt"})  # fmt: skip
        (partial / CONFIG).write_text(json.dumps(dict(config), indent=2) + "\n", encoding="utf-8")
        if path.is_dir():
            path.rmdir()
        partial.rename(path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None


def extras(path: Path) -> list[Path]:
    """What lies beside weights and configuration, such as a tokenizer."""
    return [file for file in sorted(path.iterdir()) if file.suffix in BESIDE and file.name not in (CONFIG, INDEX)]


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is damaged: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{file} is damaged: it must be an object, not {type(found).__name__}")
    return found


def _weights(path: Path) -> list[Path]:
    """The files that hold the arrays."""
    if (path / INDEX).exists():
        try:
            named = sorted(set(json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            raise UserError(f"{path / INDEX} is damaged: it names no file for each tensor") from None
        missing = [name for name in named if not (path / name).is_file()]
        if missing:
            raise UserError(f"{path} is not whole: {INDEX} names {', '.join(missing)}, which is not there")
        return [path / name for name in named]
    found = sorted(path.glob("*.safetensors"))
    if len(found) > 1 and (path / WEIGHTS) not in found:
        raise UserError(f"{path} holds {len(found)} safetensors files and no {INDEX} that says which to read")
    if found:
        return [path / WEIGHTS if path / WEIGHTS in found else found[0]]
    pickles = [file.name for file in sorted(path.iterdir()) if file.suffix in PICKLES]
    if pickles:
        raise UserError(f"{path} holds its weights as a pickle ({pickles[0]}), which may run any code when it is opened: "
                        "load it with its own library where you trust it, and save it as safetensors "
                        "(save_pretrained, or safetensors.torch.save_file)")  # fmt: skip
    raise UserError(f"{path} holds no weights: there is no {WEIGHTS}")


def _opened(file: Path) -> Any:
    try:
        return safe_open(file, "numpy")
    except (SafetensorError, OSError) as error:
        size = file.stat().st_size if file.exists() else 0
        raise UserError(f"{file} is damaged or cut off at {size:,} bytes: {error}") from None
