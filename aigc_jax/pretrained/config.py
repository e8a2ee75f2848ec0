"""Reading configurations: options as they come, and one clear line for those that no network here has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aigc_jax.errors import UserError, nearest
from aigc_jax.networks.layers import ACTIVATIONS

Config = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]
"""Of the stored arrays, by name, () where only that is known; empty where a network is built from its configuration alone."""

WITHOUT_EFFECT = (
    "attention_dropout", "attn_drop_rate", "drop_path_rate", "drop_rate", "dropout", "fix_init", "init_weights",
    "patch_drop_rate", "pos_drop_rate", "pretrained", "pretrained_strict", "proj_drop_rate", "stochastic_depth_prob",
    "weight_init",
)  # fmt: skip
"""Options that change nothing in evaluation."""

INFORMATION = ("architecture", "label_descriptions", "label_names", "library_name", "model_args", "num_classes",
               "num_features", "pretrained_cfg")  # fmt: skip
"""What configurations of timm and torchvision hold beside options of the builder."""

PLAIN_ACTIVATIONS = ("gelu", "leaky_relu", "mish", "quick_gelu", "relu", "relu6", "sigmoid", "silu", "swish", "tanh")
TIMM_ACTIVATIONS = {"gelu_tanh": "gelu_new", **{name: name for name in PLAIN_ACTIVATIONS}}
"""timm's names of activations -> ours."""


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


def timm_activation(options: Config, default: str) -> str:
    """The name here of timm's `act_layer`. Raises UserError for one that no network here knows."""
    value = options.get("act_layer") or default
    if value not in TIMM_ACTIVATIONS:
        raise UserError(f"config.json: act_layer: {nearest(str(value), TIMM_ACTIVATIONS, 'activation')}")
    return TIMM_ACTIVATIONS[value]


def labels(config: Config) -> int:
    """How many classes a configuration of transformers names: two where it says nothing."""
    if config.get("id2label") is not None:
        return len(config["id2label"])
    return int(config.get("num_labels", 2))


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
    options: those the network takes, with their defaults, beside the classes and timm's in_chans and global_pool.

    Raises UserError that names an option which is not among them.
    """
    given = {**config.get("model_args", {}), **{name: config[name] for name in config if name not in INFORMATION}}
    counted = (stored.get(f"{head}.weight") or (1000,))[0]
    classes = config.get("num_classes", given.get("num_classes", counted))
    channels = config.get("pretrained_cfg", {}).get("input_size", (3,))[0]
    common = {"num_classes": classes, "in_chans": channels, "global_pool": "avg"}
    known = {**options, **({"num_classes": classes} if config.get("library_name") == "torchvision" else common)}
    for name in given:
        if name not in known and name not in WITHOUT_EFFECT:
            raise UserError(f"config.json: {nearest(name, known, 'option of ' + config['architecture'])}")
    return {**common, **options, **given, "num_classes": classes}


def image_size(config: Config, options: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of the images of a timm network that takes one size.

    The option `img_size`, or what the weights were made with, or the last number of the name.
    """
    words = config["architecture"].partition(".")[0].split("_")
    size = options["img_size"] or config.get("pretrained_cfg", {}).get("input_size", ())[1:]
    return side(size or next(int(word) for word in reversed(words) if word.isdigit()))


def side(value: Any) -> tuple[int, int]:
    """(rows, columns) of an image or a patch given as a number or a pair."""
    rows, columns = value if isinstance(value, (list, tuple)) else (value, value)
    return int(rows), int(columns)
