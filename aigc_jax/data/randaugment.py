"""RandAugment (arXiv:1909.13719): some operations drawn at random for each picture, all of one magnitude.

Operations, their ranges and the way the magnitude varies are those of timm's `rand-m9-mstd0.5-inc1`, with which DeiT and Swin
were trained: fifteen operations, two of them in turn, each done in half of the cases, their magnitude drawn for each picture
from N(9, 0.5^2) and held to [0, 10]. "inc1": all grow stronger with the magnitude. The paper does both operations always,
at exactly the magnitude; its posterisation, solarisation and blends grow weaker with it in the released code.

Affine operations are bilinear, where timm draws between bilinear and bicubic; what they show of outside is grey.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aigc_jax.data import byte_operations as operations
from aigc_jax.data.transforms import Transform, of_column

Level = Callable[[np.ndarray, np.ndarray], np.ndarray]  # (magnitude / 10, sign) -> strength, each [B]


def _blended(level: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return np.maximum(0.1, 1 + sign * 0.9 * level)


OPERATIONS: tuple[tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], Level], ...] = (
    (operations.auto_contrast, lambda level, sign: level),
    (operations.equalize, lambda level, sign: level),
    (operations.invert, lambda level, sign: level),
    (operations.rotate, lambda level, sign: 30 * sign * level),
    (operations.posterize, lambda level, sign: 4 - np.floor(4 * level)),
    (operations.solarize, lambda level, sign: 256 - np.floor(256 * level)),
    (operations.solarize_add, lambda level, sign: np.floor(110 * level)),
    (operations.colour, _blended),
    (operations.contrast, _blended),
    (operations.brightness, _blended),
    (operations.sharpness, _blended),
    (operations.shear_x, lambda level, sign: 0.3 * sign * level),
    (operations.shear_y, lambda level, sign: 0.3 * sign * level),
    (operations.translate_x, lambda level, sign: 0.45 * sign * level),
    (operations.translate_y, lambda level, sign: 0.45 * sign * level),
)


def rand_augment(
    magnitude: float = 9.0, deviation: float = 0.5, layers: int = 2, p: float = 0.5, of: str = "image"
) -> Transform:
    """Pictures uint8 [B, H, W, C], or floats in [0, 1] that are rounded to levels -> uint8, `layers` operations on each.

    magnitude: 0 to 10, its mean; `deviation` is that of its draws.
    p:         share of the pictures that an operation is done to.

    Raises ValueError for a magnitude outside [0, 10].
    """
    if not 0 <= magnitude <= 10:
        raise ValueError(f"the magnitude of RandAugment must lie in [0, 10], got {magnitude}")

    def augmented(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x = x.copy() if x.dtype == np.uint8 else np.rint(255 * x).astype(np.uint8)
        for _ in range(layers):
            chosen = rng.integers(0, len(OPERATIONS), len(x))
            level = np.clip(rng.normal(magnitude, deviation, len(x)), 0, 10) / 10
            sign = np.where(rng.random(len(x)) < 0.5, -1.0, 1.0)
            done = rng.random(len(x)) < p
            for number, (operation, strength) in enumerate(OPERATIONS):
                rows = np.flatnonzero(done & (chosen == number))
                if rows.size:
                    x[rows] = operation(x[rows], strength(level[rows], sign[rows]))
        return x

    return of_column(of, augmented)
