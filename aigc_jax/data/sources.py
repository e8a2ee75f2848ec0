"""One function for every source: `open_source(name)`."""

from __future__ import annotations

import functools
from pathlib import Path

from aigc_jax.data import embedded, tones
from aigc_jax.data.recipes import recipes
from aigc_jax.data.tables import Source, Table
from aigc_jax.errors import UserError, nearest

KINDS = ("digits", "patches", "pydoc", "blanks", "numbers", "adding", "tones", "toy:NAME", "files:DIR", "tfds:NAME",
         "synthetic")  # fmt: skip


@functools.lru_cache(maxsize=4)
def open_source(name: str, channels: int | None = None, bits: int | None = None) -> Source:
    """The splits of a source (`aigc_jax.data` lists them). What was opened last stays open.

    channels: 1 or 3 where pictures shall be read as grey or colour; None takes them as they are.
    bits:     how many of them a row of a table has that may be packed.

    Raises UserError for an unknown name, with the nearest ones, and for whatever is wrong with the files.
    """
    kind, _, rest = name.partition(":")
    if kind == "files" and rest:
        from aigc_jax.data.files import open_files

        _check_folder(Path(rest.partition("#")[0]).expanduser())
        return open_files(rest, channels, bits)
    if kind == "tfds" and rest:
        from aigc_jax.data.prepared import open_tfds

        return open_tfds(rest)
    if kind == "toy":
        if rest not in embedded.TOYS:
            raise UserError(nearest(rest, embedded.TOYS, "toy density"))
        return _embedded(name, embedded.toy(rest), {})
    if name == "digits":
        return _embedded(name, embedded.digits(), {"classes": [str(digit) for digit in range(10)]})
    if name == "tones":
        return _embedded(name, tones.tones(), {"classes": list(tones.OCTAVES), "rate": tones.RATE})
    if kind in ("patches", "adding") and (not rest or rest.isdigit()):
        make, default, info = {
            "patches": (embedded.patches, 32, {"classes": list(embedded.PHOTOGRAPHS)}),
            "adding": (embedded.adding, 200, {}),
        }[kind]
        try:
            return _embedded(name, make(int(rest or default)), info)
        except ValueError as error:
            raise UserError(str(error)) from None
    if name in ("pydoc", "blanks", "numbers"):
        return _embedded(name, getattr(embedded, name)(), {})
    if Path(name.partition("#")[0]).exists():
        raise UserError(f"{name} is a path: write files:{name}")
    if name in recipes():
        raise UserError(
            f"{name} is read from its files: --data files:DIR, DIR made by aigc data build {name} --from DIR"
        )
    raise UserError(nearest(name, KINDS, "data source"))


def _check_folder(folder: Path) -> None:
    """Raises UserError for a folder that is not there but bears the name of a benchmark: it says how to make it."""
    if folder.name in recipes() and not folder.exists():
        way = f"aigc data build {folder.name} --from DIR --to {folder} makes it, DIR the folder of its files"
        raise UserError(f"no such data folder: {folder}: {way}")


def _embedded(name: str, splits: embedded.Splits, info: dict[str, object]) -> Source:
    tables = {split: Table(columns, name) for split, columns in splits.items()}
    return Source(name, tables, "test", {**info, "examples": {split: len(table) for split, table in tables.items()}})
