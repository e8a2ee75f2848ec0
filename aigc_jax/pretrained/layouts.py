"""Which family of networks a configuration describes: three layouts, told apart by what config.json says.

transformers    "model_type"
timm            "architecture", whose tag after a dot says which weights, not which network
torchvision     "architecture", and "library_name": "torchvision"
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Literal

from aigc_jax.errors import UserError
from aigc_jax.pretrained.config import Config, Shapes
from aigc_jax.pretrained.model import Published

Layout = Literal["transformers", "timm", "torchvision"]

TRANSFORMERS = {
    "deit": "vit",
    "efficientnet": "efficientnet",
    "marian": "marian",
    "resnet": "resnet",
    "swin": "swin",
    "vit": "vit",
}
"""model_type -> the file here."""

TIMM = {
    r"((adv|gluon|tf)_)?inception_v3": "inception",
    r"(tf_)?efficientnet_(b[0-8]|l2)": "efficientnet",
    r"(tv_)?densenet(121|161|169|201)": "densenet",
    r"cait_(xxs24|xxs36|s24)_(224|384)|cait_(xs24|s36|m36)_384|cait_m48_448": "cait",
    r"deit3_(small|base|large)_patch16_(224|384)|deit3_medium_patch16_224|deit3_huge_patch14_224": "vit",
    r"deit_(tiny|small)(_distilled)?_patch16_224|deit_base(_distilled)?_patch16_(224|384)": "vit",
    r"resnet(18|34|50|101|152)": "resnet",
    r"resnetv2_(18|34|50|101|152)": "preactivation",
    r"swin_(tiny|small|base|large)_patch4_window7_224|swin_(base|large)_patch4_window12_384": "swin",
    r"vit_(small|base)_patch8_224|vit_(large|huge|giant|gigantic)_patch14_224|vit_base_patch16_224_miil": "vit",
    r"vit_(tiny|small|base|large)_patch16_(224|384)|vit_(small|base|large)_patch32_(224|384)": "vit",
}
"""Pattern of the whole architecture -> the file here."""

TORCHVISION = {
    r"alexnet": "alexnet",
    r"densenet(121|161|169|201)": "densenet",
    r"efficientnet_b[0-7]": "efficientnet",
    r"googlenet": "googlenet",
    r"inception_v3": "inception",
    r"resnet(18|34|50|101|152)": "resnet",
    r"swin_[tsb]": "swin",
    r"vit_[bl]_(16|32)|vit_h_14": "vit",
}


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
            known = ", ".join(TRANSFORMERS)
            raise UserError(f"config.json: unknown model_type {config['model_type']!r}: there are {known}")
        return layout, TRANSFORMERS[config["model_type"]]
    patterns, name = (TIMM if layout == "timm" else TORCHVISION), str(config["architecture"]).partition(".")[0]
    for pattern, family in patterns.items():
        if re.fullmatch(pattern, name):
            return layout, family
    known = ", ".join(sorted(set(patterns.values())))
    raise UserError(
        f"config.json: no architecture {name!r} of {layout} is known here, only those of docs/weights.md: {known}"
    )
