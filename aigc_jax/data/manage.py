"""`aigc data build` and `aigc data show`: describe raw files once, look at any source."""

from __future__ import annotations

import difflib
import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from aigc_jax.data import builders, prepared
from aigc_jax.data.files import DESCRIPTION, open_described
from aigc_jax.data.recipes import files_of, recipes
from aigc_jax.data.sources import open_source
from aigc_jax.data.tables import Split
from aigc_jax.errors import UserError, nearest


def build(name: str, from_dir: str | Path | None = None, to_dir: str | Path | None = None) -> Path:
    """Makes a data set ready and returns its folder.

    With `from_dir`, a folder of raw files of the benchmark `name`: reads all of them, compares the number of examples
    of every split with the published one, and writes `dataset.json`, into `to_dir`, else beside the files, else, where
    that folder is read-only, into `$AIGC_DATA_DIR/NAME` (`~/aigc_data/NAME`); the data are then `files:FOLDER`. Raw
    files are neither copied nor changed.

    Without it: an embedded set as a TFDS data set, `tfds:aigc_NAME`; or any TFDS name, for which TFDS downloads and,
    for most, needs TensorFlow.

    Raises UserError for an unknown name, missing files (all are named), and files that are not what they should be.
    """
    if from_dir is None:
        return _build_tfds(name)
    known = recipes()
    if name not in known:
        raise UserError(nearest(name, known, "benchmark to build from files"))
    folder, recipe = Path(from_dir).expanduser(), {**known[name], "root": "."}
    _check_files(name, folder, recipe)
    for variant in recipe["variants"]:
        splits = open_described(recipe, folder, variant).splits
        for split in splits:
            len(splits[split])  # reading a split checks its counts and shapes
    target = _target(name, folder, to_dir)
    if target.resolve() != folder.resolve():
        recipe["root"] = str(folder.resolve())
    _write(target / DESCRIPTION, json.dumps(recipe, indent=1, ensure_ascii=False) + "\n")
    open_source.cache_clear()
    return target


def _check_files(name: str, folder: Path, recipe: dict[str, Any]) -> None:
    if not folder.is_dir():
        raise UserError(f"no such data folder: {folder}")
    wanted = files_of(recipe)
    missing = [file for file in wanted if not any((folder / one).is_file() for one in _spellings(file))]
    if missing:
        raise UserError(f"{folder} lacks {len(missing)} of the {len(wanted)} files of {name}: {', '.join(missing)}")


def _spellings(file: str) -> tuple[str, ...]:
    plain = file.removesuffix(".gz").removesuffix(".xz")
    return plain, f"{plain}.gz", f"{plain}.xz"


def _target(name: str, folder: Path, to_dir: str | Path | None) -> Path:
    if to_dir is not None:
        return Path(to_dir).expanduser()
    if os.access(folder, os.W_OK) and folder.stat().st_mode & 0o222:  # root may write anywhere, but was not asked to
        return folder
    return Path(os.environ.get("AIGC_DATA_DIR", "~/aigc_data")).expanduser() / name


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".tmp")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name a folder to write into with --to") from None


def _build_tfds(name: str) -> Path:
    if name in builders.EMBEDDED:
        return builders.prepare(name, prepared.root())
    way = f"put its raw files into a folder: aigc data build {name} --from DIR"
    if name in recipes() and importlib.util.find_spec("tensorflow") is None:
        raise UserError(f"building tfds:{name} needs TensorFlow (pip install tensorflow) and the network; or {way}")
    tfds = prepared.tfds()
    known = tfds.list_builders(with_community_datasets=False)
    if name.partition("/")[0].partition(":")[0] not in known:
        own = {*builders.EMBEDDED, *recipes()}
        if difflib.get_close_matches(name, known, n=1, cutoff=0.7):  # among thousands of names a few are like any word
            raise UserError(nearest(name, {*own, *known}, "data set to build"))
        raise UserError(f"{nearest(name, own, 'data set to build')}; or any name of TFDS")
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(f"building tfds:{name} needs TensorFlow (pip install tensorflow) and the network; or read its "
                        f"raw files from a folder of pictures, texts or sounds as files:DIR")  # fmt: skip
    builder = tfds.builder(name, data_dir=prepared.root(), file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)


def show(source: str) -> dict[str, Any]:
    """What a source holds: its splits with counts and columns, the evaluation split, and what else is known of it.

    A folder may be named with or without `files:`. Raises UserError as `open_source` does.
    """
    found = open_source(f"files:{source}" if Path(source.partition("#")[0]).expanduser().exists() else source)
    splits = {name: _shown(split) for name, split in found.splits.items()}
    info = {key: value for key, value in found.info.items() if key != "examples"}
    return {"source": found.name, "evaluation": found.evaluation, "splits": splits, "info": info}


def _shown(split: Split) -> dict[str, Any]:
    first = split.take(np.arange(min(1, len(split))))
    return {"examples": len(split), "columns": {name: _kind(x) for name, x in first.items()}}


def _kind(x: np.ndarray) -> dict[str, Any]:
    """Shape and dtype of the first example; text has neither."""
    if isinstance(x[0], str):
        return {"dtype": "text", "characters": len(x[0])}
    return {"dtype": str(np.asarray(x[0]).dtype), "shape": list(np.shape(x[0]))}
