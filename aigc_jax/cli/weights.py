"""`aigc import` and `aigc export`: published weights into a run folder, and back."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from aigc_jax.cli.environment import start_jax
from aigc_jax.errors import UserError
from aigc_jax.experiment import Entry, find, signature


def import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="SOURCE_DIR", help="config.json and safetensors, as hubs have them"
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="the run folder to make")
    parser.epilog = (
        "With SOURCE_DIR and DIR given, --help also shows the knobs of its experiment: data, batch size, ..."
    )


def from_published(arguments: argparse.Namespace) -> tuple[Entry, dict[str, Any]]:
    """The experiment of published weights and the knobs that their configuration sets."""
    start_jax()
    from aigc_jax.pretrained.files import read_config
    from aigc_jax.pretrained.layouts import published

    described = published(read_config(arguments.source))
    return find(described.experiment), described.knobs


def import_weights(arguments: argparse.Namespace) -> None:
    from aigc_jax.training.weights import import_weights

    print(import_weights(arguments.source, arguments.folder, **arguments.knobs))


def export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run folder")
    parser.add_argument("target", type=Path, metavar="TARGET_DIR", help="the folder to write")
    parser.add_argument(
        "--like",
        type=Path,
        metavar="DIR",
        help="with the config.json of the network, for a run that began from no weights",
    )


def export_weights(arguments: argparse.Namespace) -> None:
    start_jax()
    from aigc_jax.training.weights import export_weights

    print(export_weights(arguments.folder, arguments.target, arguments.like))


NETWORK = ("channels", "depth", "depths", "heads", "patch", "pool", "width", "window")
"""Knobs that published weights settle: another value would be recorded and not used."""


def adopted(entry: Entry, folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """The knobs with which an experiment has the network of a folder to begin from: of published weights, or of a run of
    the same experiment that began from some; {} for any other run.

    given: knobs of the command line.

    Raises UserError where there is no folder, for published weights of another experiment, and for a knob given that the
    weights settle otherwise.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: --init-from takes a run, or a folder of published weights")
    from aigc_jax.pretrained.files import read_config
    from aigc_jax.pretrained.layouts import published
    from aigc_jax.pretrained.origin import is_published, knobs_of
    from aigc_jax.training.folder import read_json

    if is_published(folder):
        config = read_config(folder)
    else:
        config = read_json(folder / "config.json").get("knobs", {}).get("published")
        if not config:
            return {}
    described = published(config)
    if described.experiment != entry.name:
        raise UserError(
            f"{folder} holds weights of {described.experiment}: aigc train {described.experiment} begins from them"
        )
    has = signature(entry)
    found = {name: value for name, value in knobs_of(config, described).items() if name not in ("classes", "size")}
    for name in NETWORK:
        if name in found and given.get(name, found[name]) != found[name]:
            raise UserError(f"{name} is that of the weights in {folder}, {found[name]}, and cannot be {given[name]}")
    return {name: value for name, value in found.items() if name in has}
