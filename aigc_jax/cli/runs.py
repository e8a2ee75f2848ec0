"""`aigc train`, `aigc evaluate` and `aigc sample`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from aigc_jax.cli.environment import start_jax
from aigc_jax.cli.output import only_json, print_json
from aigc_jax.cli.parser import positive
from aigc_jax.errors import UserError
from aigc_jax.experiment import Entry, find


def train_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="an experiment of `aigc list`, or a FILE.py of your own")
    add("--preset", default="paper", metavar="P", help="paper (default), laptop, or a size of the experiment")
    add("--workdir", type=Path, metavar="DIR", help="run folder; runs/NAME-PRESET without it")
    add("--resume", action="store_true", help="continue the run that lies in the folder")
    add(
        "--steps",
        type=positive,
        metavar="N",
        help="stop after N steps; more steps than the preset's lengthen its schedules, too",
    )
    add("--mesh", metavar="data=2,fsdp=4", help="axes of the device mesh; all devices on fsdp without it")
    add("--devices", type=positive, metavar="N", help="simulate this many devices on the CPU")
    add(
        "--init-from",
        type=Path,
        metavar="DIR",
        help="take over the networks of another run, or published weights; other classes: a new head",
    )
    add("--save-every", type=positive, metavar="N", help="steps between checkpoints; a tenth of the run without it")
    add(
        "--eval-every",
        type=positive,
        metavar="N",
        help="steps between evaluations; a tenth of the preset's steps without it",
    )
    add(
        "--sample-every",
        type=positive,
        metavar="N",
        help="steps between samples; a tenth of the preset's steps without it",
    )
    add("--log-every", type=positive, metavar="N", help="steps between rows of metrics.jsonl")
    add("--profile", action="store_true", help="write a profile of some steps into the run folder")
    add("--quiet", action="store_true", help="no progress on the terminal")


def train(arguments: argparse.Namespace) -> None:
    start_jax(arguments.devices)
    from aigc_jax.cli.weights import adopted
    from aigc_jax.experiment import load
    from aigc_jax.training.folder import read_json
    from aigc_jax.training.loop import train
    from aigc_jax.training.records import verdict
    from aigc_jax.training.sharding import parse_mesh

    mesh = parse_mesh(arguments.mesh) if arguments.mesh else None
    knobs = arguments.knobs
    began_from = arguments.init_from or (arguments.workdir if arguments.resume else None)
    if began_from and (arguments.init_from or (began_from / "config.json").exists()):
        knobs = {**adopted(find(arguments.name), began_from, knobs), **knobs}
    experiment = load(arguments.name, arguments.preset, **knobs)
    if (arguments.steps or 0) > experiment.steps and "steps" in experiment.config["knobs"]:
        experiment = load(arguments.name, arguments.preset, **knobs, steps=arguments.steps)
    workdir = arguments.workdir or Path("runs") / f"{Path(arguments.name).stem}-{arguments.preset}"
    train(
        experiment, workdir, steps=arguments.steps, resume=arguments.resume, mesh=mesh, save_every=arguments.save_every,
        log_every=arguments.log_every, eval_every=arguments.eval_every, sample_every=arguments.sample_every,
        init_from=arguments.init_from, profile=arguments.profile, quiet=arguments.quiet,
    )  # fmt: skip
    found = verdict(read_json(workdir / "result.json"))
    if found:
        print(found)
    print(workdir)


def from_folder(arguments: argparse.Namespace) -> tuple[Entry, dict[str, Any]]:
    """The experiment of a run folder and the knobs it was trained with."""
    path = arguments.folder / "config.json"
    try:  # not by training.folder.read_json, which loads JAX: the knobs are needed for --help
        config = json.loads(path.read_text(encoding="utf-8"))
        name, knobs = config["experiment"], dict(config["knobs"])
    except OSError:
        raise UserError(f"{arguments.folder} holds no run: there is no {path.name}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged: it is not the JSON of a run") from None
    if not name:
        raise UserError(f"{arguments.folder} holds a run of an experiment built by hand: only one of a name or FILE.py "
                        "opens again")  # fmt: skip
    return find(name), knobs


def evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run folder")
    parser.add_argument("--devices", type=positive, metavar="N", help="simulate this many devices on the CPU")
    parser.add_argument("--json", action="store_true", help="one JSON document: the metrics")


def evaluate(arguments: argparse.Namespace) -> None:
    with only_json(arguments.json):
        run = _open(arguments)
        metrics = run.evaluate()
    if arguments.json:
        print_json(metrics)
        return
    _show_metrics(metrics)
    for name, how in run.protocol().items():
        print(f"({name}: {how})")


def sample_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run folder")
    parser.add_argument("--n", type=positive, default=64, metavar="N", help="how many (64)")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="F",
        help="file to write or replace, its suffix added; DIR/samples/sample without it",
    )
    parser.add_argument(
        "--label", type=_labels, metavar="A,B,...", help="classes to ask for, in turn; those of the data without it"
    )
    parser.add_argument("--devices", type=positive, metavar="N", help="simulate this many devices on the CPU")


def sample(arguments: argparse.Namespace) -> None:
    run = _open(arguments)
    from aigc_jax.training.samples import save_samples

    decoded = run.data.decode(run.sample(run.condition(arguments.n, arguments.label)))
    print(save_samples(arguments.out or arguments.folder / "samples" / "sample", decoded))


def _labels(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"takes class numbers such as 3 or 0,1,2, not {text!r}") from None


def _open(arguments: argparse.Namespace) -> Any:
    """The run of the folder, with the knobs given on the command line."""
    start_jax(arguments.devices)
    from aigc_jax.training.run import open_run

    return open_run(arguments.folder, **arguments.knobs)


def _show_metrics(metrics: dict[str, float]) -> None:
    width = max((len(name) for name in metrics), default=0)
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.6g}")
