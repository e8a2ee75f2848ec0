"""`aigc doctor`: whether this machine can run the library, and what it would run on."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from typing import Any

from aigc_jax.cli.environment import cache_folder, start_jax
from aigc_jax.cli.output import only_json, print_json, print_table

PYTHON = ((3, 11), (3, 13))
LOWEST = {"jax": "0.10", "jaxlib": "0.10", "flax": "0.12", "optax": "0.2.8", "orbax-checkpoint": "0.12", "numpy": "2.0"}
USED_FOR = {
    "scikit-learn": ("sklearn", "the embedded data sets"),
    "tensorflow-datasets": ("tensorflow_datasets", "sources tfds:NAME"),
    "grain": ("grain", "pipelines of sources tfds:NAME"),
    "array_record": ("array_record", "reading prepared TFDS data"),
    "importlib_resources": ("importlib_resources", "sources tfds:NAME"),
    "tokenizers": ("tokenizers", "tokenizer.json files"),
    "safetensors": ("safetensors", "published weights"),
    "pillow": ("PIL", "image folders, sample grids"),
    "matplotlib": ("matplotlib", "curves of report.html"),
    "tensorboardX": ("tensorboardX", "TensorBoard events"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document")


def run(arguments: argparse.Namespace) -> int:
    """Prints what it found; 1 if something lies outside the support window."""
    with only_json(arguments.json):
        found = examine()
    if arguments.json:
        print_json(found)
    else:
        _show(found)
    return 1 if found["problems"] else 0


def examine() -> dict[str, Any]:
    """Versions, devices, cache, packages that are missing, and problems, one line each."""
    problems = []
    python = sys.version_info[:2]
    if not PYTHON[0] <= python <= PYTHON[1]:
        problems.append(f"Python {platform.python_version()}: supported are 3.11 to 3.13")
    versions = {name: _version(name) for name in LOWEST}
    for name, lowest in LOWEST.items():
        found = versions[name]
        if found is None or _numbers(found) < _numbers(lowest):
            problems.append(f"{name} {found or 'is missing'}: needed is {lowest} or later, pip install -U {name}")
    devices, trouble = _devices() if versions["jax"] else ([], None)
    return {
        "python": platform.python_version(), "platform": platform.platform(), "cores": os.cpu_count(),
        "aigc_jax": _version("aigc-jax"), "versions": versions, "devices": devices,
        "compile_cache": str(cache_folder()),
        "missing": {name: use for name, (module, use) in USED_FOR.items() if importlib.util.find_spec(module) is None},
        "problems": problems + ([trouble] if trouble else []),
    }  # fmt: skip


def _devices() -> tuple[list[str], str | None]:
    """The devices of JAX, or the line that says why there are none."""
    start_jax()
    import jax

    try:
        return [f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()], None
    except RuntimeError as error:
        return [], f"JAX finds no device: {error}"


def _show(found: dict[str, Any]) -> None:
    window = {name: f"{lowest} or later" for name, lowest in LOWEST.items()}
    rows = [("python", found["python"], "3.11 to 3.13"), ("aigc_jax", found["aigc_jax"] or "not installed", "")]
    rows += [(name, version or "missing", window[name]) for name, version in found["versions"].items()]
    print_table(("package", "found", "supported"), rows)
    print(f"\nplatform       {found['platform']}, {found['cores']} cores")
    print(f"devices        {', '.join(found['devices']) or 'none'}")
    print(f"compile cache  {found['compile_cache']}  (JAX_COMPILATION_CACHE_DIR or AIGC_CACHE change it)")
    for name, use in found["missing"].items():
        print(f"missing        {name}: {use} (pip install {name})")
    for problem in found["problems"]:
        print(f"problem        {problem}")
    print("\nall is well" if not found["problems"] else "")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """0.10.2rc1 -> (0, 10, 2)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
