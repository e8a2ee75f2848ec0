"""A run as evaluators, panels and users see it: a method with its state, its data, and the folder it lies in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from aigc_jax.core import Method, TrainState
from aigc_jax.errors import UserError
from aigc_jax.evals import name_of
from aigc_jax.experiment import Experiment, load
from aigc_jax.training import sharding as placement
from aigc_jax.training.checkpoint import Checkpoints, flatten
from aigc_jax.training.describe import state_shapes
from aigc_jax.training.folder import read_json, read_rows

if TYPE_CHECKING:
    from aigc_jax.data import Data

# The step's key is fold_in(seed_key, step); these lie where no step comes.
KEY_INIT, KEY_EVALUATE, KEY_SAMPLE = 2**32 - 1, 2**32 - 2, 2**32 - 3


class Run:
    """A state with all that is needed to evaluate it, sample from it and draw it.

    experiment: the method, its data and evaluators.
    state:      placed on `mesh` by `shardings`.
    workdir:    the run folder, or None for a run that is only in memory.
    """

    def __init__(
        self, experiment: Experiment, state: TrainState, mesh: Mesh, shardings: Any, workdir: Path | None = None
    ):
        self.experiment, self.state = experiment, state
        self.mesh, self.shardings, self.workdir = mesh, shardings, workdir
        self.key = jax.random.key(experiment.seed)

    @property
    def method(self) -> Method:
        return self.experiment.method

    @property
    def data(self) -> Data:
        return self.experiment.data

    @property
    def step(self) -> int:
        """Training steps done."""
        return int(jax.device_get(self.state.step))

    def sample(self, batch: Mapping[str, Any], key: Array | None = None) -> Any:
        """Samples in model range, as NumPy arrays; the batch is the condition, or only gives their number.

        Raises UserError if the method has no sampler.
        """
        if self._sample is None:
            raise UserError(f"{self._name()} does not sample")
        key = jax.random.fold_in(self.key, KEY_SAMPLE) if key is None else key
        return jax.device_get(self._sample(self.state, self._put(batch), key))

    def encode(self, batch: Mapping[str, Any], key: Array | None = None) -> np.ndarray:
        """Features [B, D] of a batch. Raises UserError if the method has no encoder."""
        if self._encode is None:
            raise UserError(f"{self._name()} gives no features")
        key = jax.random.fold_in(self.key, KEY_EVALUATE) if key is None else key
        return jax.device_get(self._encode(self.state, self._put(batch), key))

    def averages(self, split: str | None = None) -> dict[str, float]:
        """The method's per-example metrics averaged over an evaluation split under its mask, as `eval/<name>`.

        Raises UserError if the split is empty.
        """
        key = jax.random.fold_in(self.key, KEY_EVALUATE)
        total: dict[str, Array] = {}
        for index, batch in enumerate(self._split(split)):
            sums = self._evaluate(self.state, self._put(batch), jax.random.fold_in(key, index))
            total = sums if not total else jax.tree.map(jnp.add, total, sums)
        if not total or not float(total["weight"]):
            raise UserError(f"{self._name()}: the evaluation split holds no example")
        weight = float(total.pop("weight"))
        return {f"eval/{name}": float(value) / weight for name, value in total.items()}

    def evaluate(self) -> dict[str, float]:
        """All that is known of the run: per-example averages, and every evaluator of the experiment as `<name>/<metric>`."""
        metrics = self.averages()
        for name, evaluator in self.experiment.evals.items():
            metrics |= {f"{name}/{metric}": float(value) for metric, value in evaluator(self).items()}
        return metrics

    def protocol(self) -> dict[str, str]:
        """How the numbers of `evaluate` are measured: a line for the averages (`eval`), one for each evaluator that says it."""
        info, best = self.data.info, self.experiment.best
        split = info.get("evaluation")
        chosen = f", at the state that was best by {best[1]} of {name_of(best[0])}" if best else ""
        where = f"mean over {name_of(split)} of {info['source']}{chosen}" if "source" in info else ""
        said = "; ".join(part for part in (where, self.method.protocol, info.get("protocol"), info.get("note")) if part)
        evals = {name: text for name, one in self.experiment.evals.items() if (text := getattr(one, "protocol", None))}
        return {**({"eval": said} if said else {}), **evals}

    def condition(self, n: int, labels: Sequence[int] | None = None) -> dict[str, np.ndarray]:
        """A batch of n rows of the evaluation split, as a condition to sample from; rows repeat if there are fewer.

        labels: classes to ask for instead of those of the rows; they repeat, too.

        Raises UserError if the split is empty, and for labels that the sampler does not read or the data has not.
        """
        kept, rows = [], 0
        for batch in self._split(None):
            kept.append({name: value[np.asarray(batch["mask"]) > 0] for name, value in batch.items()})
            rows += len(kept[-1]["mask"])
            if rows >= n:
                break
        if not rows:
            raise UserError(f"{self._name()}: the evaluation split holds no example")
        order = np.arange(n) % rows
        batch = {name: np.concatenate([part[name] for part in kept])[order] for name in kept[0]}
        return batch if labels is None else self._labelled(batch, labels)

    def _labelled(self, batch: dict[str, np.ndarray], labels: Sequence[int]) -> dict[str, np.ndarray]:
        """The batch under other labels, if the program of the sampler reads them: else they would change nothing, unseen."""
        told = self.experiment.config.get("knobs", {}).get("classes", True)  # True: no such knob
        why = "" if told else f": it was trained with classes={told}"
        if self.method.sample is None or "label" not in batch:
            raise UserError(f"{self._name()} does not sample by class{why}")
        jaxpr = jax.make_jaxpr(self.method.sample)(self.state, batch, self.key).jaxpr
        paths = [path for path, _ in jax.tree_util.tree_flatten_with_path((self.state, batch, self.key))[0]]
        label = jaxpr.invars[paths.index((jax.tree_util.SequenceKey(1), jax.tree_util.DictKey("label")))]
        if not any(label is read for equation in jaxpr.eqns for read in equation.invars):
            raise UserError(f"{self._name()} does not sample by class{why or ': its sampler reads no label'}")
        classes = len(self.data.info.get("classes") or ())
        if not classes:
            raise UserError(f"{self._name()}: {self.data.info['source']} names no classes to ask for")
        for one in labels:
            if not 0 <= one < classes:
                raise UserError(f"there is no class {one}: those of {self._name()} are 0 to {classes - 1}")
        return {**batch, "label": np.resize(np.asarray(labels, batch["label"].dtype), len(batch["label"]))}

    def history(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`."""
        return read_rows(self.workdir / "metrics.jsonl") if self.workdir else []

    @cached_property
    def _sample(self) -> Callable | None:
        return self.method.sample and jax.jit(self.method.sample)

    @cached_property
    def _encode(self) -> Callable | None:
        return self.method.encode and jax.jit(self.method.encode)

    @cached_property
    def _evaluate(self) -> Callable:
        def sums(state: TrainState, batch: Mapping[str, Array], key: Array) -> dict[str, Array]:
            mask = batch["mask"]
            metrics = self.method.evaluate(state, batch, key)
            # A padded row may hold anything, NaN included: it is left out, not multiplied by zero.
            totals = {name: jnp.sum(jnp.where(mask > 0, value * mask, 0)) for name, value in metrics.items()}
            return {**totals, "weight": jnp.sum(mask)}

        return jax.jit(sums)

    def _split(self, split: str | None) -> Iterator[dict[str, Any]]:
        return self.data.evaluate(split) if split else self.data.evaluate()

    def _put(self, batch: Mapping[str, Any]) -> dict[str, Array]:
        rows = len(jax.tree.leaves(dict(batch))[0])
        if rows % placement.batch_shards(self.mesh):
            return jax.device_put(dict(batch), NamedSharding(self.mesh, PartitionSpec()))
        return placement.put(batch, placement.batch_sharding(self.mesh))

    def _name(self) -> str:
        return str(self.experiment.config.get("experiment", "this experiment"))


