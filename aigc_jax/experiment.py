"""An experiment is a module with one function whose keyword arguments are the knobs; this finds it, by name or by file.

What `aigc list` shows (presets, systems, paper, expected numbers) are literals of the module, read from its syntax
tree: nothing is imported, so a hundred experiments are listed at once. `load` imports the one asked for and calls it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aigc_jax.errors import UserError, nearest

if TYPE_CHECKING:
    from jax.sharding import PartitionSpec

    from aigc_jax.core import Method
    from aigc_jax.data import Data

    Rules = Sequence[tuple[str, PartitionSpec | str]]

FSDP: Rules = ((r".*", "fsdp"),)
"""The default placement: every large array is cut along its largest axis over the mesh axis `fsdp`."""

LITERALS = ("PRESETS", "SYSTEMS", "PAPER", "EXPECTED")

RANGES: Mapping[str, tuple[Callable[[Any], bool], frozenset[str]]] = {
    "at least 1": (lambda value: value >= 1, frozenset({"steps", "batch_size", "micro_batches"})),
    "above 0": (lambda value: value > 0, frozenset({"lr", "width", "widths", "hidden", "latents"})),
    "at least 0": (lambda value: value >= 0, frozenset({"lr_end", "weight_decay", "warmup", "warm_up", "clip"})),
    "at least 0 and below 1": (lambda value: 0 <= value < 1, frozenset({"dropout", "drop_path", "smoothing", "ema"})),
}
"""Knobs that mean the same in every experiment, and the numbers they take."""


class Experiment(NamedTuple):
    """What a run needs, built by the `experiment(...)` function of an experiment file.

    method: the technique, as pure functions.
    data:   training and evaluation streams of dicts of arrays, and their element spec.
    steps:  training steps.
    seed:   of initialisation, of every step's key and of the order of the data.
    rules:  placement of the state, `(regex over the path -> PartitionSpec, "fsdp" or "replicate")`, first match wins.
    evals:  name -> (run -> {metric: number}) for what is not per example: FID, BLEU, probes, AIS.
    panels: name -> (run -> picture) for the report.
    grafts: path of the state -> folder of the run whose parameters and memory it begins with: a teacher.
    best:   (split, metric): early stopping. The state whose average of this metric of `evaluate` over this split, that of
            validation, is the lowest at any evaluation is the result of the run: it is evaluated at the end, and opened.
    refit:  (path, array of another run, shape wanted here) -> the array in that shape, or None where it cannot be had: a
            position table for another size of picture, where `--init-from` finds one of another shape.
    config: filled in by `load`: experiment, preset and resolved knobs, the identity of a run.
    """

    method: Method
    data: Data
    steps: int
    seed: int = 0
    rules: Rules = FSDP
    evals: Mapping[str, Callable[[Any], dict[str, float]]] = types.MappingProxyType({})
    panels: Mapping[str, Callable[[Any], Any]] = types.MappingProxyType({})
    grafts: Mapping[str, str | Path] = types.MappingProxyType({})
    best: tuple[str, str] | None = None
    refit: Callable[[str, Any, tuple[int, ...]], Any | None] | None = None
    config: Mapping[str, Any] = types.MappingProxyType({})


class Entry(NamedTuple):
    """An experiment file as its literals describe it; nothing of it has been run."""

    name: str
    chapter: str
    path: Path
    summary: str
    systems: list[str]
    paper: str
    presets: dict[str, dict[str, Any]]
    expected: dict[str, dict[str, Any]]


def catalogue() -> dict[str, Entry]:
    """Every experiment of the package `experiments`, by name, in the order of chapters and names."""
    return {name: read(path) for name, path in _files().items()}


def find(name: str) -> Entry:
    """The entry of a name of the catalogue, or of a user's own FILE.py. Raises UserError with the nearest names."""
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise UserError(f"no such experiment file: {name}")
        return read(Path(name).resolve())
    files = _files()
    if name not in files:
        raise UserError(nearest(name, files, "experiment"))
    return read(files[name])


