"""Arrays of finished runs in the first state of a new one: fine-tuning (`--init-from`), and teachers.

What belongs to a network is taken over: parameters, and in memory its batch statistics (`batch_stats`), what it drew once and
never moves (`constants`), and averages (`ema`, `average`); averages that the other run did not keep begin as what they
average. An array of another shape is an error, unless it is a head that differs in the number of classes alone, which begins
anew, or the experiment can bring it into shape. Stacks of blocks may be scanned on one side and not on the other. Published
weights are taken over the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from aigc_jax.core import TrainState
from aigc_jax.errors import UserError, some
from aigc_jax.experiment import Experiment
from aigc_jax.networks.transformer_block import stacked, unrolled
from aigc_jax.pretrained import Model, is_published, load
from aigc_jax.training.checkpoint import flatten
from aigc_jax.training.describe import state_shapes
from aigc_jax.training.plan import Plan
from aigc_jax.training.run import open_run
from aigc_jax.training.sharding import path_name

NETWORK = ("params.", "memory.batch_stats.", "memory.constants.", "memory.ema.", "memory.average.")


class Donor(NamedTuple):
    """What is taken from: its name in messages, its arrays by the paths of a state, and the classes it tells apart."""

    name: str
    arrays: Mapping[str, Any]
    classes: int


def donor_of(
    init_from: str | Path | None, experiment: Experiment, plan: Plan, say: Callable[[str], None]
) -> Callable[[TrainState], TrainState] | None:
    """What puts arrays of other runs into a first state, or None if there are none to put.

    init_from: a run folder, or a folder of published weights, to begin from; what is not taken over is said.

    The experiment's own `grafts` come first. Raises UserError for a folder that cannot be opened and for arrays that do
    not fit.
    """
    taken: dict[str, Any] = {}
    for path, folder in experiment.grafts.items():
        taken |= _whole(path, folder, flatten(plan.shapes))
    if init_from:
        taken |= shared(open_donor(init_from), experiment, flatten(plan.shapes), say)
    return grafting(taken, plan) if taken else None


def grafting(taken: Mapping[str, Any], plan: Plan) -> Callable[[TrainState], TrainState]:
    """What puts arrays, by path, into a state."""

    def graft(state: TrainState) -> TrainState:
        def pick(path, leaf, sharding):
            name = path_name(path)
            return jax.device_put(jnp.array(taken[name], leaf.dtype), sharding) if name in taken else leaf

        return jax.tree_util.tree_map_with_path(pick, state, plan.shardings)

    return graft


def open_donor(folder: str | Path) -> Donor:
    """The run of a folder, or the model of a folder of published weights. Raises UserError where it is neither."""
    if is_published(folder):
        return donor_of_model(load(folder), str(folder))
    run = open_run(folder)
    return Donor(str(folder), flatten(run.state), classes_of(run.experiment))


def donor_of_model(model: Model, name: str) -> Donor:
    """Published weights as the state of an experiment holds them."""
    flat: dict[str, Any] = flatten_dict(dict(model.variables), sep=".")
    places = {"params": "params.network", "batch_stats": "memory.batch_stats"}
    arrays = {f"{places[path.partition('.')[0]]}.{path.partition('.')[2]}": array for path, array in flat.items()}
    return Donor(name, arrays, getattr(model.module, "classes", 0))


def _whole(path: str, folder: str | Path, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """All that lies under a path of the state: parameters and memory of the run in `folder`."""
    given = flatten(open_run(folder).state)
    names = {name: name.removeprefix(f"{path}.") for name in wanted if name.startswith(f"{path}.")}
    for name, source in names.items():
        if source not in given or given[source].shape != wanted[name].shape:
            there = given[source].shape if source in given else "missing"
            raise UserError(f"{folder} does not fit {path}: {source} is {there} there, {wanted[name].shape} here")
    return {name: given[source] for name, source in names.items()}


def shared(
    donor: Donor, experiment: Experiment, wanted: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, Any]:
    """What a donor and this experiment have in common, by name and shape.

    Raises UserError for arrays that do not fit, and where they have nothing in common.
    """
    folder, classes = donor.name, (donor.classes, classes_of(experiment))
    given = {**donor.arrays, **unrolled(donor.arrays)}
    taken: dict[str, Any] = {}
    heads, missing, misfits = [], [], []
    for name in (name for name in wanted if name.startswith(NETWORK)):
        array = next((found for source in _sources(name) if (found := _array(source, given)) is not None), None)
        if array is None:
            missing.append(name)
            continue
        shaped = _fitted(experiment, name, array, wanted[name].shape)
        if shaped is not None:
            taken[name] = shaped
        elif _is_head(array.shape, wanted[name].shape, *classes):
            heads.append(name)
        else:
            misfits.append(f"{name} is {array.shape} there, {wanted[name].shape} here")
    if misfits:
        raise UserError(f"{folder} does not fit this experiment: {some(misfits)}")
    if not any(name.startswith("params.") for name in taken):
        raise UserError(f"{folder} shares no parameter with this experiment, by name and shape")
    if heads:
        say(f"{some(heads)} begin anew: {classes[0]} classes in {folder}, {classes[1]} here")
    if missing:
        say(f"{some(missing)} begin anew: {folder} has none")
    return taken


def _array(name: str, given: Mapping[str, Any]) -> Any | None:
    return given[name] if name in given else stacked(given, name)


def _sources(name: str) -> Iterator[str]:
    """Where an array may come from: its own name, and for an average what it averages."""
    yield name
    if name.startswith("memory.average."):
        yield f"params.network.{name.removeprefix('memory.average.')}"
    if name.startswith("memory.ema."):
        rest = name.removeprefix("memory.ema.")
        yield f"params.{rest}"
        yield f"memory.{rest}"


def _fitted(experiment: Experiment, name: str, array: Any, shape: tuple[int, ...]) -> Any | None:
    if array.shape == shape:
        return array
    return experiment.refit(name, array, shape) if experiment.refit else None


def _is_head(there: tuple[int, ...], here: tuple[int, ...], classes_there: int, classes_here: int) -> bool:
    """Whether two shapes differ in their last axis alone, and there as the numbers of classes do."""
    last = (there[-1:], here[-1:])
    return there[:-1] == here[:-1] and last == ((classes_there,), (classes_here,)) and classes_there != classes_here


def classes_of(experiment: Experiment) -> int:
    """The classes that a method tells apart; 0 for one that does not classify."""
    if experiment.method.predict is None:
        return 0
    key = jax.eval_shape(lambda: jax.random.key(0))
    logits = jax.eval_shape(experiment.method.predict, state_shapes(experiment), dict(experiment.data.spec), key)
    return logits.shape[-1]
