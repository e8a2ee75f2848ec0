"""The words of the command line, its exit codes, and that every mistake is one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from aigc_jax.cli import main, receipts, table
from aigc_jax.cli.knobs import Knob, read_knobs
from aigc_jax.cli.parser import Command
from aigc_jax.experiment import find
from aigc_jax.training.folder import read_json, read_rows

ROOT = Path(__file__).parent.parent
OWN = '''
    """A linear denoiser of small pictures: nothing but a matrix."""

    from typing import Literal

    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from aigc_jax.cli import run_file
    from aigc_jax.core import Method, descend, new_state
    from aigc_jax.data import load_data
    from aigc_jax.experiment import Experiment

    SYSTEMS = ["nothing"]
    PAPER = "Nobody 2024"
    PRESETS = {"paper": {}, "laptop": dict(steps=2), "large": dict(width=1_000_000_000)}
    EXPECTED = {
        "laptop": {"metric": "eval/mse", "value": 1e3, "tolerance": 0, "direction": "min"},
        "paper": {"metric": "eval/mse", "value": -1.0, "tolerance": 0.5, "direction": "min"},
    }


    def experiment(
        *,
        data: str = "synthetic",
        steps: int = 3,
        batch_size: int = 16,
        lr: float = 1e-3,  # section 5, 100% of it
        width: int = 4,
        noise: float = 0.1,
        loud: bool = False,
        sampler: Literal["zeros", "ones"] = "zeros",
    ) -> Experiment:
        tx = optax.sgd(lr)
        if lr > 1:
            raise ValueError(f"lr {lr} is more than 1")
        if loud:
            raise RuntimeError("too loud")

        def denoise(params, x):
            return (x.reshape(-1, 64) @ params["down"] @ params["up"]).reshape(x.shape)

        def init(key, batch):
            down = jax.random.normal(key, (64, width)) / 8
            return new_state({"net": {"down": down, "up": down.T}}, tx, {"count": jnp.zeros(())})

        def loss(params, memory, batch, key):
            x = batch["image"]
            y = denoise(params["net"], x + noise * jax.random.normal(key, x.shape))
            return jnp.mean((y - x) ** 2), (memory, {})

        def evaluate(state, batch, key):
            x = batch["image"]
            return {"mse": jnp.mean((denoise(state.params["net"], x) - x) ** 2, axis=(1, 2, 3))}

        def sample(state, batch, key):
            return jnp.full_like(batch["image"], sampler == "ones")

        return Experiment(
            method=Method(init, descend(loss, tx), evaluate, sample),
            data=load_data(data, batch_size=batch_size, spec={"image": ((8, 8, 1), "float32")},
                           decode=lambda x: (np.clip(x, 0, 1) * 255).astype(np.uint8)),
            steps=steps,
        )


    if __name__ == "__main__":
        run_file(__file__)
'''


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> str:
    """A user's own experiment file."""
    path = tmp_path_factory.mktemp("own") / "linear.py"
    path.write_text(textwrap.dedent(OWN), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def trained(own, tmp_path_factory) -> Path:
    """A run folder of that experiment."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", own, "--preset", "laptop", "--workdir", str(workdir), "--lr", "0.01", "--quiet"]) == 0
    return workdir


@pytest.fixture
def run(capsys):
    """(words) -> exit code, standard output, standard error."""

    def call(*argv) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def shell(*argv, cwd=ROOT) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *map(str, argv)], cwd=cwd, env=environment, capture_output=True, text=True)


def test_list_imports_nothing_heavy_and_is_one_json_list():
    code = "import sys; from aigc_jax.cli import main; main(['list', '--json']); print(*sys.modules, file=sys.stderr)"
    done = shell("-c", code)
    heavy = {"jax", "numpy", "flax", "matplotlib", "rich"} & set(done.stderr.split())
    listed = json.loads(done.stdout)
    assert not heavy
    assert all({"name", "chapter", "systems", "presets", "paper", "expected"} <= set(one) for one in listed)
    assert {one["name"] for one in listed} == {
        p.stem for p in (ROOT / "experiments").glob("*/*.py") if p.stem[0] != "_"
    }


def test_list_as_text_names_every_experiment(run):
    code, out, _ = run("list")
    assert code == 0
    for path in (ROOT / "experiments").glob("*/[!_]*.py"):
        assert path.stem in out


MISTAKES = [
    (["trian"], "unknown command 'trian': did you mean 'train'?"),
    (["--versoin"], "unknown option '--versoin': did you mean '--version'?"),
    (["train"], "NAME"),
    (["train", "no_such_thing"], "unknown experiment 'no_such_thing'"),
    (["train", "/no/such/file.py"], "no such experiment file: /no/such/file.py"),
    (["train", "OWN", "--preset", "labtop"], "unknown preset of linear 'labtop': did you mean 'laptop'?"),
    (["train", "OWN", "--widht", "3"], "unknown option '--widht': did you mean '--width'"),
    (["train", "OWN", "surplus"], "unexpected argument 'surplus'"),
    (["train", "OWN", "--width"], "--width: expected one argument"),
    (["train", "OWN", "--width", "wide"], "knob width of linear takes int, not 'wide'"),
    (["train", "OWN", "--width", "1.5"], "knob width of linear takes int, not '1.5'"),
    (["train", "OWN", "--lr", "fast"], "knob lr of linear takes float, not 'fast'"),
    (["train", "OWN", "--loud", "yes"], "knob loud of linear takes true or false, not 'yes'"),
    (["train", "OWN", "--sampler", "twos"], "knob sampler of linear takes one of 'zeros', 'ones', not 'twos'"),
    (["train", "OWN", "--lr", "2"], "linear: lr 2.0 is more than 1"),
    (["train", "OWN", "--steps", "0"], "--steps: must be at least 1, not 0"),
    (["train", "OWN", "--steps", "-5"], "--steps: must be at least 1, not -5"),
    (["train", "OWN", "--save-every", "often"], "--save-every: takes an integer, not 'often'"),
    (["train", "OWN", "--mesh", "data"], "mesh 'data': expected axis=size"),
    (["train", "OWN", "--mesh", "data=3"], "needs 3 devices, there are 8"),
    (["evaluate", "/no/such/run"], "/no/such/run holds no run"),
    (["sample", "/no/such/run", "--n", "0"], "--n: must be at least 1, not 0"),
    (["report", "/no/such/run"], "/no/such/run holds no run"),
    (["reproduce", "OWN", "--preset", "large"], "no EXPECTED figure for preset 'large': it has laptop, paper"),
    (["data"], "build|show"),
]


@pytest.mark.parametrize("argv, words", MISTAKES, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_mistake_is_one_line_and_exit_code_2(run, own, tmp_path, monkeypatch, argv, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*(own if word == "OWN" else word for word in argv))
    assert code == 2 and out == ""
    assert err.startswith("aigc: error: ") and err.count("\n") == 1
    assert words in err
    assert not list(tmp_path.iterdir())


def test_an_unexpected_exception_is_one_line_and_debug_shows_where(run, own, tmp_path):
    words = ("train", own, "--loud", "true", "--workdir", tmp_path / "run")
    code, _, err = run(*words)
    assert code == 1 and err == "aigc: error: RuntimeError: too loud (--debug shows where)\n"
    code, _, err = run(*words, "--debug")
    assert code == 1 and "Traceback" in err and "raise RuntimeError" in err


@pytest.mark.parametrize("stop, code", [(SystemExit(75), 75), (KeyboardInterrupt(), 130), (SystemExit(), 0)])
def test_codes_of_runs_that_were_stopped(run, monkeypatch, stop, code):
    def stopping(arguments):
        raise stop

    monkeypatch.setitem(table.COMMANDS, "list", Command("", lambda parser: None, stopping))
    assert run("list")[0] == code


@pytest.mark.parametrize("words", [[], ["--help"], ["train", "--help"], ["--version"]])
def test_help_goes_to_standard_output(run, words):
    code, out, err = run(*words)
    assert code == (0 if words else 2)
    assert out and not err


def test_help_of_an_experiment_shows_its_knobs_with_defaults_and_comments(run, own):
    code, out, _ = run("train", own, "--preset", "large", "--help")
    lines = " ".join(out.split())
    assert code == 0
    assert "--lr FLOAT 0.001; section 5, 100% of it" in lines
    assert "--width INT 1000000000 (paper: 4)" in lines
    assert "--sampler zeros|ones 'zeros'" in lines


def test_knobs_are_read_with_type_default_and_comment(own):
    knobs = {knob.name: knob for knob in read_knobs(Path(own))}
    assert knobs["lr"] == Knob("lr", "float", "0.001", "section 5, 100% of it")
    assert knobs["sampler"].type == "Literal['zeros', 'ones']" and knobs["width"].comment == ""


def test_training_writes_a_run_folder_and_says_where(trained):
    config = read_json(trained / "config.json")
    assert config["knobs"]["lr"] == 0.01 and config["preset"] == "laptop"
    assert read_json(trained / "result.json")["steps"] == 2
    assert (trained / "report.html").exists() and list((trained / "samples").glob("*.png"))


def test_hyphen_and_underscore_and_equals_and_minus(run, own, tmp_path):
    words = ("train", own, "--steps=4", "--batch_size", "8", "--noise", "-5e-1", "--quiet")
    assert run(*words, "--workdir", tmp_path / "run")[0] == 0
    knobs = read_json(tmp_path / "run" / "config.json")["knobs"]
    assert knobs["batch_size"] == 8 and knobs["noise"] == -0.5
    assert knobs["steps"] == 4  # more than the preset's 3 is a longer run in all, its schedules included


def test_default_folder_and_a_resumed_run_that_is_lengthened(run, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("train", own, "--steps", "1", "--quiet")
    assert code == 0 and out.strip() == "runs/linear-paper"
    assert (
        read_json(Path("runs/linear-paper/config.json"))["knobs"]["steps"] == 3
    )  # schedules are those of the whole run
    code, _, err = run("train", own, "--steps", "4", "--quiet")
    assert code == 2 and "--resume" in err
    assert run("train", own, "--steps", "4", "--resume", "--quiet")[0] == 0  # one more than the preset has
    steps = [json.loads(line)["step"] for line in Path("runs/linear-paper/metrics.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_the_figure_of_a_preset_judges_runs_of_the_preset_only(run, own, tmp_path):
    def verdict(folder, *words):
        code, out, _ = run("train", own, "--quiet", "--workdir", tmp_path / folder, *words)
        assert code == 0
        return [line for line in out.splitlines() if "expected" in line]

    assert len(verdict("whole")) == 1
    assert verdict("short", "--steps", "1") == verdict("other", "--lr", "0.3") == []


def test_evaluate_prints_one_json_document(run, trained):
    code, out, _ = run("evaluate", trained, "--json")
    assert code == 0
    assert json.loads(out) == pytest.approx(read_json(trained / "result.json")["metrics"])
    code, out, _ = run("evaluate", trained)
    assert code == 0 and out.startswith("eval/mse  ")


@pytest.mark.parametrize(
    "config, words",
    [('{"experiment": null, "preset": null, "knobs": {}}', "holds a run of an experiment built by hand"),
     ('{"knobs": {}}', "is damaged"), ("[]", "is damaged"), ("{", "is damaged")],
)  # fmt: skip
def test_a_folder_that_does_not_open_again_says_why(run, tmp_path, config, words):
    (tmp_path / "config.json").write_text(config)
    code, _, err = run("evaluate", tmp_path)
    assert code == 2 and err.count("\n") == 1 and words in err


def test_sample_takes_a_knob_of_sampling_and_refuses_one_of_the_state(run, trained, tmp_path):
    from PIL import Image

    for sampler, value in (("zeros", 0), ("ones", 255)):
        code, out, _ = run("sample", trained, "--n", "5", "--sampler", sampler, "--out", tmp_path / f"{sampler}.png")
        assert code == 0 and out.strip() == str(tmp_path / f"{sampler}.png")
        assert value in Image.open(tmp_path / f"{sampler}.png").convert("L").tobytes()
    assert 0 not in Image.open(tmp_path / "ones.png").convert("L").tobytes()
    code, _, err = run("sample", trained, "--width", "9")
    assert code == 2 and "width=9 changes the state" in err


def test_report_rebuilds_pages_and_compares(run, trained, tmp_path):
    (trained / "report.html").unlink()
    code, out, _ = run("report", trained, trained, "--out", tmp_path / "both.html")
    assert code == 0 and out.split() == [str(trained / "report.html")] * 2 + [str(tmp_path / "both.html")]
    assert "eval/mse" in (tmp_path / "both.html").read_text()


def test_reproduce_may_evaluate_seldom_unless_the_result_is_chosen_so(run, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("reproduce", own, "--eval-every", "1000")
    rows = read_rows(tmp_path / "runs" / "reproduce-linear-laptop" / "metrics.jsonl")
    assert [any(name.startswith("eval/") for name in row) for row in rows].count(True) == 1
    code, _, err = run("reproduce", "nade", "--preset", "uci", "--eval-every", "5")
    assert code == 2 and "would change the figure" in err


def test_reproduce_writes_a_record_and_its_code_is_the_verdict(run, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("reproduce", own)
    record = read_json(Path("results/linear-laptop.json"))
    assert code == 0 and out.count("\n") == 1 and "reached" in out and "NOT" not in out
    assert record["reached"] is True and record["expected"] == 1e3 and record["preset"] == "laptop"
    code, out, _ = run("reproduce", own, "--preset", "paper")
    assert code == 1 and "NOT reached" in out
    assert read_json(Path("results/linear-paper.json"))["reached"] is False
    assert run("reproduce", own)[0] == 0
    assert sorted(p.name for p in Path("runs").iterdir()) == [
        "reproduce-linear-laptop", "reproduce-linear-laptop-2", "reproduce-linear-paper",
    ]  # fmt: skip


def test_results_writes_both_pages_from_the_records(run, own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("results")
    assert code == 2 and "results/" in err
    monkeypatch.setattr(receipts, "catalogue", lambda: {name: find(name) for name in ("vae", "pcd")})
    (tmp_path / "results" / "benchmarks").mkdir(parents=True)
    (tmp_path / "results" / "benchmarks" / "speed.json").write_text('{"device": "cpu", "ours": 1.5}')
    code, out, _ = run("results")
    assert code == 0 and out.split() == ["docs/results.md", "docs/benchmarks.md"]
    results = Path("docs/results.md").read_text()
    assert f"| vae | vae | {json.loads(run('describe', 'vae', '--json')[1])['parameters']:,} |" in results
    assert "| ours | 1.5 |" in Path("docs/benchmarks.md").read_text()


def test_describe_counts_and_allocates_nothing(run, own):
    started = time.monotonic()
    code, out, _ = run("describe", own, "--preset", "large", "--json")
    found = json.loads(out)
    assert code == 0 and time.monotonic() - started < 60
    assert found["parameters"] == 2 * 64 * 10**9  # half a terabyte: it cannot have been allocated
    assert found["state_bytes"] == 4 * found["parameters"] + 8
    assert found["experiment"].endswith("linear.py") and found["preset"] == "large"
    assert found["peak_bytes"] > found["state_bytes"] and found["flops_per_step"] > 0


def test_describe_takes_knobs_and_a_mesh(run, own):
    code, out, _ = run("describe", own, "--width", "2048", "--mesh", "data=2,fsdp=4", "--json")
    found = json.loads(out)
    placed = {row["path"]: row["placement"] for row in found["placements"]}
    assert code == 0 and found["mesh"] == {"data": 2, "fsdp": 4}
    assert placed["params.net.down"] == "-, fsdp" and placed["params.net.up"] == "fsdp, -"
    assert placed["memory.count"] == "replicated"
    assert found["state_bytes_per_device"] == 4 * 2 * 64 * 2048 // 4 + 8
    assert "parameters" in run("describe", own)[1]


def test_the_example_of_the_docs_is_an_experiment(run, tmp_path):
    text = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
    (tmp_path / "denoiser.py").write_text(text.split("```python\n")[1].split("```")[0])
    code, out, _ = run("describe", tmp_path / "denoiser.py", "--json")
    assert code == 0 and json.loads(out)["parameters"] == 2 * 64 * 16


def test_the_literals_of_the_readme_s_example_are_all_read(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = (block.split("```")[0] for block in text.split("```python\n")[1:] if "def experiment(" in block)
    (tmp_path / "mine.py").write_text(example)
    entry = find(str(tmp_path / "mine.py"))
    assert entry.summary and entry.systems and entry.paper and set(entry.expected) < set(entry.presets)


def test_readme_names_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`aigc {name}" in text for name in table.COMMANDS)


def test_data_show_counts_examples(run):
    code, out, _ = run("data", "show", "digits", "--json")
    assert code == 0
    assert {name: split["examples"] for name, split in json.loads(out)["splits"].items()} == {
        "train": 1437,
        "test": 360,
    }
    assert "image uint8[8, 8, 1]" in run("data", "show", "digits")[1]
    code, _, err = run("data", "show", "no_such_source")
    assert code == 2 and err.count("\n") == 1


def test_a_file_run_by_itself_is_aigc_train_of_it_on_simulated_devices(own, tmp_path):
    words = ("--steps", "2", "--devices", "2", "--mesh", "data=2", "--quiet")
    done = shell(own, *words, "--workdir", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert read_json(tmp_path / "run" / "result.json")["device"].startswith("2 x")
