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
from scipy.stats import binom

import aigc_jax as aigc
from aigc_jax.cli import main
from aigc_jax.experiment import catalogue, signature

PAGE = Path(__file__).parent.parent / "docs" / "extend.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

LIKELIHOODS = (PAGE.parent / "likelihood.md").read_text(encoding="utf-8")


def on_likelihoods(words):
    """The one block of the page on likelihoods that holds these words."""
    (block,) = (
        one for one in re.findall(r"^```python\n(.*?)^```", LIKELIHOODS, re.DOTALL | re.MULTILINE) if words in one
    )
    return block


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
    path = tmp_path / "my_flow.py"
    path.write_text(on_likelihoods("class Sinh"), encoding="utf-8")
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


def test_pixels_of_a_distribution_of_one_s_own_train_and_are_drawn_and_completed(tmp_path):
    path = tmp_path / "my_pixels.py"
    path.write_text(on_likelihoods("PixelOutput(levels"), encoding="utf-8")
    experiment = aigc.load(str(path), preset="quick", layers=1, batch_size=8)
    method, batch = experiment.method, next(experiment.data.train(0))
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    losses = []
    for _ in range(12):
        state, metrics = step(state, batch, jax.random.key(0))
        losses.append(metrics["loss"])
    assert losses[-1] < losses[0]
    keep = np.broadcast_to(np.arange(8)[:, None, None] < 4, batch["image"].shape)
    drawn = np.asarray(jax.jit(method.sample)(state, {**batch, "keep": keep.astype(np.float32)}, jax.random.key(1)))
    np.testing.assert_array_equal(drawn[:, :4], batch["image"][:, :4])
    assert set(np.unique(drawn)) <= set(range(17)) and np.any(drawn[:, 4:] != batch["image"][:, 4:])

    binomial = runpy.run_path(str(path))["binomial"](5)
    values, params = jnp.arange(5.0)[:, None], jnp.full((5, 1, 1), 0.3)
    p = np.exp(binomial.log_prob(params, values))[:, 0]
    np.testing.assert_allclose(p, binom.pmf(np.arange(5), 4, 1 / (1 + np.exp(-0.3))), rtol=1e-5)
    x = np.asarray(binomial.pick(jax.random.key(0), jnp.full((20_000, 1, 1), 0.3), 0.5))
    np.testing.assert_allclose([(x == value).mean() for value in range(5)], p**2 / np.sum(p**2), atol=0.015)


def test_a_trained_run_is_looked_at_by_hand(tmp_path, monkeypatch, no_report):
    monkeypatch.chdir(tmp_path)
    (line,) = re.findall(r"^    aigc (train nade .*--workdir runs/nade-10)$", LIKELIHOODS, re.MULTILINE)
    assert main([*line.split(), "--steps", "20", "--batch-size", "16", "--quiet"]) == 0
    found = {}
    exec(on_likelihoods("open_run"), found)
    assert found["draws"].shape == (1000, 10) and found["log_p"].shape == (2,) and np.all(found["log_p"] < 0)
    assert abs(float(found["log_total"])) < 1e-5 and abs(found["sums"]["total_probability"] - 1) < 1e-5
    assert abs(found["surprise"] - found["sums"]["entropy"]) < 0.3


def test_the_page_names_the_likelihood_experiments_with_a_temperature():
    rows = re.findall(r"^\| (`.*?) \|.*\| (above 0|0) \|$", LIKELIHOODS, re.MULTILINE)
    named = {name for names, _ in rows for name in re.findall(r"`(\w+)`", names)}
    entries = [entry for entry in catalogue().values() if entry.chapter == "likelihood"]
    assert named == {entry.name for entry in entries if "temperature" in signature(entry)}
