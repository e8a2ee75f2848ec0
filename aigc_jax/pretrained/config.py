"""Reading configurations: options as they come, and one clear line for those that no network here has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aigc_jax.errors import UserError, nearest
from aigc_jax.networks.layers import ACTIVATIONS

Config = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
"""Of the stored arrays, by name; empty where a network is built from its configuration alone."""

WITHOUT_EFFECT = ("drop_rate", "drop_path_rate", "dropout", "pretrained_strict", "init_weights", "pretrained")
"""Options that change nothing in evaluation."""


def only(config: Config, name: str, default: Any, *allowed: Any) -> Any:
    """An option that must have one of these values. Raises UserError that names it."""
    value = config.get(name, default)
    if value not in allowed:
        words = " or ".join(repr(one) for one in allowed)
        raise UserError(f"config.json: {name} = {value!r} is not supported, only {words}")
    return value


def activation(config: Config, name: str, default: str) -> str:
    """The name of an activation. Raises UserError for one that no network here knows."""
    value = config.get(name, default)
    if value not in ACTIVATIONS:
        raise UserError(f"config.json: {name}: {nearest(str(value), ACTIVATIONS, 'activation')}")
    return value


def labels(config: Config) -> int:
    """How many classes a configuration of transformers names: two where it says nothing."""
    return len(config["id2label"]) if config.get("id2label") else int(config.get("num_labels") or 2)


def bare(config: Config, stored: Shapes, *classes: str, prefix: str | None = None) -> bool:
    """Whether a folder of transformers holds the model without a head, the first of `classes`, or another of them.

    A configuration that names no class is asked by its arrays: only those of a model with a head have a prefix, by default
    the model type. Raises UserError for a class that is not among them.
    """
    named = (config.get("architectures") or [None])[0]
    if named is None:
        prefix = f"{prefix or config['model_type']}."
        return bool(stored) and not any(name.startswith(prefix) for name in stored)
    if named not in classes:
        raise UserError(f"config.json: architectures: {nearest(named, classes, 'class')}")
    return named == classes[0]


def torch_options(config: Config, stored: Shapes, head: str, **options: Any) -> dict[str, Any]:
    """What a configuration of timm or torchvision says of a network, over the defaults of its builder.

    head:    the name of the last layer: where the configuration says nothing of the classes, its array does.
    options: those the network takes beside num_classes and in_chans, with their defaults.

    Raises UserError that names an option which is not among them.
    """
    general = {"library_name", "architecture", "num_features", "pretrained_cfg", "model_args", "num_classes"}
    given = {**config.get("model_args", {}), **{name: config[name] for name in config if name not in general}}
    counted = stored.get(f"{head}.weight", (1000,))[0]
    classes = config.get("num_classes", given.get("num_classes", counted))
    known = {"num_classes": classes, "in_chans": 3, "global_pool": "avg", **options}
    for name in given:
        if name not in known and name not in WITHOUT_EFFECT:
            raise UserError(f"config.json: {nearest(name, known, 'option of ' + config['architecture'])}")
    return {**known, **given, "num_classes": classes}


def side(value: Any) -> tuple[int, int]:
    """(rows, columns) of an image or a patch given as a number or a pair."""
    rows, columns = value if isinstance(value, (list, tuple)) else (value, value)
    return int(rows), int(columns)
