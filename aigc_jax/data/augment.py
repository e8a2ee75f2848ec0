"""Augmentations of colour and sharpness for self-supervised learning, on whole batches, and two views of a picture.

Each takes `image` [B, H, W, C], uint8 or float32 in [0, 1], and gives float32 in [0, 1]. Factors are drawn for each
picture by itself. Brightness, contrast, saturation and hue blend as in torchvision's `ColorJitter`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aigc_jax.data.pictures import both_ways, flip_lr, random_resized_crop
from aigc_jax.data.transforms import Batch, Transform, column_of, compose, of_column, unit

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
Range = tuple[float, float]


def two_views(augment: Transform, second: Transform | None = None, of: str = "image") -> Transform:
    """{"image"} -> {"view1", "view2"}: two draws of `augment`; the other columns stay.

    second: what draws "view2" where it is not `augment`, as in methods whose views differ in blur and solarisation.
    """

    def views(batch: Batch, rng: np.random.Generator) -> Batch:
        rest = {name: x for name, x in batch.items() if name != of}
        one, other = (draw({"image": column_of(batch, of)}, rng)["image"] for draw in (augment, second or augment))
        return {**rest, "view1": one, "view2": other}

    return views


def moco_v2(size: int, blur: bool = True) -> Transform:
    """The augmentation of MoCo v2 (Chen et al., arXiv:2003.04297, section 3), without the final normalisation.

    Random resized crop (area 0.2 to 1), colour jitter (0.4, 0.4, 0.4, 0.1) for 8 in 10 pictures, grey for 2 in 10,
    blur for half, mirror for half.

    blur: off for pictures as small as those of CIFAR-10, as in the authors' CIFAR-10 demonstration.
    """
    steps = [random_resized_crop(size, scale=(0.2, 1.0)), color_jitter(0.4, 0.4, 0.4, 0.1, p=0.8), grayscale(0.2)]
    return compose(*steps, *([gaussian_blur((0.1, 2.0), p=0.5)] if blur else []), flip_lr)


def color_jitter(
    brightness: float = 0.4, contrast: float = 0.4, saturation: float = 0.4, hue: float = 0.1, p: float = 0.8
) -> Transform:
    """Brightness, contrast, saturation and hue changed in random order, in a share `p` of the pictures.

    A strength s draws a factor from [max(0, 1 - s), 1 + s]; `hue` draws a turn from [-hue, hue] of the colour circle.
    Grey pictures (C = 1) have neither saturation nor hue.
    """
    factors: list[tuple[Callable[[np.ndarray, np.ndarray], np.ndarray], Range]] = [
        (_brightness, (max(0.0, 1 - brightness), 1 + brightness)),
        (_contrast, (max(0.0, 1 - contrast), 1 + contrast)),
        (_saturation, (max(0.0, 1 - saturation), 1 + saturation)),
        (_hue, (-hue, hue)),
    ]

    def jittered(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x = unit(x).copy()
        operations = factors if x.shape[-1] == 3 else factors[:2]
        drawn = np.stack([rng.uniform(low, high, len(x)) for _, (low, high) in operations], 1).astype(np.float32)
        order = rng.permuted(np.tile(np.arange(len(operations)), (len(x), 1)), axis=1)  # [B, operations]
        chosen = rng.random(len(x)) < p
        for place in range(len(operations)):
            for number, (operation, _) in enumerate(operations):
                rows = np.flatnonzero(chosen & (order[:, place] == number))
                if rows.size:
                    x[rows] = np.clip(operation(x[rows], drawn[rows, number, None, None, None]), 0, 1)
        return x

    return of_column("image", jittered)


def _brightness(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return factor * x


def _contrast(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    mean = _grey(x).mean((1, 2, 3), keepdims=True)  # of the whole picture
    return mean + factor * (x - mean)


def _saturation(x: np.ndarray, factor: np.ndarray) -> np.ndarray:
    grey = _grey(x)
    return grey + factor * (x - grey)


def _hue(x: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """The colour circle turned by `turn` (1 is once around), in the hexagonal model of HSV."""
    red, green, blue = (np.ascontiguousarray(x[..., channel]) for channel in range(3))  # [B, H, W]
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    hue = np.where(value == red, (green - blue) / safe, hue) + 6 * turn[..., 0]  # in sixths of the circle
    out = np.empty_like(x)
    for channel, centre in enumerate((0, 2, 4)):
        away = hue - np.float32(centre)
        away = np.abs(away - 6 * np.rint(away / 6))  # how far from pure red, green or blue: 0 to 3
        out[..., channel] = value - chroma * np.clip(away - 1, 0, 1)
    return out


def _grey(x: np.ndarray) -> np.ndarray:
    """[B, H, W, C] -> [B, H, W, 1]."""
    if x.shape[-1] == 1:
        return x
    return (LUMA[0] * x[..., 0] + LUMA[1] * x[..., 1] + LUMA[2] * x[..., 2])[..., None]


def grayscale(p: float = 0.2) -> Transform:
    """Grey in all channels, in a share `p` of the pictures."""

    def greyed(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x, chosen = unit(x).copy(), np.flatnonzero(rng.random(len(x)) < p)
        x[chosen] = _grey(x[chosen])
        return x

    return of_column("image", greyed)


def gaussian_blur(sigma: Range = (0.1, 2.0), p: float = 0.5) -> Transform:
    """A Gaussian of a deviation drawn from `sigma` (pixels), in a share `p` of the pictures.

    The kernel is not cut off, and at the edges it is renormalised over the pixels there are.
    """

    def blurred(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        x, drawn = unit(x).copy(), rng.uniform(*sigma, len(x))
        rows = np.flatnonzero(rng.random(len(x)) < p)
        if rows.size:
            x[rows] = blur(x[rows], drawn[rows])
        return x

    return of_column("image", blurred)


def blur(x: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """[B, H, W, C], each with its own sigma [B]: two products with kernel matrices."""
    return both_ways(x, _kernels(x.shape[1], sigma), _kernels(x.shape[2], sigma))


def _kernels(length: int, sigma: np.ndarray) -> np.ndarray:
    """[B, length, length], rows sum to one."""
    distance = np.arange(length)[:, None] - np.arange(length)
    weight = np.exp(-(distance**2) / (2 * sigma[:, None, None] ** 2))
    weight[weight < 1e-12] = 0  # numbers too small for float32 to hold in full make products twenty times slower
    return (weight / weight.sum(-1, keepdims=True)).astype(np.float32)
