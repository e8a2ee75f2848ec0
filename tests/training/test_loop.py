"""The loop: what it writes, that resuming changes nothing, and how it stops."""

from __future__ import annotations

import errno
import json
import os
import re
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.errors import RunError, UserError
from aigc_jax.evals import Evaluator
from aigc_jax.training import loop, metrics, plan
from aigc_jax.training.folder import read_rows
from aigc_jax.training.loop import train as train_on
from aigc_jax.training.metrics import Log
from aigc_jax.training.plan import Periods, make_periods
from aigc_jax.training.sharding import make_mesh


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_calls_end_where_something_is_due():
    periods = Periods(log=4, evaluate=10, sample=10, save=6)
    stops, step = [], 0
    while step < 21:
        step = periods.next(step, 21)
        stops.append(step)
    assert stops == [4, 6, 8, 10, 12, 16, 18, 20, 21]


def test_a_run_leaves_its_folder_complete(tiny, tmp_path):
    run = loop.train(tiny(), tmp_path / "run", mesh={"data": 8}, quiet=True, log_every=3, eval_every=10)
    written = rows(run.workdir)
    assert [row["step"] for row in written] == sorted({*range(3, 41, 3), 10, 20, 30, 40})
    assert all(("eval/mse" in row) == (row["step"] % 10 == 0) for row in written)
    result = json.loads((run.workdir / "result.json").read_text())
    assert result["metrics"]["eval/mse"] == pytest.approx(written[-1]["eval/mse"])
    assert run.step == 40
    for name in ("config.json", "timing.jsonl", "report.html", "samples/step_00000040.png", "checkpoints/latest/40"):
        assert (run.workdir / name).exists(), name


def test_early_stopping_ends_with_the_state_that_was_best_on_its_split(tiny, train, tmp_path, monkeypatch):
    """Not with the last, nor with the best on the evaluation split, which is only measured."""
    shorter = train(tiny(), tmp_path / "shorter", steps=20)
    on = {"train": {10: 3.0, 20: 1.0, 30: 2.0, 40: 4.0}, None: {10: 1.0, 20: 9.0, 30: 2.0, 40: 0.5}}
    monkeypatch.setattr(loop.Run, "averages", lambda run, split=None: {"eval/mse": on[split][run.step]})
    run = train(tiny()._replace(best=("train", "mse")), tmp_path / "run", log_every=10, eval_every=10, save_every=10)
    assert [row["train/mse"] for row in rows(run.workdir)] == [3.0, 1.0, 2.0, 4.0]
    result = json.loads((run.workdir / "result.json").read_text())
    assert run.step == result["best_step"] == 20 and result["steps"] == 40
    assert result["metrics"]["eval/mse"] == 9.0
    same(run.state, shorter.state)


def test_a_split_to_choose_by_that_is_not_there_is_said_before_anything_is_written(tiny, train, tmp_path):
    with pytest.raises(UserError, match="best state is to be chosen by 'valid': .*there are"):
        train(tiny()._replace(best=("valid", "mse")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_short_trial_is_evaluated_as_seldom_as_the_whole_run_and_at_its_end():
    assert make_periods(1000, 1000, None, None, None, None) == Periods(log=10, evaluate=100, sample=100, save=100)
    assert make_periods(50, 1000, None, None, None, None) == Periods(log=1, evaluate=100, sample=100, save=5)
    assert make_periods(50, 1000, None, 10, None, None).evaluate == 10
    assert make_periods(2000, 1000, None, None, None, None).evaluate == 200


def test_what_is_no_training_does_not_count_against_the_speed_of_steps(tmp_path, monkeypatch):
    log, now = Log(tmp_path, 0, 10, 4, 1, True), [0.0]
    monkeypatch.setattr(metrics.time, "perf_counter", lambda: now[0])
    log.started = log.last_time = 0.0
    now[0] = 2.0
    with log.aside({}):
        now[0] = 32.0
    log.row(10, {"loss": 1.0}, 0.0)
    log.close()
    (row,) = read_rows(tmp_path / "timing.jsonl")
    assert row["steps_per_second"] == 5.0 and row["seconds"] == 32.0


def test_figures_are_kept_with_their_protocol(tiny, train, tmp_path, capfd):
    experiment = tiny()
    experiment = experiment._replace(
        method=experiment.method._replace(protocol="mse: of one value"), best=("train", "mse"),
        evals={"half": Evaluator(lambda run: {"of_it": 0.5}, "half of one")},
    )  # fmt: skip
    run = train(experiment, tmp_path / "run", steps=2)
    protocol = json.loads((run.workdir / "result.json").read_text())["protocol"]
    assert protocol == run.protocol() and protocol["half"] == "half of one"
    split = experiment.data.info["evaluation"]
    best = "at the state that was best by mse of the split 'train'"
    assert re.fullmatch(f"mean over the split {split!r} of .*, {best}; mse: of one value", protocol["eval"])
    assert f"(eval: {protocol['eval']})" in capfd.readouterr().err
    chosen = experiment._replace(best=(split, "mse"))
    said = train(chosen, tmp_path / "chosen", steps=2).protocol()["eval"]
    assert f", at the state that was best by mse of the split {split!r}; " in said


def test_it_learns(tiny, train, tmp_path):
    written = rows(train(tiny(), tmp_path / "run", steps=300).workdir)
    assert written[-1]["eval/mse"] < 0.5 * written[0]["loss"]


@pytest.mark.parametrize("stop", [7, 20])
def test_resuming_is_bit_equal(tiny, train, tmp_path, stop):
    periods = dict(log_every=1, eval_every=10, save_every=100)
    straight = train(tiny(), tmp_path / "straight", steps=30, **periods)
    train(tiny(), tmp_path / "cut", steps=stop, **periods)
    resumed = train(tiny(), tmp_path / "cut", steps=30, resume=True, **periods)
    same(straight.state, resumed.state)
    dropped = {row["step"]: row for row in rows(resumed.workdir)}
    for row in rows(straight.workdir):
        assert {name: dropped[row["step"]][name] for name in row} == row


def test_steps_in_one_call_equal_steps_one_by_one(tiny, train, tmp_path, monkeypatch):
    together = train(tiny(), tmp_path / "together", steps=12)
    monkeypatch.setattr(plan, "steps_per_call", lambda *sizes: 1)
    single = train(tiny(), tmp_path / "single", steps=12)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), together.state, single.state)


