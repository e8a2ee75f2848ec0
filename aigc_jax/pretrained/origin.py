"""Published weights as a run: the knobs that give their network, and what a run folder keeps of them for the way back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from safetensors import safe_open
from safetensors.numpy import save_file

from aigc_jax.errors import UserError
from aigc_jax.pretrained.config import Config, labels
from aigc_jax.pretrained.files import CONFIG, extras, read_config
from aigc_jax.pretrained.layouts import layout_of, published
from aigc_jax.pretrained.model import Model, Published, Variables

ORIGIN, KEPT = "published", "kept.safetensors"


def is_published(folder: str | Path) -> bool:
    """Whether a folder holds published weights, and no run."""
    path = Path(folder) / CONFIG
    if not path.is_file():
        return False
    config = read_config(Path(folder))
    return "experiment" not in config and bool({"model_type", "architecture", "_class_name"} & set(config))


def knobs_of(config: Config, described: Published | None = None) -> dict[str, Any]:
    """The knobs with which the experiment of a configuration builds its network.

    described: what it describes, where that is known already.
    """
    found = {name: value for name, value in (described or published(config)).knobs.items()
             if value or name != "classes"}  # fmt: skip
    return {"published": compact(config), **found}


def compact(config: Config) -> dict[str, Any]:
    """A configuration without the names of its classes, which can be thousands, and without what describes its training.

    Of the latter only the size of the images stays, on which a network of timm may depend.
    """
    short = {name: value for name, value in config.items() if name not in ("id2label", "label2id", "pretrained_cfg")}
    if size := config.get("pretrained_cfg", {}).get("input_size"):
        short["pretrained_cfg"] = {"input_size": size}
    return {**short, "num_labels": labels(config)} if config.get("id2label") else short


def resized(config: Config, classes: int, size: int | None) -> dict[str, Any]:
    """A configuration for another number of classes, and for images of another size where it names one.

    The classes lose their names; a model that had no head gets one.
    """
    changed = dict(config)
    if layout_of(config) == "transformers":
        changed |= {"num_labels": classes, "id2label": {str(i): f"LABEL_{i}" for i in range(classes)},
                    "label2id": {f"LABEL_{i}": i for i in range(classes)}}  # fmt: skip
        named = [str(name) for name in config.get("architectures") or ()]
        changed["architectures"] = [
            name.removesuffix("Model") + "ForImageClassification" if name.endswith("Model") else name for name in named
        ]
        return changed | ({"image_size": size} if size and "image_size" in config else {})
    changed["num_classes"] = classes
    arguments = dict(config.get("model_args", {}))
    if "num_classes" in arguments:
        arguments["num_classes"] = classes
    if size and layout_of(config) == "timm":
        arguments["img_size"] = size
    if size and layout_of(config) == "torchvision":
        changed["image_size"] = size
    return changed | ({"model_args": arguments} if arguments else {})


def keep_origin(model: Model, workdir: Path) -> None:
    """Keeps in a run folder what the run does not need: configuration, tokenizer, and how the arrays were stored."""
    folder = workdir / ORIGIN
    folder.mkdir(parents=True, exist_ok=True)
    for file in extras(model.folder) if model.folder else ():
        shutil.copy(file, folder / file.name)
    (folder / CONFIG).write_text(json.dumps(model.config, indent=2) + "\n", encoding="utf-8")
    arrays = {name: np.asarray(array, order="C") for name, array in model.kept.items()}
    save_file(arrays, folder / KEPT, metadata={"kinds": json.dumps(dict(model.kinds))})


def with_origin(workdir: Path, config: Mapping[str, Any] | None) -> Model | None:
    """A model without arrays, as the weights came from which the run in a folder began; None for one that began from none.

    config: the run's knob `published`, for a run whose folder keeps no more than that.
    """
    folder = workdir / ORIGIN
    if not folder.is_dir():
        return Model(published(config), {}, dict(config)) if config else None
    whole = read_config(folder)
    with safe_open(folder / KEPT, "numpy") as reader:
        kinds = json.loads(reader.metadata()["kinds"])
        names: list[str] = reader.keys()
        kept = {name: reader.get_tensor(name) for name in names}
    return Model(published(whole), {}, whole, kinds, kept, folder)


def refilled(model: Model, variables: Variables, classes: int, size: int | None) -> Model:
    """The model with the arrays of a run, which may have other classes and another size of image.

    Raises UserError where the network of its configuration does not hold them.
    """
    config, described = model.config, model.published
    flat: dict[str, Any] = flatten_dict(variables, sep=".")
    if _misfits(described, flat):
        named = described.fixed or layout_of(config) == "transformers"  # other builders of torch know no size then
        config = resized(config, classes, size if named else None)
        described = published(config)
    if misfits := _misfits(described, flat):
        raise UserError(f"the run's network is not that of the published configuration: {', '.join(misfits[:3])}")
    return Model(described, variables, config, model.kinds, model.kept, model.folder)


def _misfits(described: Published, flat: Mapping[str, Any]) -> list[str]:
    shapes = described.shapes()
    return [f"{path} is {flat[path].shape if path in flat else 'missing'} there, {shapes.get(path, 'unknown')} by config.json"
            for path in {**shapes, **flat} if path not in flat or shapes.get(path) != tuple(flat[path].shape)]  # fmt: skip
