"""How large an experiment is, from the shapes of its state and the trace of its step; nothing is allocated.

Parameters are the leaves of `state.params`, each array once: what a gradient touches. Batch statistics, averages, key
encoders and teachers are memory and are not counted.

Peak bytes are an estimate, read off the trace: state and batch are there all the time, every other array from the
operation that makes it to the last that reads it, in program order, the new state written over the old. A compiler
reorders and fuses, so the compiled step usually needs less; `jax.jit(step).lower(...).compile().memory_analysis()` is
the exact figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex
from jax.sharding import Mesh

from aigc_jax.experiment import Experiment
from aigc_jax.training.flops import count_flops
from aigc_jax.training.sharding import path_name, place

PEAK_NOTE = (
    "estimated from the trace of the step, with nothing fused or reordered; the compiled step usually needs less"
)


def describe(experiment: Experiment, mesh: Mesh | None = None) -> dict[str, Any]:
    """Size and cost of an experiment as plain numbers.

    mesh: also gives the placement of every array, and the bytes of state on one device.

    Returns experiment, preset, knobs, steps, parameters, flops_per_step, state_bytes, peak_bytes with its note, bytes
    (by part), networks (parameters of each), batch (shapes); with a mesh also its axes, placements (largest arrays
    first) and state_bytes_per_device. Raises UserError if a rule does not fit an array.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    batch = dict(experiment.data.spec)
    state = state_shapes(experiment)
    closed, (new_state, _) = jax.make_jaxpr(experiment.method.step, return_shape=True)(state, batch, key)
    parts = {name: byte_size(getattr(state, name)) for name in ("params", "opt_state", "memory")}
    placements, per_device = _placements(experiment, mesh, state) if mesh else ([], byte_size(state))
    return {
        "experiment": experiment.config.get("experiment", ""),
        "preset": experiment.config.get("preset", ""),
        "knobs": dict(experiment.config.get("knobs", {})),
        "steps": experiment.steps,
        "parameters": parameter_count(state),
        "flops_per_step": int(count_flops(experiment.method.step, state, batch, key)),
        "state_bytes": byte_size(state),
        "peak_bytes": byte_size((state, batch)) + live_bytes(closed.jaxpr, len(jax.tree.leaves(new_state))),
        "peak_bytes_note": PEAK_NOTE,
        "bytes": {**parts, "batch": byte_size(batch)},
        "networks": _networks(state.params),
        "batch": {name: {"shape": list(leaf.shape), "dtype": str(leaf.dtype)} for name, leaf in batch.items()},
        "mesh": dict(mesh.shape) if mesh else {},
        "placements": placements,
        "state_bytes_per_device": per_device,
    }


def state_shapes(experiment: Experiment) -> Any:
    """The state of an experiment as shapes: `init` is traced, not run, and the data are not opened."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(experiment.method.init, key, dict(experiment.data.spec))


def parameter_count(state: Any) -> int:
    """Trainable parameters, each once; of a GAN, generator plus discriminator."""
    return sum(prod(leaf.shape) for leaf in jax.tree.leaves(state.params))


def byte_size(tree: Any) -> int:
    """Bytes of all arrays, or shapes, of a tree."""
    return sum(prod(leaf.shape) * _item_size(leaf.dtype) for leaf in jax.tree.leaves(tree))


def live_bytes(jaxpr: jex.Jaxpr, in_place: int = 0) -> int:
    """The most bytes that are live at one time in a jaxpr, its inputs not counted.

    in_place: how many of the first outputs are written over inputs, and so take no room of their own.

    An inner jaxpr (a call, a loop's body, the larger branch) adds its own peak while its equation runs; a loop's body
    is there once, what it stacks up is among the equation's outputs.
    """
    free = {id(atom) for atom in jaxpr.outvars[:in_place]}
    last = {id(atom): index for index, equation in enumerate(jaxpr.eqns) for atom in equation.invars}
    last |= {id(atom): len(jaxpr.eqns) for atom in jaxpr.outvars}
    live: dict[int, int] = {}
    total = most = 0
    for index, equation in enumerate(jaxpr.eqns):
        for out in equation.outvars:
            live[id(out)] = 0 if id(out) in free else _aval_bytes(out.aval)
            total += live[id(out)]
        inner = max((_inner_bytes(one) for one in jex.jaxprs_in_params(equation.params)), default=0)
        most = max(most, total + inner)
        done = [name for atom in (*equation.invars, *equation.outvars)
                if (name := id(atom)) in live and last.get(name, index) <= index]  # fmt: skip
        total -= sum(live.pop(name) for name in dict.fromkeys(done))
    return most


def _inner_bytes(jaxpr: jex.Jaxpr) -> int:
    """The peak of an inner jaxpr beyond its outputs, which the equation around it has counted."""
    return live_bytes(jaxpr, in_place=len(jaxpr.outvars))


def _placements(experiment: Experiment, mesh: Mesh, state: Any) -> tuple[list[dict[str, Any]], int]:
    """The placement of every array, largest first, and the bytes of state on one device."""
    shardings = jax.tree.leaves(place(experiment.rules, mesh, state))
    rows, total = [], 0
    for (path, leaf), sharding in zip(jax.tree_util.tree_leaves_with_path(state), shardings):
        local = prod(sharding.shard_shape(leaf.shape)) * _item_size(leaf.dtype)
        rows.append(
            {"path": path_name(path), "shape": list(leaf.shape), "placement": _spec(sharding.spec), "bytes": local}
        )
        total += local
    return sorted(rows, key=lambda row: -prod(row["shape"])), total


def _spec(spec: Any) -> str:
    """PartitionSpec(None, "fsdp") -> `-, fsdp`."""
    axes = [axis if isinstance(axis, str) else "+".join(axis or ()) or "-" for axis in spec]
    return ", ".join(axes) if any(axis != "-" for axis in axes) else "replicated"


def _networks(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    leaves = {name: jax.tree.leaves(tree) for name, tree in params.items()}
    return [{"name": name, "parameters": sum(prod(leaf.shape) for leaf in found), "arrays": len(found)}
            for name, found in leaves.items()]  # fmt: skip


def _aval_bytes(aval: Any) -> int:
    return prod(aval.shape) * _item_size(aval.dtype) if hasattr(aval, "shape") else 0


def _item_size(dtype: Any) -> int:
    """Bytes of one element; a key of the default generator holds two 32-bit words."""
    return dtype.itemsize if jnp.issubdtype(dtype, jax.dtypes.extended) else np.dtype(dtype).itemsize
