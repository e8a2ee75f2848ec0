"""Where every array of the state lives: a table of rules over paths, and a mesh of named axes.

A rule is `(regex, placement)`; the first whose regex is found in the path wins, and a placement is a `PartitionSpec`,
"replicate", or "fsdp": cut the largest axis that the mesh axis `fsdp` divides, if the array is large. Optimizer state, EMA
and key encoders mirror the parameters' shapes and paths, so one table places all of them. The batch is cut along its first
axis over `data` and `fsdp` together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from aigc_jax.errors import UserError

AXES = ("data", "fsdp", "model", "sequence")
FSDP_MINIMUM = 2**16  # elements; below it the collective costs more than the memory it saves


def parse_mesh(text: str) -> dict[str, int]:
    """`data=2,fsdp=4` -> {"data": 2, "fsdp": 4}. Raises UserError for another form or an unknown axis."""
    axes: dict[str, int] = {}
    for part in text.split(","):
        name, equals, size = part.strip().partition("=")
        if name not in AXES or not equals or not size.isdecimal() or int(size) < 1 or name in axes:
            raise UserError(
                f"mesh {text!r}: expected axis=size pairs such as data=2,fsdp=4 with axes {', '.join(AXES)}"
            )
        axes[name] = int(size)
    return axes


def make_mesh(axes: Mapping[str, int] | None = None, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh over all devices, or over those given; without axes all of them lie on `fsdp`.

    The axes are Auto: under JAX's default, Explicit, Linen's embeddings and recurrent layers do not trace. Raises UserError
    if the sizes do not multiply to the number of devices.
    """
    devices = list(devices or jax.devices())
    axes = dict(axes or {"fsdp": len(devices)})
    wanted = math.prod(axes.values())
    if wanted != len(devices):
        sizes = " x ".join(f"{name}={size}" for name, size in axes.items())
        raise UserError(
            f"mesh {sizes} needs {wanted} devices, there are {len(devices)} ({jax.default_backend()}): change --mesh, "
            f"or simulate them on the CPU with --devices {wanted}"
        )
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes), devices=devices)


def batch_axes(mesh: Mesh) -> tuple[str, ...]:
    """The mesh axes over which a batch is cut."""
    return tuple(axis for axis in ("data", "fsdp") if axis in mesh.shape)


def batch_shards(mesh: Mesh) -> int:
    """In how many parts a batch is cut."""
    return math.prod(mesh.shape[axis] for axis in batch_axes(mesh))


def check_batch(mesh: Mesh, size: int, what: str = "batch") -> None:
    """Raises UserError if the mesh does not divide a batch of this many rows."""
    shards = batch_shards(mesh)
    if size % shards:
        near = max(shards, size // shards * shards)
        raise UserError(
            f"{what} of {size} does not divide over {shards} devices of the mesh: take {near} or {near + shards}"
        )


def batch_sharding(mesh: Mesh, stacked: bool = False) -> NamedSharding:
    """Of a batch [B, ...], or of several stacked to [n, B, ...]."""
    rows = batch_axes(mesh) or None
    return NamedSharding(mesh, PartitionSpec(None, rows) if stacked else PartitionSpec(rows))


def put(batch: Mapping[str, Any], sharding: NamedSharding) -> dict[str, jax.Array]:
    """This process's rows of a global batch -> arrays spread over the mesh."""
    if jax.process_count() > 1:
        return {name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()}
    return jax.device_put(dict(batch), sharding)


def path_name(path: Sequence[Any]) -> str:
    """The path of a leaf as rules, checkpoints and messages write it: `params.encoder.Dense_0.kernel`."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator=".")


def place(rules: Sequence[tuple[str, PartitionSpec | str]], mesh: Mesh, shapes: Any) -> Any:
    """The tree of `NamedSharding` for a tree of shapes, by the first rule that matches each path.

    Raises UserError where no rule matches, or where a `PartitionSpec` does not divide an array.
    """

    def of(path, leaf) -> NamedSharding:
        name = path_name(path)
        placement = next((where for pattern, where in rules if re.search(pattern, name)), None)
        if placement is None:
            raise UserError(f'no rule places {name}: end the rules with (".*", "fsdp")')
        spec = _automatic(leaf.shape, mesh) if placement == "fsdp" else placement
        spec = PartitionSpec() if spec == "replicate" else spec
        if not isinstance(spec, PartitionSpec):
            raise UserError(f'placement of {name} must be a PartitionSpec, "fsdp" or "replicate", not {placement!r}')
        return NamedSharding(mesh, _checked(name, leaf.shape, spec, mesh))

    return jax.tree_util.tree_map_with_path(of, shapes)


def _automatic(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    size = mesh.shape.get("fsdp", 1)
    axes = [axis for axis, length in enumerate(shape) if length % size == 0]
    if size == 1 or math.prod(shape) < FSDP_MINIMUM or not axes:
        return PartitionSpec()
    largest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*(("fsdp" if axis == largest else None) for axis in range(len(shape))))


def _checked(name: str, shape: tuple[int, ...], spec: PartitionSpec, mesh: Mesh) -> PartitionSpec:
    """Drops mesh axes that this mesh has not, and says which array an axis does not divide."""
    if len(spec) > len(shape):
        return PartitionSpec()  # a rule for a matrix also meets its optimizer's scalars
    kept = []
    for length, entry in zip(shape, spec):
        names = [axis for axis in ((entry,) if isinstance(entry, str) else entry or ()) if axis in mesh.shape]
        parts = math.prod(mesh.shape[axis] for axis in names)
        if length % parts:
            raise UserError(
                f"{name} {shape}: axis of {length} does not divide over {parts} devices ({'+'.join(names)})"
            )
        kept.append(tuple(names) or None)
    return PartitionSpec(*kept)
