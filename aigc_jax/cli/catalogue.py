"""`aigc list` and `aigc describe`: what there is, and how large it is, before anything is allocated."""

from __future__ import annotations

import argparse
from itertools import groupby
from math import prod
from typing import Any

from aigc_jax.cli.environment import start_jax
from aigc_jax.cli.output import only_json, print_json, print_table, quantity
from aigc_jax.experiment import catalogue


def list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json", action="store_true", help="one JSON list: name, chapter, systems, presets, paper, expected"
    )


def list_experiments(arguments: argparse.Namespace) -> None:
    entries = list(catalogue().values())
    if arguments.json:
        print_json([
            {"name": e.name, "chapter": e.chapter, "systems": e.systems, "presets": list(e.presets), "paper": e.paper,
             "expected": e.expected, "summary": e.summary, "knobs_of_presets": e.presets}
            for e in entries
        ])  # fmt: skip
        return
    for chapter, group in groupby(entries, key=lambda entry: entry.chapter):
        print(chapter)
        for entry in group:
            print(f"  {entry.name:<22} {entry.summary}")
            print(f"  {'':<22} presets: {', '.join(entry.presets)}")
    print(f"\n{len(entries)} experiments. aigc describe NAME, aigc train NAME --preset laptop, aigc train NAME --help")


def describe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="an experiment of `aigc list`, or a FILE.py")
    parser.add_argument(
        "--preset", default="paper", metavar="P", help="paper (default), laptop, or a size of the experiment"
    )
    parser.add_argument("--mesh", metavar="data=2,fsdp=4", help="show placements and bytes per device on this mesh")
    parser.add_argument("--json", action="store_true", help="one JSON document")


def describe(arguments: argparse.Namespace) -> None:
    with only_json(arguments.json):
        found = _describe(arguments)
    if arguments.json:
        print_json(found)
    else:
        _show(found)


def _describe(arguments: argparse.Namespace) -> dict[str, Any]:
    from aigc_jax.experiment import load
    from aigc_jax.training.describe import describe
    from aigc_jax.training.sharding import make_mesh, parse_mesh

    axes = parse_mesh(arguments.mesh) if arguments.mesh else None
    start_jax(prod(axes.values()) if axes else None)
    experiment = load(arguments.name, arguments.preset, **arguments.knobs)
    return describe(experiment, make_mesh(axes) if axes else None)


def _show(found: dict[str, Any]) -> None:
    print(f"{found['experiment']}, preset {found['preset']}\n")
    memory = found["bytes"]
    rows = [
        ("parameters", found["parameters"], quantity(found["parameters"])),
        ("FLOPs per step", found["flops_per_step"], quantity(found["flops_per_step"], "FLOP")),
        ("bytes of state", found["state_bytes"], quantity(found["state_bytes"], "B")),
        *((f"  {part}", memory[part], quantity(memory[part], "B")) for part in ("params", "opt_state", "memory")),
        ("bytes of a batch", memory["batch"], quantity(memory["batch"], "B")),
        ("peak bytes of a step", found["peak_bytes"], quantity(found["peak_bytes"], "B")),
        ("steps", found["steps"], ""),
    ]
    print_table(("", "", ""), rows)
    print(f"\nPeak bytes: {found['peak_bytes_note']}\n")
    print_table(
        ("network", "parameters", "arrays"), [(n["name"], n["parameters"], n["arrays"]) for n in found["networks"]]
    )
    print()
    print_table(("batch", "shape", "type"), [(n, tuple(b["shape"]), b["dtype"]) for n, b in found["batch"].items()])
    if found["placements"]:
        mesh = " x ".join(f"{axis}={size}" for axis, size in found["mesh"].items())
        print(f"\nOn {mesh}, the state takes {quantity(found['state_bytes_per_device'], 'B')} on each device:\n")
        shown = found["placements"][:40]
        print_table(("array", "shape", "placement"), [(p["path"], tuple(p["shape"]), p["placement"]) for p in shown])
        if len(found["placements"]) > len(shown):
            print(f"... and {len(found['placements']) - len(shown)} smaller arrays (--json lists all)")
