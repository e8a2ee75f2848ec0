"""A published network in memory: its module, its arrays, and how its folder kept them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from aigc_jax.errors import UserError, some
from aigc_jax.pretrained.files import FLOATS, Folder
from aigc_jax.pretrained.tensors import Tensor

Inputs = dict[str, np.ndarray]
Variables = dict[str, Any]


class Published(NamedTuple):
    """A network as a configuration describes it.

    module:     computes in float32.
    tensors:    where each of its arrays stands in published files.
    example:    positional arguments, as shapes, of a call that makes all parameters.
    arguments:  (inputs by the source library's names) -> the same checked and completed. Raises UserError.
    outputs:    (variables, checked inputs) -> outputs by the source library's names; pure, it is compiled.
    experiment: that trains it, and the knobs it has there.
    generate:   (variables, generation_config.json or None, inputs and options) -> tokens, of a model that writes.
    fixed:      whether it takes images of one size alone.
    """

    module: nn.Module
    tensors: list[Tensor]
    example: tuple[jax.ShapeDtypeStruct, ...]
    arguments: Callable[[Inputs], Inputs]
    outputs: Callable[[Variables, Inputs], dict[str, Any]]
    experiment: str
    knobs: dict[str, Any]
    generate: Callable[[Variables, Mapping[str, Any] | None, dict[str, Any]], np.ndarray] | None = None
    fixed: bool = False

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array of the module, by path."""
        made: Any = jax.eval_shape(self.module.init, jax.random.key(0), *self.example)
        leaves: dict[str, Any] = flatten_dict(made, sep=".")
        return {path: leaf.shape for path, leaf in leaves.items()}


@dataclass(frozen=True)
class Model:
    """What `load` gives; call it with NumPy arrays by the source library's names of inputs.

    variables:  {"params": ..., "batch_stats": ...}, float32.
    config:     the configuration as it came.
    kinds:      of every array of the files, safetensors' word for its type; empty for a model that comes of no file.
    kept:       arrays of the files that belong to no network.
    folder:     where it came from.
    generation: its generation_config.json, if it has one.
    """

    published: Published
    variables: Variables
    config: dict[str, Any]
    kinds: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    folder: Path | None = None
    generation: Mapping[str, Any] | None = None

    @property
    def module(self) -> nn.Module:
        return self.published.module

    @property
    def params(self) -> dict[str, Any]:
        return self.variables["params"]

    def __call__(self, **inputs: Any) -> dict[str, np.ndarray]:
        """Outputs by the source library's names. Raises UserError for inputs that do not fit the network."""
        given = {name: np.asarray(value) for name, value in inputs.items() if value is not None}
        checked = self.published.arguments(given)
        with jax.default_matmul_precision("highest"):
            return jax.device_get(self._outputs(self.variables, checked))

    def generate(self, **inputs: Any) -> np.ndarray:
        """Tokens that the model writes, by inputs and options under the source library's names; what is not said is as the
        folder's generation_config.json has it.

        Raises UserError for a model that writes none, and for inputs and options that it does not take.
        """
        if self.published.generate is None:
            raise UserError(f"{type(self.module).__name__} does not write: call it for its outputs")
        with jax.default_matmul_precision("highest"):
            return self.published.generate(self.variables, self.generation, inputs)

    @cached_property
    def _outputs(self) -> Callable:
        return jax.jit(self.published.outputs)


def assemble(published: Published, folder: Folder) -> Model:
    """The arrays of a folder in the network that its configuration describes.

    Raises UserError that names the tensors which are missing, left over, of another shape than the configuration says, of a
    type that float32 does not hold, stored twice with different values, or not what the network computes in their place.
    """
    chosen = [_names(tensor, folder) for tensor in published.tensors]
    wanted = {name for tensor, names in zip(published.tensors, chosen) for name in names}
    missing = [names[0] for tensor, names in zip(published.tensors, chosen)
               if tensor.ours and any(name not in folder.stored for name in names)]  # fmt: skip
    if missing:
        raise UserError(f"{folder.path} lacks {some(missing)}, which its config.json asks for")
    spare = {name for tensor in published.tensors for name in tensor.also}
    left = [name for name in folder.stored if name not in wanted | spare]
    if left:
        raise UserError(f"{folder.path} holds {some(left)}, for which its config.json leaves no place")
    shapes = published.shapes()
    _check_shapes(published, chosen, shapes, folder)
    arrays = dict(folder.read(name for name in folder.stored if name in wanted | spare))
    _check_copies(published, chosen, arrays, folder)
    _check_formulas(published, arrays, folder)
    ours = {tensor.ours: tensor.form.ours(*(_float(arrays[name]) for name in names))
            for tensor, names in zip(published.tensors, chosen) if tensor.ours}  # fmt: skip
    kept = {name: arrays[name] for tensor, names in zip(published.tensors, chosen) if not tensor.ours
            for name in names if name in arrays}  # fmt: skip
    variables = unflatten_dict({path: np.asarray(array, order="C") for path, array in ours.items()}, sep=".")
    kinds = {name: stored.kind for name, stored in folder.stored.items()}
    return Model(published, jax.device_put(variables), folder.config, kinds, kept, folder.path, folder.generation)


def disassemble(model: Model) -> dict[str, np.ndarray]:
    """The arrays of a model under the names, and in the types, in which it came; without a source, in float32.

    Raises UserError where a number has grown beyond the type it came in.
    """
    found: dict[str, np.ndarray] = {}
    flat = flatten_dict(jax.device_get(model.variables), sep=".")
    for tensor in model.published.tensors:
        if not tensor.ours:
            value = model.kept.get(tensor.theirs[0], tensor.value if not model.kinds else None)
            found |= {} if value is None else {tensor.theirs[0]: np.asarray(value)}
            continue
        parts = zip(tensor.theirs, tensor.form.theirs(np.asarray(flat[tensor.ours])))
        for name, array in parts:
            names = [one for one in (name, *tensor.also) if one in model.kinds] or [name]
            found |= {one: _stored(one, array, model.kinds.get(one, "F32")) for one in names}
    return found


def _stored(name: str, array: np.ndarray, kind: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        found = array.astype(FLOATS[kind])
    if not np.array_equal(np.isfinite(found), np.isfinite(array)):
        raise UserError(f"{name} holds {np.abs(array).max():g}, which its type in the files, {kind}, does not reach")
    return found


def _names(tensor: Tensor, folder: Folder) -> tuple[str, ...]:
    """The names under which a folder holds a tensor; if it holds none of them, the first."""
    if tensor.also and tensor.theirs[0] not in folder.stored:
        return (next((name for name in tensor.also if name in folder.stored), tensor.theirs[0]),)
    return tensor.theirs


def _check_shapes(
    published: Published, chosen: list[tuple[str, ...]], shapes: dict[str, tuple[int, ...]], folder: Folder
) -> None:
    listed = sorted(tensor.ours for tensor in published.tensors if tensor.ours)
    assert listed == sorted(shapes), f"the list of tensors and the module differ: {set(listed) ^ set(shapes)}"
    for tensor, names in zip(published.tensors, chosen):
        if not tensor.ours:
            continue
        empty = tensor.form.theirs(np.broadcast_to(np.float32(0), shapes[tensor.ours]))
        for name, array in zip(names, empty):
            stored = folder.stored[name]
            if stored.shape != array.shape:
                raise UserError(f"{folder.path}: {name} is {stored.shape}, but {array.shape} by config.json")
            if stored.kind not in FLOATS:
                raise UserError(f"{folder.path}: {name} is of type {stored.kind}: only {', '.join(FLOATS)} are read")


def _check_copies(
    published: Published, chosen: list[tuple[str, ...]], arrays: dict[str, np.ndarray], folder: Folder
) -> None:
    for tensor, names in zip(published.tensors, chosen):
        for other in tensor.also:
            if other in arrays and not np.array_equal(arrays[other], arrays[names[0]]):
                raise UserError(f"{folder.path}: {other} and {names[0]} should be one tensor, but differ")


def _check_formulas(published: Published, arrays: dict[str, np.ndarray], folder: Folder) -> None:
    for tensor in published.tensors:
        name = tensor.theirs[0]
        if tensor.formula is None or name not in arrays:
            continue
        ours, theirs = tensor.formula(), _float(arrays[name])
        if ours.shape != theirs.shape:
            raise UserError(f"{folder.path}: {name} is {theirs.shape}, but {ours.shape} by config.json")
        if np.abs(ours - theirs).max() > 4e-3:  # bfloat16 rounds numbers below 1 by half of that
            raise UserError(f"{folder.path}: {name} was trained: it is not what the network computes in its place")


def _float(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32)
