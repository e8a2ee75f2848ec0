"""Beginning from the networks of another run: what is taken over, what begins anew, and what is refused."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import aigc_jax as aigc
from aigc_jax.errors import UserError
from aigc_jax.training import graft, loop
from aigc_jax.training.run import open_run

FILE = '''"""A small classifier with batch statistics, an average if asked for, and a teacher if one is named."""

import flax.linen as nn
import optax

from aigc_jax.data import labelled_images
from aigc_jax.experiment import Experiment
from aigc_jax.methods.supervised import classifier, distilled
from aigc_jax.networks.layers import BatchNorm
from aigc_jax.training.run import open_experiment

SYSTEMS = ["small"]
PAPER = "none"
PRESETS = {"paper": {}, "laptop": {}}


class Small(nn.Module):
    classes: int
    width: int
    places: int

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(BatchNorm()(nn.Dense(self.width, name="body")(x.reshape(x.shape[0], -1)), train))
        x = x + self.param("table", nn.initializers.normal(), (self.places,)).sum()
        return nn.Dense(self.classes, name="head")(x), {"pooled": x, "distilled": nn.Dense(self.classes, name="twin")(x)}


def doubled(path, array, shape):
    return array.repeat(2) if path.endswith("table") and shape == (2 * len(array),) else None


def experiment(*, data: str = "synthetic", steps: int = 3, batch_size: int = 16, seed: int = 0, classes: int = 10,
               width: int = 6, places: int = 3, ema: float | None = None, teacher: str = "") -> Experiment:
    net, tx = Small(classes, width, places), optax.sgd(0.1)
    if teacher:
        method = distilled(net, tx, open_experiment(teacher).method, ema=ema)
    else:
        method = classifier(net, tx, ema=ema)
    loaded = labelled_images(data, batch_size=batch_size, size=4, channels=1, classes=classes, crops="padded")
    return Experiment(method, loaded, steps, seed, grafts={"memory.teacher": teacher} if teacher else {},
                      refit=doubled)
'''


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(knobs) -> the experiment."""
    path = tmp_path_factory.mktemp("file") / "small.py"
    path.write_text(FILE)
    return lambda **knobs: aigc.load(str(path), preset="laptop", **knobs)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """Its run of three steps with ten classes."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    loop.train(small(), folder, steps=3, quiet=True, mesh={"data": 8})
    return folder


def first(experiment, init_from=None):
    """The state of step 0."""
    said = []
    plan = loop.make_plan(experiment, loop.placement.make_mesh({"data": 8}))
    donor = loop.donor_of(init_from, experiment, plan, said.append)
    batch = next(experiment.data.train(0))
    return loop.first_state(experiment, plan, batch, jax.random.key(experiment.seed), donor), said


def same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_parameters_and_statistics_are_taken_over(small, trained):
    donor = open_run(trained).state
    state, said = first(small(seed=5), trained)
    same(state.params, donor.params)
    same(state.memory, donor.memory)
    assert not said and int(state.step) == 0
    assert np.abs(donor.memory["batch_stats"]["BatchNorm_0"]["mean"]).max() > 1e-3, "there are statistics to take"


def test_heads_for_other_classes_begin_anew_and_one_line_says_so(small, trained):
    donor = open_run(trained).state.params["network"]
    fresh, _ = first(small(classes=5, seed=5))
    state, said = first(small(classes=5, seed=5), trained)
    network = state.params["network"]
    same(network["body"], donor["body"])
    same([network["head"], network["twin"]], [fresh.params["network"]["head"], fresh.params["network"]["twin"]])
    assert len(said) == 1
    assert said[0].startswith("params.network.head.bias, params.network.head.kernel, ")
    assert said[0].endswith(f"and 1 more begin anew: 10 classes in {trained}, 5 here")


def test_any_other_shape_is_refused_by_name(small, trained):
    with pytest.raises(UserError, match=r"params.network.BatchNorm_0.bias is \(6,\) there, \(7,\) here, .* and 5 more"):
        first(small(width=7), trained)


@pytest.mark.parametrize("there, here", [((6, 10), (7, 5)), ((6, 10), (6, 4)), ((10,), (10, 5)), ((10, 3), (5, 3))])
def test_what_differs_in_more_than_its_classes_is_no_head(there, here):
    assert graft._is_head((6, 10), (6, 5), 10, 5) and graft._is_head((10,), (5,), 10, 5)
    assert not graft._is_head(there, here, 10, 5)


def test_an_experiment_may_bring_an_array_into_shape(small, trained):
    donor = open_run(trained).state.params["network"]
    state, said = first(small(places=6), trained)
    np.testing.assert_array_equal(state.params["network"]["table"], np.repeat(donor["table"], 2))
    assert not said
    with pytest.raises(
        UserError, match=r"does not fit this experiment: params.network.table is \(3,\) there, \(5,\) here$"
    ):
        first(small(places=5), trained)


def test_an_average_that_was_not_kept_begins_as_what_it_averages(small, trained):
    donor = open_run(trained).state
    state, said = first(small(ema=0.9, seed=5), trained)
    same(state.memory["ema"]["network"], donor.params["network"])
    same(state.memory["ema"]["batch_stats"], donor.memory["batch_stats"])
    assert not said
    other, _ = first(small(ema=0.9, classes=5, seed=5), trained)
    same(other.memory["ema"]["network"], other.params["network"])


def test_a_teacher_is_filled_from_its_run_and_stays(small, trained, tmp_path):
    donor = open_run(trained).state
    run = loop.train(small(teacher=str(trained), seed=5), tmp_path / "student", steps=1, quiet=True, mesh={"data": 8})
    same(run.state.memory["teacher"], {"params": donor.params, "memory": donor.memory})
    assert np.abs(run.state.params["network"]["table"] - donor.params["network"]["table"]).max() > 1e-3
    again = open_run(tmp_path / "student")
    same(again.state, run.state)


def test_a_teacher_of_other_classes_is_refused(small, trained):
    with pytest.raises(UserError, match="the teacher tells 10 classes apart, the student 5"):
        first(small(teacher=str(trained), classes=5))
    with pytest.raises(UserError, match="no run folder nowhere"):
        small(teacher="nowhere")
