"""Options of the commands: argparse whose errors are one line with the nearest option, and the knobs of experiments.

A command whose first argument names an experiment, or the folder of a run, has that experiment's knobs as options. So
the words are read twice: once for the fixed options, which say which experiment it is, and once with its knobs beside
them.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from aigc_jax.cli.knobs import Knob, convert, integer, read_knobs
from aigc_jax.errors import UserError, nearest
from aigc_jax.experiment import Entry, find, preset_knobs


class Command(NamedTuple):
    """One command of the table.

    summary:    the line of the overview.
    arguments:  adds the fixed options to a parser.
    run:        does it; returns the exit code, None for 0.
    experiment: for a command that takes knobs: (arguments) -> (experiment, the knobs it starts from).
    """

    summary: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]
    experiment: Callable[[argparse.Namespace], tuple[Entry, dict[str, Any]]] | None = None


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message} (see {self.prog} --help)")

    def words(self) -> list[str]:
        """Every option this parser knows."""
        return [word for action in self._actions for word in action.option_strings if word.startswith("--")]


def parse(name: str, command: Command, argv: list[str]) -> argparse.Namespace:
    """The arguments of a command; those of one that takes knobs have `knobs`, a dict of the values given.

    Raises UserError for an unknown option, a missing argument, or a value of the wrong type; SystemExit(0) after
    --help.
    """
    argv = _tidy(argv)
    parser = _parser(name, command)
    if command.experiment is None:
        return _strict(parser, argv)
    asked_for_help = any(word in ("-h", "--help") for word in argv)
    try:
        first, _ = _parser(name, command, help=False).parse_known_args([w for w in argv if w not in ("-h", "--help")])
    except UserError:
        if asked_for_help:
            parser.parse_args(["--help"])
        raise
    entry, start = command.experiment(first)
    knobs = _add_knobs(parser, entry, start)
    found = _strict(parser, argv)
    found.knobs = {
        knob.name: convert(knob, getattr(found, _dest(knob)), entry.name)
        for knob in knobs if hasattr(found, _dest(knob))
    }  # fmt: skip
    return found


def from_preset(arguments: argparse.Namespace) -> tuple[Entry, dict[str, Any]]:
    """The experiment of `NAME --preset P` and the knobs that the preset sets."""
    entry = find(arguments.name)
    return entry, preset_knobs(entry, arguments.preset)


def positive(text: str) -> int:
    """An option that counts something: an integer of at least 1, written as an int knob is."""
    try:
        value = integer(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes an integer, not {text!r}") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _parser(name: str, command: Command, help: bool = True) -> Parser:
    parser = Parser(
        prog=f"aigc {name}", description=command.summary, allow_abbrev=False, add_help=help,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=120),
    )  # fmt: skip
    command.arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _strict(parser: Parser, argv: list[str]) -> argparse.Namespace:
    found, unknown = parser.parse_known_args(argv)
    if unknown:
        word = next((w for w in unknown if w.startswith("-")), unknown[0]).partition("=")[0]
        if word.startswith("-"):
            raise UserError(f"{parser.prog}: {nearest(word, parser.words(), 'option')}")
        raise UserError(f"{parser.prog}: unexpected argument {word!r} (see {parser.prog} --help)")
    return found


def _add_knobs(parser: Parser, entry: Entry, start: dict[str, Any]) -> list[Knob]:
    """Adds the knobs of an experiment as options; a fixed option of the same name comes first. Values stay text."""
    taken = set(parser.words())
    knobs = [knob for knob in read_knobs(entry.path) if _option(knob.name) not in taken]
    group = parser.add_argument_group(f"knobs of {entry.name}", entry.summary.replace("%", "%%") or None)
    for knob in knobs:
        told = knob.default + (f"; {knob.comment}" if knob.comment else "")
        if knob.name in start and repr(start[knob.name]) != knob.default:
            told = f"{start[knob.name]!r} (paper: {told})"
        group.add_argument(_option(knob.name), dest=_dest(knob), metavar=_metavar(knob), default=argparse.SUPPRESS,
                           help=told.replace("%", "%%"))  # fmt: skip
    return knobs


def _tidy(argv: list[str]) -> list[str]:
    """--batch_size is --batch-size; a value that starts with a minus is tied to its option by =."""
    words: list[str] = []
    for word in argv:
        if re.match(r"-\.?\d", word) and words and re.fullmatch(r"--[\w-]+", words[-1]):
            words[-1] += f"={word}"
        elif word.startswith("--"):
            option, equals, value = word.partition("=")
            words.append(option.replace("_", "-") + equals + value)
        else:
            words.append(word)
    return words


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _dest(knob: Knob) -> str:
    return f"knob {knob.name}"


def _metavar(knob: Knob) -> str:
    plain = knob.type.removesuffix(" | None")
    if plain.startswith("Literal["):
        return plain[len("Literal[") : -1].replace("'", "").replace(", ", "|")
    if plain.startswith(("tuple[", "list[")):
        return "A,B,..."
    return plain.upper()
