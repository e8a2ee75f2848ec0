"""Patches of photographs as vectors of real values, as densities of natural pictures are measured on (arXiv:1306.0186).

Greys 0 .. 255 with uniform noise in [0, 1) added, divided by 256, less the mean of their patch. The last pixel then is minus
the sum of the others, and is dropped: 8 x 8 pixels are 63 values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from aigc_jax.data.augment import LUMA
from aigc_jax.data.pipeline import Data, images, load_data
from aigc_jax.data.transforms import Batch, Transform, column_of
from aigc_jax.errors import UserError


def load_patches(source: str, *, batch_size: int, size: int) -> Data:
    """{"x": [B, size^2 - 1]} float32 of a source of pictures of size x size, such as `patches:SIZE`.

    Colours become grey first. Noise is drawn at every use; evaluations have that of a fixed seed. Draws are shown as pictures,
    their mean put in the middle of the greys. Raises ValueError below 2 x 2 pixels.
    """
    if size < 2:
        raise ValueError(f"patches less their mean have 2 x 2 pixels at least, not {size} x {size}")
    spec = {"x": ((size * size - 1,), "float32")}
    return load_data(
        source, batch_size=batch_size, spec=spec, train=centred(size), evaluate=centred(size), decode=pictures(size),
        protocol="(grey + u) / 256 less its mean over the patch, u uniform by a fixed seed, the last pixel dropped",
    )  # fmt: skip


def centred(size: int) -> Transform:
    """{"image": uint8 [B, size, size, 1 or 3]} -> {"x": [B, size^2 - 1]}; UserError for pictures of another size."""

    def vectors(batch: Batch, rng: np.random.Generator) -> Batch:
        image = column_of(batch, "image")
        if image.dtype != np.uint8 or image.shape[1:3] != (size, size):
            found = " x ".join(map(str, image.shape[1:])) or "of many sizes"
            raise UserError(f"pictures are {found} of {image.dtype}, patches {size} x {size} of uint8")
        greys = np.rint(image @ LUMA) if image.shape[-1] == 3 else image[..., 0]
        x = (greys.reshape(len(image), -1) + rng.random((len(image), size * size))) / 256
        return {"x": (x - x.mean(1, keepdims=True))[:, :-1].astype(np.float32)}

    return vectors


def pictures(size: int) -> Callable[[Any], np.ndarray]:
    """decode: vectors [N, size^2 - 1] -> uint8 [N, size, size, 1], the last pixel put back."""

    def decode(x: Any) -> np.ndarray:
        x = np.asarray(x, np.float32)
        whole = np.concatenate([x, -x.sum(1, keepdims=True)], axis=1)
        return images(-0.5, 0.5)(whole.reshape(-1, size, size, 1))

    return decode
