"""Opening a run again: what may be changed, what may not, and what a foreign or empty folder says."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest

import aigc_jax as aigc
from aigc_jax.errors import UserError
from aigc_jax.training import loop
from aigc_jax.training.run import Run, open_run

PCD = dict(data="synthetic", hidden=12, ais_chains=4, batch_size=16)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of `pcd` after three steps."""
    folder = tmp_path_factory.mktemp("runs") / "pcd"
    experiment = aigc.load("pcd", preset="laptop", **PCD)._replace(evals={}, panels={})
    loop.train(experiment, folder, steps=3, mesh={"data": 8}, quiet=True)
    return folder


@pytest.fixture
def copy(trained, tmp_path):
    """The run, to be harmed."""
    return shutil.copytree(trained, tmp_path / "run")


def test_a_run_opens_as_it_was(trained):
    run = open_run(trained)
    assert run.step == 3
    assert run.averages().keys() >= {"eval/free_energy"}
    again = open_run(trained)
    jax.tree.map(np.testing.assert_array_equal, run.state, again.state)


def test_a_knob_of_sampling_may_change(trained):
    batch = open_run(trained).condition(5)
    few, many = (open_run(trained, sample_sweeps=n).sample(batch) for n in (1, 50))
    assert few.shape == many.shape == batch["image"].shape
    assert not np.array_equal(few, many)


def test_a_class_can_be_asked_for_where_the_sampler_reads_it(trained):
    with pytest.raises(UserError, match="pcd does not sample by class"):
        open_run(trained).condition(4, [1])
    experiment = aigc.load("ddpm", preset="laptop", batch_size=8)
    run = Run(
        experiment, jax.eval_shape(experiment.method.init, jax.random.key(0), experiment.data.spec), None, None, None
    )
    np.testing.assert_array_equal(run.condition(5, [3, 1])["label"], [3, 1, 3, 1, 3])
    for classes in (0, None):
        untold = Run(aigc.load("ddpm", preset="laptop", batch_size=8, classes=classes), None, None, None)
        with pytest.raises(UserError, match=f"ddpm does not sample by class: it was trained with classes={classes}"):
            untold.condition(5, [3, 1])
    for wrong in (-1, 10):
        with pytest.raises(UserError, match=f"no class {wrong}: those of ddpm are 0 to 9"):
            run.condition(2, [wrong])


def test_a_knob_that_changes_the_state_is_refused(trained):
    with pytest.raises(UserError, match=r"hidden=13 changes the state of the trained run \(params.rbm"):
        open_run(trained, hidden=13)


def test_an_unknown_knob_gets_the_nearest(trained):
    with pytest.raises(UserError, match="unknown knob of pcd 'sample_sweep': did you mean 'sample_sweeps'"):
        open_run(trained, sample_sweep=3)


def test_another_preset_s_parameters_are_grafted_where_they_fit(trained, tmp_path):
    donor = open_run(trained)
    experiment = aigc.load("pcd", preset="laptop", **PCD)._replace(evals={}, panels={})
    run = loop.train(experiment, tmp_path / "run", steps=1, mesh={"data": 8}, quiet=True, init_from=trained)
    moved = np.abs(
        np.asarray(run.state.params["rbm"]["kernel"]) - np.asarray(donor.state.params["rbm"]["kernel"])
    ).max()
    assert moved < 0.1
    other = aigc.load("vae", preset="laptop", data="synthetic", batch_size=16)._replace(evals={}, panels={})
    with pytest.raises(UserError, match="shares no parameter with this experiment"):
        loop.train(other, tmp_path / "other", steps=1, mesh={"data": 1, "fsdp": 8}, quiet=True, init_from=trained)


def test_the_condition_repeats_rows_and_skips_padding(trained):
    run = open_run(trained)
    rows = sum(int((batch["mask"] > 0).sum()) for batch in run.data.evaluate())
    batch = run.condition(rows + 3)
    assert (batch["mask"] > 0).all()
    np.testing.assert_array_equal(batch["image"][:3], batch["image"][rows:])


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda run: shutil.rmtree(run), "no run folder"),
        (lambda run: (run / "config.json").unlink(), "holds no run: config.json is missing"),
        (lambda run: (run / "config.json").write_text("{"), "config.json is damaged: line 1"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "holds no checkpoint yet: train it with --resume"),
    ],
)
def test_a_folder_that_holds_no_run_says_so(copy, harm, message):
    harm(copy)
    with pytest.raises(UserError, match=message):
        open_run(copy)


def test_a_checkpoint_of_another_experiment_is_refused(copy):
    config = json.loads((copy / "config.json").read_text())
    config["knobs"]["hidden"] = 13
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"does not fit this experiment: it has other shapes: .*rbm.* here"):
        open_run(copy)
