"""Folders of published weights, written from the golden files: weights are drawn by the names of the tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import chex
import jax
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file, save_file

from aigc_jax import pretrained
from aigc_jax.networks.layers import conv_form
from tests.golden import weights
from tests.golden.compare_published import distance

GOLDEN = Path(__file__).parents[1] / "golden"


def cases(family: str) -> list[str]:
    """The cases of published_<family>.npz."""
    with np.load(GOLDEN / f"published_{family}.npz") as golden:
        return sorted({name.partition("/")[0] for name in golden.files})


def write(family: str, case: str, folder: Path) -> dict[str, np.ndarray]:
    """Writes the folder of a case; what the golden file holds of it comes back."""
    with np.load(GOLDEN / f"published_{family}.npz") as golden:
        found = {name.partition("/")[2]: golden[name] for name in golden.files if name.startswith(f"{case}/")}
    found |= unbundled(found)
    folder.mkdir(parents=True, exist_ok=True)
    arrays, tensors = {}, json.loads(str(found["tensors"]))
    if "statistics" in found:
        found |= {f"stored/{name}": value for name, value in _statistics(found["statistics"], tensors).items()}
    for name, (shape, kind) in tensors.items():
        stored = found.get(f"stored/{name}")
        arrays[name] = weights.drawn(name, tuple(shape)).astype(kind) if stored is None else stored
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(str(found["config"]))
    if "generation" in found:
        (folder / "generation_config.json").write_text(str(found["generation"]))
    return found


def unbundled(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays that published.py has put side by side, each under the name that it has otherwise."""
    shapes, apart = {name: shape for name, (shape, _) in json.loads(str(found["tensors"])).items()}, {}
    for kind, whole in of(found, "bundle").items():
        names = json.loads(str(found[f"names/{kind}"]))
        ends = np.cumsum([math.prod(shapes[name]) for name in names])
        apart |= {f"stored/{name}": part.reshape(shapes[name]) for name, part in zip(names, np.split(whole, ends[:-1]))}
    return apart


def _statistics(codes: np.ndarray, tensors: dict[str, list]) -> dict[str, np.ndarray]:
    """Of all norms, from what weights.py has packed, in the order of the tensors."""
    norms = {name.rpartition(".")[0]: shape[0] for name, (shape, _) in tensors.items() if name.endswith("running_mean")}
    found, ends = {}, np.cumsum(list(norms.values()))
    for norm, part in zip(norms, np.split(codes, ends[:-1], -1)):
        found[f"{norm}.running_mean"], found[f"{norm}.running_var"] = weights.unpacked(part)
        found[f"{norm}.num_batches_tracked"] = np.array(0)
    return found


def of(found: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {name.partition("/")[2]: value for name, value in found.items() if name.startswith(f"{kind}/")}


def check_answers(folder: Path, found: dict[str, np.ndarray]) -> pretrained.Model:
    """Outputs by the same names as the reference's, each within 1e-4 of what differs between its examples."""
    model = pretrained.load(folder)
    with conv_form("native"):  # compiles quickest; the forms are compared with each other elsewhere
        answer = model(**of(found, "input"))
    theirs = of(found, "output")
    assert set(theirs) <= set(answer), set(theirs) - set(answer)
    for name, value in theirs.items():
        error = distance(answer[name], value)
        assert error < 1e-4, f"{name}: {error}"
    return model


def check_round_trip(model: pretrained.Model, folder: Path, back: Path) -> None:
    """What is written equals what was read, name by name, bit by bit."""
    pretrained.save(model, back)
    before, after = (load_file(path / "model.safetensors") for path in (folder, back))
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.dtype == after[name].dtype and value.shape == after[name].shape
        assert value.tobytes() == after[name].tobytes(), name
    assert json.loads((folder / "config.json").read_text()) == json.loads((back / "config.json").read_text())


def arranged(config: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Arrays by the names of a library as the parameters of the network that a configuration describes."""
    described = pretrained.published(config, {name: array.shape for name, array in arrays.items()})
    found = {tensor.ours: tensor.form.ours(*(arrays[name] for name in tensor.theirs))
             for tensor in described.tensors if tensor.ours}  # fmt: skip
    return unflatten_dict(found, sep=".")["params"]


def equal(one: pretrained.Model, other: pretrained.Model) -> None:
    """The same arrays at the same places."""
    chex.assert_trees_all_equal(one.variables, other.variables)


def distinct(model: pretrained.Model) -> None:
    """Every array of ours has numbers of its own: none was read twice in place of another."""
    sums = [float(np.asarray(x, np.float64).sum()) for x in jax.tree.leaves(model.variables)]
    assert len(set(sums)) == len(sums)
