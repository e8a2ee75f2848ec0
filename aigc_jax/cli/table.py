"""The table of commands, in the order of the overview. A command that does not work yet is not in it."""

from __future__ import annotations

from aigc_jax.cli import catalogue, data, doctor, receipts, runs, weights
from aigc_jax.cli.parser import Command, from_preset

COMMANDS = {
    "list": Command("the experiments, by chapter", catalogue.list_arguments, catalogue.list_experiments),
    "describe": Command(
        "parameters, FLOPs, bytes and placements of an experiment; allocates nothing",
        catalogue.describe_arguments, catalogue.describe, from_preset,
    ),
    "train": Command("trains an experiment, or your own FILE.py", runs.train_arguments, runs.train, from_preset),
    "evaluate": Command("metrics of a run", runs.evaluate_arguments, runs.evaluate, runs.from_folder),
    "sample": Command("samples of a run, as .png, .txt or .wav", runs.sample_arguments, runs.sample, runs.from_folder),
    "report": Command("report.html of a run, or a comparison of several", receipts.report_arguments, receipts.report),
    "reproduce": Command(
        "trains, evaluates and compares with the expected figure; 0 only if it is reached",
        receipts.reproduce_arguments, receipts.reproduce, from_preset,
    ),
    "results": Command("writes docs/results.md, docs/benchmarks.md", receipts.results_arguments, receipts.results),
    "import": Command(
        "published weights into a run folder", weights.import_arguments, weights.import_weights, weights.from_published
    ),
    "export": Command(
        "the network of a run in the layout of the weights it began from",
        weights.export_arguments, weights.export_weights,
    ),
    "data": Command("builds or shows a data set", data.arguments, data.run),
    "doctor": Command("versions, devices, caches", doctor.arguments, doctor.run),
}  # fmt: skip


def overview() -> str:
    """What `aigc` says without a command."""
    lines = ["usage: aigc COMMAND ...      (aigc COMMAND --help tells more)", ""]
    lines += [f"  {name:<10} {command.summary}" for name, command in COMMANDS.items()]
    lines += ["", "  --version  the version of aigc_jax", "  --debug    with any command: the traceback of an error"]
    return "\n".join(lines)
