"""RandAugment (arXiv:1909.13719): some operations drawn at random for each picture, all of one magnitude.

Operations, their ranges and the way the magnitude varies are those of timm's `rand-m9-mstd0.5-inc1`, with which DeiT and Swin
were trained: fifteen operations, two of them in turn, each done in half of the cases, their magnitude drawn for each picture
from N(9, 0.5^2) and held to [0, 10]. "inc1": all grow stronger with the magnitude. The paper does both operations always,
at exactly the magnitude; its posterisation, solarisation and blends grow weaker with it in the released code.

Affine operations are bilinear, where timm draws between bilinear and bicubic; what they show of outside is grey.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from aigc_jax.data.transforms import Transform, of_column

GREY = 128
"""What an affine operation shows of outside the picture."""


class Operation(NamedTuple):
    """One of RandAugment's.

    run:      (picture, strength) -> picture, of one or three channels.
    strength: (magnitude / 10, sign), each [B] -> [B].
    """

    run: Callable[[Image.Image, float], Image.Image]
    strength: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _affine(entries: Callable[[float, Image.Image], tuple[float, ...]]) -> Callable[[Image.Image, float], Image.Image]:
    """Pixel (u, v) shows the picture at (a u + b v + c, d u + e v + f), entries a to f."""

    def run(picture: Image.Image, strength: float) -> Image.Image:
        return picture.transform(picture.size, Image.Transform.AFFINE, entries(strength, picture),
                                 resample=Image.Resampling.BILINEAR, fillcolor=_outside(picture))  # fmt: skip

    return run


def _rotate(picture: Image.Image, degrees: float) -> Image.Image:
    return picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_outside(picture))


def _solarize_add(picture: Image.Image, added: float) -> Image.Image:
    """Levels below 128 made brighter."""
    table = [min(255, level + int(added)) if level < 128 else level for level in range(256)]
    return picture.point(table * len(picture.getbands()))


def _colour(picture: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(picture).enhance(factor) if picture.mode == "RGB" else picture


def _outside(picture: Image.Image) -> int | tuple[int, ...]:
    return (GREY,) * 3 if picture.mode == "RGB" else GREY


def _blended(level: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return np.maximum(0.1, 1 + sign * 0.9 * level)


def _level(level: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return level


def _bits(level: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return np.maximum(1, 4 - np.floor(4 * level))  # Pillow keeps one at least


def _threshold(level: np.ndarray, sign: np.ndarray) -> np.ndarray:
    return 256 - np.floor(256 * level)


OPERATIONS = {
    "auto contrast": Operation(lambda picture, s: ImageOps.autocontrast(picture), _level),
    "equalize": Operation(lambda picture, s: ImageOps.equalize(picture), _level),
    "invert": Operation(lambda picture, s: ImageOps.invert(picture), _level),
    "rotate": Operation(_rotate, lambda level, sign: 30 * sign * level),
    "posterize": Operation(lambda picture, s: ImageOps.posterize(picture, int(s)), _bits),
    "solarize": Operation(lambda picture, s: ImageOps.solarize(picture, int(s)), _threshold),
    "solarize add": Operation(_solarize_add, lambda level, sign: np.floor(110 * level)),
    "colour": Operation(_colour, _blended),
    "contrast": Operation(lambda picture, s: ImageEnhance.Contrast(picture).enhance(s), _blended),
    "brightness": Operation(lambda picture, s: ImageEnhance.Brightness(picture).enhance(s), _blended),
    "sharpness": Operation(lambda picture, s: ImageEnhance.Sharpness(picture).enhance(s), _blended),
    "shear x": Operation(_affine(lambda s, p: (1, s, 0, 0, 1, 0)), lambda level, sign: 0.3 * sign * level),
    "shear y": Operation(_affine(lambda s, p: (1, 0, 0, s, 1, 0)), lambda level, sign: 0.3 * sign * level),
    "translate x": Operation(_affine(lambda s, p: (1, 0, s * p.width, 0, 1, 0)), lambda level, sign: 0.45 * sign * level),
    "translate y": Operation(_affine(lambda s, p: (1, 0, 0, 0, 1, s * p.height)), lambda level, sign: 0.45 * sign * level),
}  # fmt: skip


def rand_augment(
    magnitude: float = 9.0, deviation: float = 0.5, layers: int = 2, p: float = 0.5, of: str = "image"
) -> Transform:
    """Pictures uint8 [B, H, W, C] of 1 or 3 channels, or floats in [0, 1] that are rounded to levels -> uint8, `layers`
    operations on each.

    magnitude: 0 to 10, its mean; `deviation` is that of its draws.
    p:         share of the pictures that an operation is done to.

    Raises ValueError for a magnitude outside [0, 10], and for pictures of other channels.
    """
    if not 0 <= magnitude <= 10:
        raise ValueError(f"the magnitude of RandAugment must lie in [0, 10], got {magnitude}")

    def augmented(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.shape[-1] not in (1, 3):
            raise ValueError(f"RandAugment works on pictures of 1 or 3 channels, not {x.shape[-1]}")
        x = x.copy() if x.dtype == np.uint8 else np.rint(255 * x).astype(np.uint8)
        operations = list(OPERATIONS.values())
        for _ in range(layers):
            chosen = rng.integers(0, len(operations), len(x))
            level = np.clip(rng.normal(magnitude, deviation, len(x)), 0, 10) / 10
            sign = np.where(rng.random(len(x)) < 0.5, -1.0, 1.0)
            done = rng.random(len(x)) < p
            for row in np.flatnonzero(done):
                run, strength = operations[chosen[row]]
                x[row] = _array(run(_picture(x[row]), float(strength(level[row], sign[row]))))
        return x

    return of_column(of, augmented)


def _picture(x: np.ndarray) -> Image.Image:
    return Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x)


def _array(picture: Image.Image) -> np.ndarray:
    x = np.asarray(picture)
    return x[..., None] if x.ndim == 2 else x