def read(path: Path) -> Entry:
    """Reads the literals of an experiment file from its syntax tree.

    Raises UserError where one is missing, no literal, or not of the form that commands rely on.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UserError(f"{path} line {error.lineno}: {error.msg}") from None
    found: dict[str, Any] = {}
    shared: dict[str, ast.expr] = {}  # constants above, which presets may have in common
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value) if name in LITERALS:
                found[name] = _literal(value, name, path, shared)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name in LITERALS:
                found[name] = _literal(value, name, path, shared)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value):
                shared[name] = value
    if "PRESETS" not in found:
        raise UserError(f'{path} has no PRESETS: an experiment says PRESETS = {{"paper": {{}}, "laptop": dict(...)}}')
    if not any(isinstance(node, ast.FunctionDef) and node.name == "experiment" for node in tree.body):
        raise UserError(f"{path} has no function experiment(*, knobs...) -> Experiment")
    _check_forms(found["PRESETS"], found.get("EXPECTED", {}), path)
    summary = (ast.get_docstring(tree) or "").strip().partition("\n")[0]
    return Entry(path.stem, path.parent.name, path, summary, list(found.get("SYSTEMS", ())), found.get("PAPER", ""),
                 found["PRESETS"], found.get("EXPECTED", {}))  # fmt: skip


def preset_knobs(entry: Entry, preset: str) -> dict[str, Any]:
    """The knobs that a preset sets. Raises UserError with the nearest presets."""
    if preset not in entry.presets:
        raise UserError(nearest(preset, entry.presets, f"preset of {entry.name}"))
    return dict(entry.presets[preset])


def module_of(entry: Entry) -> types.ModuleType:
    """Imports an experiment file: `experiments.<chapter>.<name>`, or a user's own file under its path."""
    if entry.path.parent.parent == _root():
        return importlib.import_module(f"experiments.{entry.chapter}.{entry.name}")
    return _own(entry.path)


@cache
def _own(path: Path) -> types.ModuleType:
    # The path as the name keeps files of one stem apart, and from modules that are installed.
    spec = importlib.util.spec_from_file_location(str(path), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses, and with them Linen modules, look their annotations up there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[spec.name]
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f"{path} line {lines[-1]}" if lines else str(path)
        raise UserError(f"{where}: {type(error).__name__}: {error}") from error
    return module


def signature(entry: Entry) -> dict[str, inspect.Parameter]:
    """The knobs of an experiment with their types and defaults, in the order they are written."""
    return dict(inspect.signature(module_of(entry).experiment, eval_str=True).parameters)


def resolve(entry: Entry, preset: str = "paper", **knobs: Any) -> dict[str, Any]:
    """All knobs of a run: defaults, then those of the preset, then those given, each checked against its type.

    Raises UserError for a knob that the experiment has not, a value of another type than its annotation, one outside
    `RANGES`, or a knob without a default that is not given.
    """
    parameters = signature(entry)
    chosen = {**preset_knobs(entry, preset), **knobs}
    for name, value in chosen.items():
        if name not in parameters:
            raise UserError(nearest(name, parameters, f"knob of {entry.name}"))
        if not _is(value, parameters[name].annotation):
            raise UserError(f"knob {name} of {entry.name} takes {_words(parameters[name].annotation)}, not {value!r}")
        _check_range(entry, name, value)
    for name, parameter in parameters.items():
        if name not in chosen and parameter.default is parameter.empty:
            raise UserError(f"knob {name} of {entry.name} has no default and preset {preset} does not set it: give it")
    return {name: chosen.get(name, parameter.default) for name, parameter in parameters.items()}


def _check_range(entry: Entry, name: str, value: Any) -> None:
    numbers = [one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, int | float)]
    for words, (inside, names) in RANGES.items():
        if name in names and not all(map(inside, numbers)):
            raise UserError(f"knob {name} of {entry.name} is {words}, not {value!r}")


def override(fields: Mapping[str, Any], **knobs: Any) -> dict[str, Any]:
    """The fields of a size, with those knobs in their place that are not None."""
    return {**fields, **{name: value for name, value in knobs.items() if value is not None}}