def test_the_step_compiles_once(tiny, train, tmp_path, monkeypatch):
    compiled = []
    real = loop.compile_steps
    monkeypatch.setattr(loop, "compile_steps", lambda *a: compiled.append(real(*a)) or compiled[-1])
    train(tiny(), tmp_path / "run", log_every=3, save_every=7)
    assert compiled[0]._cache_size() == 1


def test_rows_past_the_restored_step_are_cut(tiny, train, tmp_path):
    train(tiny(), tmp_path / "run", steps=10, log_every=1)
    with (tmp_path / "run" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "loss": 0.5}\n{"step": 12, "lo')  # a run killed after its last checkpoint
    run = train(tiny(), tmp_path / "run", steps=20, log_every=1, resume=True)
    assert [row["step"] for row in rows(run.workdir)] == list(range(1, 21))


@pytest.mark.parametrize("number, error", [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_saves_and_asks_to_be_resumed(tiny, train, tmp_path, number, error):
    experiment = tiny()

    class Killing:
        """The data of the experiment, with a signal to this process after the eleventh batch."""

        def __init__(self, stream):
            self.stream, self.count = stream, 0

        def __next__(self):
            self.count += 1
            if self.count == 12:
                os.kill(os.getpid(), number)
            return next(self.stream)

        def __getattr__(self, name):
            return getattr(self.stream, name)

    killed = experiment._replace(data=experiment.data._replace(train=lambda seed: Killing(experiment.data.train(seed))))
    with pytest.raises(error) as stopped:
        train(killed, tmp_path / "run", log_every=4, save_every=40)
    assert error is KeyboardInterrupt or stopped.value.code == 75
    resumed = train(experiment, tmp_path / "run", resume=True)
    same(resumed.state, train(experiment, tmp_path / "straight").state)


def test_a_second_ctrl_c_does_not_wait():
    before, stops = signal.getsignal(signal.SIGINT), []
    with loop._noting(signal.SIGINT, stops):
        signal.raise_signal(signal.SIGINT)
        assert stops == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_loss_that_is_not_finite_names_step_and_tensor(tiny, train, tmp_path):
    bad = tiny(spoil=lambda loss, batch: loss + 0 * jnp.log(loss - 0.04))
    with pytest.raises(RunError, match=r"not finite at step \d+; first bad tensor: log -> \(\) in .*test_loop"):
        train(bad, tmp_path / "run", steps=400)


def test_a_state_that_is_not_finite_is_never_saved(tiny, train, tmp_path):
    """Not even at a step that no row is due at."""
    bad = tiny(spoil=lambda loss, batch: loss + 0 * jnp.log(loss - 0.04))
    with pytest.raises(RunError, match="not finite") as stopped:
        train(bad, tmp_path / "run", steps=400, log_every=400, eval_every=400, sample_every=400, save_every=3)
    (step,) = re.findall(r"at step (\d+)", str(stopped.value))
    saved = [int(path.name) for path in (tmp_path / "run" / "checkpoints" / "latest").iterdir()]
    assert max(saved) == int(step) // 3 * 3 > 0


def test_a_run_past_the_steps_asked_for_says_where_it_is(tiny, train, tmp_path):
    train(tiny(), tmp_path / "run", steps=6)
    with pytest.raises(UserError, match="is at step 6 already, past 4: ask for more than 6 steps"):
        train(tiny(), tmp_path / "run", steps=4, resume=True)


def test_a_damaged_checkpoint_is_told_of_in_silence_too(tiny, train, tmp_path, capsys):
    train(tiny(), tmp_path / "run", steps=6, save_every=3)
    next((tmp_path / "run" / "checkpoints" / "latest" / "6").rglob("manifest.ocdbt")).unlink()
    train(tiny(), tmp_path / "run", steps=6, resume=True, quiet=True)
    assert "checkpoint 6 is damaged" in capsys.readouterr().err


def test_a_failed_save_fails_the_run_and_keeps_the_last_checkpoint(tiny, train, tmp_path, monkeypatch):
    train(tiny(), tmp_path / "run", steps=10)

    def full(self, step, **arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.CheckpointManager.save", full)
        with pytest.raises(RunError, match="No space left on device.*last whole checkpoint is step 10"):
            train(tiny(), tmp_path / "run", steps=20, resume=True)
    assert train(tiny(), tmp_path / "run", steps=20, resume=True).step == 20


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(steps=0), "steps must be at least 1, not 0"),
        (dict(steps=-3), "steps must be at least 1, not -3"),
        (dict(save_every=0), "save_every must be at least 1"),
        (dict(mesh={"data": 3}), "needs 3 devices, there are 8"),
        (dict(init_from="nowhere"), "no run folder nowhere"),
    ],
)
def test_what_the_call_got_wrong_is_said_before_anything_is_written(tiny, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        train_on(tiny(), tmp_path / "run", quiet=True, **options)
    assert not (tmp_path / "run").exists()


def test_a_batch_that_the_mesh_does_not_divide_is_refused(tiny, tmp_path):
    mesh = make_mesh(devices=jax.devices()[:3])
    with pytest.raises(UserError, match="batch of 16 does not divide over 3 devices of the mesh: take 15 or 18"):
        train_on(tiny(), tmp_path / "run", mesh=mesh, quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_something_else_is_refused(tiny, train, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for resume in (False, True):
        with pytest.raises(UserError, match="is not empty|holds no run"):
            train(tiny(), tmp_path / "mine", resume=resume)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_another_run_in_the_folder_is_refused_with_the_difference(tiny, train, tmp_path):
    config = {"experiment": None, "preset": None, "knobs": {"width": 32, "steps": 5}}
    train(tiny()._replace(config=config), tmp_path / "run", steps=5)
    other = {**config, "knobs": {"width": 64, "steps": 10}}
    with pytest.raises(UserError, match="other knobs: width 32 there, 64 here$"):
        train(tiny()._replace(config=other), tmp_path / "run", steps=10, resume=True)


def test_a_second_compilation_is_reported_with_the_shapes(tiny, train, tmp_path, capsys):
    experiment = tiny()

    class Shrinking:
        def __init__(self, stream):
            self.stream, self.count = stream, 0

        def __next__(self):
            self.count += 1
            batch = next(self.stream)
            return batch if self.count < 20 else {name: value[:8] for name, value in batch.items()}

        def __getattr__(self, name):
            return getattr(self.stream, name)

    odd = experiment._replace(data=experiment.data._replace(train=lambda seed: Shrinking(experiment.data.train(seed))))
    train(odd, tmp_path / "run", log_every=1)
    assert "compiled again (2 times so far): the batch was now image float32[32, 8, 8, 8, 1]" in capsys.readouterr().err


def test_a_run_built_by_hand_gives_no_parameters(tiny, train, tmp_path):
    donor = train(tiny(), tmp_path / "donor", steps=20)
    with pytest.raises(UserError, match="built by hand"):  # it has no name by which it could be opened again
        train(tiny(), tmp_path / "run", steps=1, init_from=donor.workdir)


@pytest.mark.parametrize("mesh", [{"data": 8}, {"data": 2, "fsdp": 4}])
def test_one_device_equals_eight(tiny, train, tmp_path, mesh):
    one = train(tiny(), tmp_path / "one", steps=5)
    eight = train_on(tiny(), tmp_path / "eight", steps=5, mesh=mesh, quiet=True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), jax.device_get(one.state.params),
                 jax.device_get(eight.state.params))  # fmt: skip


def test_saved_on_eight_devices_resumed_on_one(tiny, train, tmp_path):
    straight = train(tiny(), tmp_path / "straight", steps=10)
    train_on(tiny(), tmp_path / "moved", steps=5, mesh={"data": 2, "fsdp": 4}, quiet=True)
    moved = train(tiny(), tmp_path / "moved", steps=10, resume=True)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), straight.state.params, moved.state.params
    )
