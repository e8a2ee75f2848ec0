"""Published weights: reads a folder as public hubs lay it out, and writes it back.

model = pretrained.load(DIR)                    # config.json and safetensors
out = model(pixel_values=images)                # NumPy in, dict of arrays out; images are [B, H, W, C], float32
model.module.apply(model.variables, images)     # the Linen module itself
pretrained.save(model, OTHER)                   # the same layout, tensors bit-equal
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigc_jax.errors import UserError
from aigc_jax.pretrained.files import open_folder, write_folder
from aigc_jax.pretrained.layouts import published
from aigc_jax.pretrained.model import Model, Published, assemble, disassemble
from aigc_jax.pretrained.origin import is_published

__all__ = ["Model", "Published", "is_published", "load", "network", "published", "save"]


def load(folder: str | Path) -> Model:
    """The model of a folder of published weights.

    Raises UserError for a folder that holds none, files that are damaged or pickles, an unknown model or option, and for
    tensors that are missing, left over or of another shape than the configuration says: it names them.
    """
    opened = open_folder(folder)
    try:
        described = published(opened.config, {name: one.shape for name, one in opened.stored.items()})
    except UserError as error:
        raise UserError(f"{opened.path}: {error}") from None
    return assemble(described, opened)


def network(config: Mapping[str, Any], **fields: Any) -> Any:
    """The module that a config.json describes, with some of its fields changed: classes, dropout, dtype.

    Raises UserError for an unknown model or option, and ValueError for a field that the module has not.
    """
    module = published(config).module
    unknown = set(fields) - {field.name for field in dataclasses.fields(module)}
    if unknown:
        raise ValueError(f"{type(module).__name__} has no field {', '.join(sorted(unknown))}")
    return module.clone(**fields)


def save(model: Model, folder: str | Path, config: Mapping[str, Any] | None = None) -> None:
    """Writes a model in the layout it came in, with what lay beside its weights.

    config: instead of the model's own.

    Raises UserError for a folder that is not empty, or that cannot be written.
    """
    write_folder(Path(folder), config or model.config, disassemble(model), model.folder)
