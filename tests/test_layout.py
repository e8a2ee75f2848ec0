"""The tree: imports point one way, chapters do not know each other, and the light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [path for folder in ("aigc_jax", "experiments") for path in (ROOT / folder).rglob("*.py")]

FLOORS = {
    "aigc_jax.errors": 0,
    "aigc_jax.heap": 0,
    "aigc_jax.core": 1,
    "aigc_jax.networks": 1,
    "aigc_jax.optimizers": 1,
    "aigc_jax.data": 1,
    "aigc_jax.evals": 1,
    "aigc_jax.probability": 1,
    "aigc_jax.training": 2,
    "aigc_jax.pretrained": 2,
    "aigc_jax.experiment": 2,
    "aigc_jax.generate": 2,
    "aigc_jax.cli": 3,
    "aigc_jax.methods": 3,
    "experiments": 4,
}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str | None:
    return next((name for name in FLOORS if module == name or module.startswith(name + ".")), None)


def imports(path: Path) -> list[str]:
    """Modules of this project that a file names in an import, those inside functions included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [module for module in found if room(module)]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path):
    here = room(module_name(path))
    if here is None:
        return  # the package itself and its __main__
    for module in imports(path):
        there = room(module)
        assert there is not None and FLOORS[there] <= FLOORS[here], (
            f"{module_name(path)} imports {module}, a floor above"
        )
        if here in ("aigc_jax.training", "aigc_jax.methods"):
            assert there not in {"aigc_jax.training", "aigc_jax.methods"} - {here}, (
                f"{module_name(path)} imports {module}"
            )


@pytest.mark.parametrize("path", [path for path in FILES if "methods" in path.parts], ids=module_name)
def test_chapters_do_not_import_each_other(path):
    here = module_name(path).split(".")[2:3]
    for module in imports(path):
        if module.startswith("aigc_jax.methods."):
            assert module.split(".")[2:3] == here, (
                f"{module_name(path)} imports {module}: what two chapters need moves down"
            )


@pytest.mark.parametrize("path", [path for path in FILES if "probability" in path.parts], ids=module_name)
def test_densities_and_bijectors_know_no_network(path):
    """Networks are made of bijectors, and not the other way round: conditioners are passed in."""
    assert not [module for module in imports(path) if module.startswith("aigc_jax.networks")]


def test_nothing_imports_tensorflow_or_torch():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("tensorflow", "torch") for name in names), path


def test_listing_loads_no_jax():
    code = "import sys; from aigc_jax.cli import main; main(['list']); sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_stay_readable(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
