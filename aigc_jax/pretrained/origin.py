"""Published weights as a run: the knobs that give their network, and what a run folder keeps of them for the way back."""

from __future__ import annotations

import json
import re
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
NAMES = ("id2label", "label2id", "label_names", "label_descriptions")
"""What configurations call their classes by."""


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
    short = {name: value for name, value in config.items() if name not in (*NAMES, "pretrained_cfg")}
    if size := config.get("pretrained_cfg", {}).get("input_size"):
        short["pretrained_cfg"] = {"input_size": size}
    return short if config.get("id2label") is None else {**short, "num_labels": labels(config)}


def resized(config: Config, classes: int, size: int | None = None, heads: bool | None = None) -> dict[str, Any]:
    """A configuration for another number of classes, for images of another size, and with auxiliary heads or without.

    size, heads: None leaves them as they are.

    The classes lose their names; a model that had no head gets one.
    """
    changed = {name: value for name, value in config.items() if name not in NAMES}
    if layout_of(config) == "transformers":
        changed |= {"num_labels": classes, "id2label": {str(i): f"LABEL_{i}" for i in range(classes)},
                    "label2id": {f"LABEL_{i}": i for i in range(classes)}}  # fmt: skip
        if named := config.get("architectures"):
            changed["architectures"] = [re.sub("Model$", "ForImageClassification", name) for name in named]
        return changed | ({"image_size": size} if size else {})
    timm = layout_of(config) == "timm"
    wanted = {"img_size" if timm else "image_size": size, "aux_logits": heads}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    arguments = {name: value for name, value in config.get("model_args", {}).items() if name not in wanted}
    if "num_classes" in arguments:
        arguments["num_classes"] = classes
    changed = {name: value for name, value in changed.items() if name not in wanted} | {"num_classes": classes}
    if timm:
        arguments |= wanted
    else:
        changed |= wanted
    if made := dict(config.get("pretrained_cfg", {})):
        made |= {"num_classes": classes} if "num_classes" in made else {}
        made |= {"input_size": [made["input_size"][0], size, size]} if size and "input_size" in made else {}
        changed["pretrained_cfg"] = made
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
    return Model(published(whole, dict.fromkeys(kinds, ())), {}, whole, kinds, kept, folder)


def refilled(model: Model, variables: Variables, classes: int, size: int | None) -> Model:
    """The model with the arrays of a run, which may have other classes and another size of image.

    Raises UserError where the network of its configuration does not hold them.
    """
    config, described = model.config, model.published
    flat: dict[str, Any] = flatten_dict(variables, sep=".")
    misfits = _misfits(described, flat)
    if misfits or (described.fixed and size not in (None, described.knobs["size"])):
        named = described.fixed or "image_size" in config  # other builders of torch know no size
        heads = any("auxiliary" in path for path in flat) if "auxiliary" in described.knobs else None
        config = resized(config, classes, size if named else None, heads)
        # a model that had no head, and whose configuration names no class, gets one where its arrays are not asked
        for stored in (dict.fromkeys(model.kinds, ()), {}):
            described = published(config, stored)
            misfits = _misfits(described, flat)
            if not misfits:
                break
    if misfits:
        raise UserError(f"the run's network is not that of the published configuration: {', '.join(misfits[:3])}")
    return Model(described, variables, config, model.kinds, model.kept, model.folder)


def _misfits(described: Published, flat: Mapping[str, Any]) -> list[str]:
    shapes = described.shapes()
    return [f"{path} is {flat[path].shape if path in flat else 'missing'} there, {shapes.get(path, 'unknown')} by config.json"
            for path in {**shapes, **flat} if path not in flat or shapes.get(path) != tuple(flat[path].shape)]  # fmt: skip
