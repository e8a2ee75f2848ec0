"""`aigc data build` and `aigc data show`: a benchmark's own files as a data set, and what a data set holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aigc_jax.cli.output import only_json, print_json, print_table


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|show")
    build = actions.add_parser("build", help="make a data set ready: check a benchmark's files, or prepare it for TFDS")
    build.add_argument("name", metavar="NAME", help="a benchmark, an embedded set, or a TFDS name")
    build.add_argument("--from", type=Path, dest="source", metavar="DIR", help="the folder with the benchmark's files")
    build.add_argument(
        "--to", type=Path, dest="target", metavar="DIR", help="where dataset.json goes; beside the files without it"
    )
    show = actions.add_parser("show", help="splits, their sizes and columns")
    sources = "digits, patches, pydoc, blanks, numbers, adding, toy:NAME, files:DIR, tfds:NAME"
    show.add_argument("name", metavar="NAME", help=f"a source: {sources}")
    show.add_argument("--json", action="store_true", help="one JSON document")


def run(arguments: argparse.Namespace) -> None:
    from aigc_jax.data import build, show

    if arguments.action == "build":
        print(build(arguments.name, arguments.source, arguments.target))
        return
    with only_json(arguments.json):
        found = show(arguments.name)
    if arguments.json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    print(f"{found['source']}, evaluated on {found['evaluation']!r}\n")
    rows = [
        (split, held["examples"], ", ".join(f"{name} {_kind(column)}" for name, column in held["columns"].items()))
        for split, held in found["splits"].items()
    ]
    print_table(("split", "examples", "columns of one example"), rows)
    for name, value in found["info"].items():
        text = " ".join(str(value).split())
        print(f"{name}: {text if len(text) <= 200 else text[:200] + ' ...'}")


def _kind(column: dict[str, Any]) -> str:
    """`uint8[8, 8, 1]`, or `text (1200 characters)`."""
    if "shape" in column:
        return f"{column['dtype']}{column['shape']}"
    return f"{column['dtype']} ({column['characters']:,} characters)"
