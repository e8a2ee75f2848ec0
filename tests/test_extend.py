"""The pages on extending the library are true: their files, outside the tree, train, resume and sample."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aigc_jax as aigc
from aigc_jax.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "extend.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "denoiser.py"
    path.write_text(next(block for block in BLOCKS if "def experiment(" in block), encoding="utf-8")
    return path


def test_it_trains_by_the_command_and_resumes(file, tmp_path):
    workdir = tmp_path / "run"
    words = ["train", str(file), "--workdir", str(workdir), "--data", "synthetic", "--width", "16"]
    assert main([*words, "--steps", "4"]) == 0
    assert main([*words, "--steps", "6", "--resume"]) == 0
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 6 and {"loss", "eval/mse"} <= rows[-1].keys()
    assert json.loads((workdir / "result.json").read_text())["metrics"]["eval/mse"] == rows[-1]["eval/mse"]


def test_it_learns_and_samples_from_python(file, tmp_path):
    run = aigc.train(aigc.load(str(file), data="synthetic", width=32, steps=200, lr=3e-3), tmp_path / "run", quiet=True)
    losses = [row["loss"] for row in run.history()]
    assert losses[-1] < 0.5 * losses[0]
    batch = run.condition(5)
    assert np.shape(run.sample(batch)) == batch["image"].shape


def test_the_code_of_the_method_is_as_short_as_the_page_says():
    block = next(block for block in BLOCKS if "def experiment(" in block)
    lines = [line for line in block.splitlines() if line.strip() and not line.startswith(("import", "from", '"""'))]
    assert len(lines) <= 45


def test_the_compositions_on_the_page_are_of_functions_that_exist():
    from aigc_jax import core

    (block,) = (block for block in BLOCKS if "def experiment(" not in block)
    used = set(re.findall(r"\b([a-z_]+)\(", block))
    assert used == {"chain", "repeat", "descend", "track", "accumulate"} and all(hasattr(core, name) for name in used)
    compile(block, str(PAGE), "exec")


def test_the_flow_of_the_page_on_likelihoods_trains_and_is_invertible(tmp_path):
    page = (PAGE.parent / "likelihood.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    path = tmp_path / "my_flow.py"
    path.write_text(block, encoding="utf-8")
    run = aigc.train(aigc.load(str(path), preset="quick", steps=60), tmp_path / "run", quiet=True)
    losses = [row["nll"] for row in run.history() if "nll" in row]
    assert losses[-1] < losses[0]
    assert np.isfinite(np.asarray(run.sample(run.condition(16)))).all()
    layer, x = runpy.run_path(str(path))["Sinh"](), jnp.linspace(-2.0, 3.0, 6).reshape(3, 2)
    params = {"params": {"log_scale": jnp.array([0.4, -0.7])}}
    y, log_det = layer.apply(params, x)
    back, inverse_log_det = layer.apply(params, y, method="inverse_and_log_det")
    np.testing.assert_allclose(back, x, atol=1e-5)
    jacobian = jax.vmap(jax.jacfwd(lambda row: layer.apply(params, row[None])[0][0]))(x)
    np.testing.assert_allclose(log_det, jnp.linalg.slogdet(jacobian)[1], atol=1e-5)
    np.testing.assert_allclose(inverse_log_det, -log_det, atol=1e-5)