def open_run(workdir: str | Path, say: Callable[[str], None] = print, **knobs: Any) -> Run:
    """The run of a folder, at its newest whole checkpoint, or at the best one where the experiment asks for that.

    knobs: any that leave the shapes of the state alone: sampler, its steps, guidance, temperature, data.
    Raises UserError if the folder holds no run or no checkpoint, or if a knob changes the state.
    """
    folder = Path(workdir)
    experiment = open_experiment(folder, **knobs)
    shapes = state_shapes(experiment)
    if knobs:
        _refuse_other_state(state_shapes(open_experiment(folder)), shapes, knobs)
    mesh = placement.make_mesh()
    shardings = placement.place(experiment.rules, mesh, shapes)
    if not (folder / "checkpoints" / "latest").is_dir():
        raise UserError(f"{folder} holds no checkpoint yet: train it with --resume")
    by = ("/".join(experiment.best), "min") if experiment.best else None
    checkpoints = Checkpoints(folder / "checkpoints", best=by, reading=True)  # the run may still be training
    restored = checkpoints.restore_best(shapes, shardings) or checkpoints.restore(shapes, shardings, say)
    checkpoints.close()
    if restored is None:
        raise UserError(f"{folder} holds no checkpoint yet: train it with --resume")
    return Run(experiment, restored.state, mesh, shardings, folder)


def open_experiment(workdir: str | Path, **knobs: Any) -> Experiment:
    """The experiment of a run folder as it was run, but for the knobs given; no array is read.

    Raises UserError if the folder holds no run, or one that was built by hand.
    """
    folder = Path(workdir)
    if not folder.is_dir():
        raise UserError(f"no run folder {folder}")
    config = read_json(folder / "config.json")
    name, preset = str(config.get("experiment") or ""), str(config.get("preset") or "")
    if not name:
        raise UserError(
            f"{folder} holds a run of an experiment built by hand: only one of a name or FILE.py opens again"
        )
    stored = {knob: tuple(value) if isinstance(value, list) else value for knob, value in config["knobs"].items()}
    return load(name, preset, **{**stored, **knobs})


def _refuse_other_state(before: TrainState, after: TrainState, knobs: Mapping[str, Any]) -> None:
    old, new = flatten(before), flatten(after)
    differing = [path for path in {**old, **new} if path not in old or path not in new
                 or (old[path].shape, old[path].dtype) != (new[path].shape, new[path].dtype)]  # fmt: skip
    if differing:
        given = ", ".join(f"{name}={value!r}" for name, value in knobs.items())
        raise UserError(f"{given} changes the state of the trained run ({differing[0]}): only knobs of sampling and "
                        "evaluation may be changed here")  # fmt: skip
