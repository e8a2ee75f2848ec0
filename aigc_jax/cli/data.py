"""`aigc data build` and `aigc data show`: a benchmark's own files as a data set, and what a data set holds."""

from __future__ import annotations

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|show")
    build = actions.add_parser("build", help="write dataset.json beside the files of a known benchmark")
    build.add_argument("name", metavar="NAME", help="the benchmark")
    build.add_argument("--from", type=Path, dest="source", metavar="DIR", help="the folder that holds its files")
    show = actions.add_parser("show", help="splits, columns, shapes and the first rows")
    show.add_argument("name", metavar="NAME", help="a source: digits, patches, pydoc, toy:NAME, files:DIR, tfds:NAME")


def run(arguments: argparse.Namespace) -> None:
    from aigc_jax import data

    if arguments.action == "build":
        print(data.build(arguments.name, arguments.source))
    else:
        print(data.show(arguments.name))
