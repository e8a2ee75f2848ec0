"""`aigc report`, `aigc reproduce` and `aigc results`: what runs reached, as pages and records."""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from aigc_jax.cli.environment import start_jax
from aigc_jax.cli.parser import positive
from aigc_jax.errors import UserError
from aigc_jax.experiment import catalogue, find

RESULTS, DOCS, GOLDEN = Path("results"), Path("docs"), Path("tests/golden")


def report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="run folders; several are also compared")
    parser.add_argument("--out", type=Path, metavar="F", help="the comparison; comparison.html beside the first folder")
    parser.add_argument("--keep-panels", action="store_true", help="do not draw the panels again: needs no checkpoint")


def report(arguments: argparse.Namespace) -> None:
    start_jax()
    from aigc_jax.training import report
    from aigc_jax.training.run import open_run

    for folder in arguments.folders:
        found = report.read_folder(folder)
        finished = bool(found.result) and not arguments.keep_panels
        print(report.write(open_run(folder)) if finished else report.write_page(folder))
    if len(arguments.folders) > 1:
        beside = arguments.folders[0].resolve().parent / "comparison.html"
        print(report.compare(arguments.folders, arguments.out or beside))


def reproduce_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="an experiment of `aigc list`, or a FILE.py")
    parser.add_argument("--preset", default="laptop", metavar="P", help="laptop (default), paper, or another one")
    parser.add_argument(
        "--eval-every", type=positive, metavar="N", help="steps between evaluations; the last is the figure"
    )


def reproduce(arguments: argparse.Namespace) -> int:
    """Trains in a fresh folder and compares; 0 if the figure is reached, 1 if not."""
    _check_expected(arguments)
    start_jax()
    from aigc_jax.experiment import load
    from aigc_jax.training.loop import train
    from aigc_jax.training.records import write_record

    experiment = load(arguments.name, arguments.preset, **arguments.knobs)
    if arguments.eval_every and experiment.best:
        raise UserError("--eval-every would change the figure: the best state is chosen among those evaluated")
    workdir = _fresh(Path("runs") / f"reproduce-{Path(arguments.name).stem}-{arguments.preset}")
    train(experiment, workdir, eval_every=arguments.eval_every)
    found, path = write_record(workdir, RESULTS, arguments.knobs)
    print(f"{Path(arguments.name).stem} {arguments.preset}: {found} ({path})")
    return 0 if found.reached else 1


def results_arguments(parser: argparse.ArgumentParser) -> None:
    """It has no options: it reads results/ and writes docs/ of the folder it is called in."""


def results(arguments: argparse.Namespace) -> None:
    if not RESULTS.is_dir():
        raise UserError(f"no folder {RESULTS}/ here: `aigc reproduce NAME` writes a record there")
    start_jax()
    from aigc_jax.training import records

    entries = list(catalogue().values())
    pages = {
        "results.md": records.results_page(
            entries, records.read_records(RESULTS).values(), _parameters(entries), GOLDEN
        )
    }
    benchmarks = records.read_records(RESULTS / "benchmarks")
    if benchmarks:
        pages["benchmarks.md"] = records.benchmarks_page(benchmarks)
    for path in records.write_pages(DOCS, pages):
        print(path)


def _parameters(entries: list) -> dict[str, int]:
    """Parameters of every paper preset; one that cannot be built is named and left out."""
    from aigc_jax.experiment import load
    from aigc_jax.training.describe import parameter_count
    from aigc_jax.training.run import state_shapes

    counts = {}
    for entry in entries:
        try:
            counts[entry.name] = parameter_count(state_shapes(load(entry.name)))
        except Exception as error:  # one experiment that is being written must not keep the others from their page
            print(f"aigc: {entry.name} has no paper preset that builds: {error}", file=sys.stderr)
    return counts


def _check_expected(arguments: argparse.Namespace) -> None:
    """Before minutes of training: whether there is anything to compare with."""
    entry = find(arguments.name)
    if arguments.preset not in entry.expected:
        known = f"it has {', '.join(entry.expected)}" if entry.expected else "it has none for any preset"
        raise UserError(f"{entry.name} has no EXPECTED figure for preset {arguments.preset!r}: {known}")


def _fresh(workdir: Path) -> Path:
    """The folder itself, or the first of NAME-2, NAME-3, ... that does not exist."""
    names = itertools.chain([workdir], (workdir.with_name(f"{workdir.name}-{i}") for i in itertools.count(2)))
    return next(path for path in names if not path.exists())
