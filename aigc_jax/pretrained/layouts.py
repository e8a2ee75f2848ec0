"""Which family of networks a configuration describes: three layouts, told apart by what config.json says.

transformers    "model_type"
timm            "architecture", whose tag after a dot says which weights, not which network
torchvision     "architecture", and "library_name": "torchvision"
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Literal

from aigc_jax.errors import UserError, nearest
from aigc_jax.pretrained.config import Config, Shapes
from aigc_jax.pretrained.model import Published

Layout = Literal["transformers", "timm", "torchvision"]

TRANSFORMERS = {"marian": "marian", "resnet": "resnet"}
"""model_type -> the file here."""

TIMM = {r"resnet(18|34|50|101|152)": "resnet"}
"""Pattern of the whole architecture -> the file here."""

TORCHVISION = {r"resnet(18|34|50|101|152)": "resnet"}


def published(config: Config, stored: Shapes | None = None) -> Published:
    """The network that a configuration describes.

    stored: shapes of the arrays that are there, for what a configuration leaves open.

    Raises UserError for an unknown model type or architecture, and for an option that no network here has.
    """
    layout, family = _family(config)
    module: Any = importlib.import_module(f"aigc_jax.pretrained.{family}")
    try:
        return getattr(module, layout)(config, stored or {})
    except (ValueError, TypeError) as error:
        raise UserError(f"config.json describes no network: {error}") from error


def layout_of(config: Config) -> Layout:
    """The layout of a configuration. Raises UserError where it is of none."""
    if "model_type" in config:
        return "transformers"
    if "architecture" in config:
        return "torchvision" if config.get("library_name") == "torchvision" else "timm"
    raise UserError("config.json names neither a model_type (transformers) nor an architecture (timm, torchvision)")


def _family(config: Config) -> tuple[Layout, str]:
    layout = layout_of(config)
    if layout == "transformers":
        if config["model_type"] not in TRANSFORMERS:
            raise UserError(f"config.json: {nearest(str(config['model_type']), TRANSFORMERS, 'model_type')}")
        return layout, TRANSFORMERS[config["model_type"]]
    patterns, name = (TIMM if layout == "timm" else TORCHVISION), str(config["architecture"]).partition(".")[0]
    for pattern, family in patterns.items():
        if re.fullmatch(pattern, name):
            return layout, family
    raise UserError(f"config.json: no architecture {name!r} of {layout} is known here: there are {', '.join(patterns)}")