def load(name: str, preset: str = "paper", **knobs: Any) -> Experiment:
    """The experiment of a name, or of a user's FILE.py, with the knobs of a preset and any others over them.

    >>> exp = load("ddpm", preset="laptop", lr=1e-3)

    Raises UserError for an unknown name, preset or knob, and for a value that the experiment refuses.
    """
    entry = find(name)
    resolved = resolve(entry, preset, **knobs)
    try:
        built = module_of(entry).experiment(**resolved)
    except ValueError as error:
        raise UserError(f"{entry.name}: {error}") from error
    if not isinstance(built, Experiment):
        raise UserError(f"{entry.name}: experiment(...) must return an Experiment, not {type(built).__name__}")
    where = entry.name if entry.path.parent.parent == _root() else str(entry.path)
    return built._replace(config={"experiment": where, "preset": preset, "knobs": resolved})


def _root() -> Path:
    """The folder of the package `experiments`, beside this package in a checkout and in the wheel alike."""
    return Path(__file__).resolve().parent.parent / "experiments"


def _files() -> dict[str, Path]:
    """The experiment files by name. Raises UserError where two chapters have one of the same name."""
    files: dict[str, Path] = {}
    for path in sorted(_root().glob("*/*.py")):
        if path.stem.startswith("_"):
            continue
        first = files.setdefault(path.stem, path)
        if first != path:  # commands, run folders and records know the name alone: neither file may hide the other
            raise UserError(f"two experiments are called {path.stem!r}: rename {first} or {path}")
    return files


def _check_forms(presets: Any, expected: Any, path: Path) -> None:
    """Said when the file is read: a figure that cannot be compared would else be noticed at the end of its run."""
    if not isinstance(presets, dict) or not all(isinstance(knobs, dict) for knobs in presets.values()):
        raise UserError(f'{path}: PRESETS must be {{"name": {{"knob": value}}}}, not {presets!r}')
    for preset, figure in expected.items() if isinstance(expected, dict) else [("every preset", expected)]:
        complete = isinstance(figure, dict) and {"metric", "value"} <= figure.keys()
        if not complete or figure.get("direction", "min") not in ("min", "max"):
            raise UserError(f'{path}: EXPECTED of {preset} must have "metric", "value" and as "direction" "min" or "max", '
                            f"not {figure!r}")  # fmt: skip


def _literal(node: ast.expr, name: str, path: Path, shared: Mapping[str, ast.expr]) -> Any:
    """A literal, or `dict(a=1)`, or `dict(**SHARED, a=1)` with a literal of that name above: presets read better so."""
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_literal(key, name, path, shared) for key in node.keys if key is not None]
        return dict(zip(keys, (_literal(value, name, path, shared) for value in node.values), strict=True))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        made: dict[str, Any] = {}
        for word in node.keywords:
            common = shared.get(word.value.id) if isinstance(word.value, ast.Name) else None
            value = _literal(word.value if word.arg or common is None else common, name, path, shared)
            made |= {word.arg: value} if word.arg else value
        return made
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise UserError(f"{path} line {node.lineno}: {name} must be a literal: it is read without importing") from None


def _is(value: Any, annotation: Any) -> bool:
    """Whether a value has an annotated type; an int is a float, and a list a tuple, as JSON has no tuples.

    Plain types, `X | None`, `Literal`, `list[X]`, `tuple[X, ...]` of any length, `tuple[X, Y]` of two.
    """
    if annotation in (inspect.Parameter.empty, Any):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, one) for one in arguments)
    if origin is typing.Literal:
        return value in arguments
    if origin in (tuple, list):
        if not isinstance(value, (tuple, list)):
            return False
        any_length = origin is list or arguments[1:] == (...,)
        kinds = arguments[:1] * len(value) if any_length else arguments
        return len(kinds) == len(value) and all(_is(one, kind) for one, kind in zip(value, kinds))
    if annotation is type(None):
        return value is None
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    plain = origin or annotation  # of dict[str, int] the dict alone is looked at
    return not isinstance(plain, type) or isinstance(value, plain)


def _words(annotation: Any) -> str:
    """A type as an experiment writes it: `int`, `tuple[int, str]`, `float | None`."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
