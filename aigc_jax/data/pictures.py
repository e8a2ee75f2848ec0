"""Transforms of place and size: resize, crops and flips of pictures of one size or of many.

Resampling is bilinear with the triangle filter widened by the shrinking factor (antialiased), as Pillow does it.
Pictures of one size are resampled together, as two products with interpolation matrices; pictures of many sizes (an
object array) one by one with Pillow. The two agree to a grey level. uint8 stays uint8 (rounded), floats stay float32.
"""

from __future__ import annotations

import math

import numpy as np

from aigc_jax.data.transforms import Batch, Transform, column_of, of_column
from aigc_jax.errors import UserError

ATTEMPTS = 10


def resize(size: int | tuple[int, int], of: str = "image") -> Transform:
    """Every picture to (height, width), whatever its shape was; a number means a square."""
    height, width = (size, size) if isinstance(size, int) else size

    def resized(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.dtype != object and x.shape[1:3] == (height, width):
            return x
        sizes = _sizes(x)
        return resample(x, np.concatenate([np.zeros_like(sizes), sizes], 1), height, width)

    return of_column(of, resized)


def resize_short(size: int, of: str = "image") -> Transform:
    """Every picture so that its shorter side is `size`, the ratio of its sides kept (ImageNet evaluation: 256)."""

    def resized(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.dtype != object:
            return _short(x, size)
        out = np.empty(len(x), object)
        out[:] = [_short(one[None], size)[0] for one in x]
        return out

    return of_column(of, resized)


def _short(x: np.ndarray, size: int) -> np.ndarray:
    height, width = x.shape[1:3]
    factor = size / min(height, width)
    box = np.tile([0, 0, height, width], (len(x), 1))
    return resample(x, box, round(height * factor), round(width * factor))


def center_crop(size: int, of: str = "image") -> Transform:
    """The middle square of each picture. Raises UserError for a picture smaller than it."""
    return of_column(of, lambda x, rng: _cut(x, (_sizes(x) - size) // 2, size))


def sized(size: int, of: str = "image") -> Transform:
    """The pictures as they are. Raises UserError for one that is not size x size, before a crop would hide it."""

    def checked(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        sizes = _sizes(x)
        wrong = (sizes != size).any(1)
        if wrong.any():
            height, width = sizes[int(np.argmax(wrong))]
            raise UserError(
                f"a picture of {height} x {width}, where {size} x {size} is taken: set the size, or resize the data"
            )
        return _cut(x, np.zeros_like(sizes), size)  # one array, also of pictures that came one by one

    return of_column(of, checked)


def crop(size: int, pad: int = 0, of: str = "image") -> Transform:
    """A square at a random place of each picture, after `pad` black pixels were added on every side.

    `crop(32, pad=4)` is the CIFAR-10 augmentation of He et al. (arXiv:1512.03385, section 4.2). Raises UserError for a
    picture smaller than the square.
    """

    def cropped(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if pad:
            x = _padded(x, pad)
        free = _sizes(x) - size + 1
        return _cut(x, rng.integers(0, np.maximum(free, 1)), size)

    return of_column(of, cropped)


def _padded(x: np.ndarray, pad: int) -> np.ndarray:
    around = ((pad, pad), (pad, pad), (0, 0))
    if x.dtype != object:
        return np.pad(x, ((0, 0), *around))
    out = np.empty(len(x), object)
    out[:] = [np.pad(one, around) for one in x]
    return out


def _cut(x: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """The square [size, size] at `corners` [B, 2] (top, left) of each picture."""
    sizes = _sizes(x)
    if sizes.min() < size:
        height, width = sizes[int(np.argmin(sizes.min(1)))]
        raise UserError(f"a picture of {height} x {width} is too small for a crop of {size} x {size}")
    if x.dtype == object:
        return np.stack([one[top : top + size, left : left + size] for one, (top, left) in zip(x, corners)])
    if (corners == corners[0]).all():
        top, left = corners[0]
        return x[:, top : top + size, left : left + size]
    count, height, width, channels = x.shape
    rows = x.reshape(count, height, width * channels)  # so that a line of a crop is one run of memory
    every = np.lib.stride_tricks.sliding_window_view(rows, (size, size * channels), axis=(1, 2))
    return every[np.arange(count), corners[:, 0], corners[:, 1] * channels].reshape(count, size, size, channels)


def random_resized_crop(
    size: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    of: str = "image",
) -> Transform:
    """A random box of each picture, resized to a square ("Inception" crop: Szegedy et al., arXiv:1409.4842, section 6).

    scale: the share of the area of the picture that the box has, drawn uniformly.
    ratio: width over height of the box, drawn uniformly in its logarithm.
    A box that does not fit is drawn again, ten times at most; then the largest centred one of an allowed ratio is
    taken.
    """

    def cropped(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return resample(x, random_boxes(_sizes(x), scale, ratio, rng), size, size)

    return of_column(of, cropped)


def random_boxes(
    sizes: np.ndarray, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Boxes [B, 4] (top, left, bottom, right) inside pictures of `sizes` [B, 2] (height, width)."""
    whole = sizes.astype(float)
    area = whole.prod(1, keepdims=True) * rng.uniform(*scale, (len(sizes), ATTEMPTS))  # [B, attempts]
    shape = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), area.shape))
    tried = np.rint(np.sqrt(np.stack([area / shape, area * shape], -1))).astype(int)  # [B, attempts, 2]
    fits = np.logical_and(tried >= 1, tried <= sizes[:, None]).all(-1)
    drawn = tried[np.arange(len(sizes)), fits.argmax(1)]  # the first that fits
    within = np.clip(whole[:, 1] / whole[:, 0], *ratio)  # width over height
    largest = np.stack(
        [np.minimum(whole[:, 0], whole[:, 1] / within), np.minimum(whole[:, 1], whole[:, 0] * within)], 1
    )
    fitted = fits.max(axis=1, keepdims=True)
    box = np.where(fitted, drawn, np.rint(largest).astype(int))
    corner = np.where(fitted, rng.integers(0, sizes - box + 1), (sizes - box) // 2)
    return np.concatenate([corner, corner + box], 1)


def flip_lr(batch: Batch, rng: np.random.Generator) -> Batch:
    """Mirrors each picture of `image`, left and right, with probability one half."""
    x = column_of(batch, "image")
    mirrored = rng.random(len(x)) < 0.5
    out = x.copy()
    if x.dtype == object:
        out[:] = [one[:, ::-1] if turned else one for one, turned in zip(x, mirrored)]
    else:
        out[mirrored] = x[mirrored, :, ::-1]
    return {**batch, "image": out}


def resample(x: np.ndarray, boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """The box [B, 4] (top, left, bottom, right; whole pixels) of each picture, resampled to [B, height, width, C].

    What lies outside the box does not count: the picture is first cropped, then resampled.
    """
    if x.dtype == object:
        return np.stack([_pillow(one, box, height, width) for one, box in zip(x, boxes)])
    if (boxes == boxes[0]).all():
        boxes = boxes[:1]  # one matrix serves all
    down = interpolation(boxes[:, 0], boxes[:, 2], x.shape[1], height)  # [B or 1, height, H]
    across = interpolation(boxes[:, 1], boxes[:, 3], x.shape[2], width)  # [B or 1, width, W]
    out = both_ways(x, down, across)
    return np.rint(out).astype(np.uint8) if x.dtype == np.uint8 else out


def both_ways(x: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """down[b] x[b] across[b]^T in each channel: [B, H, W, C] -> float32 [B, height, width, C]."""
    planes = np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32)  # [B, C, H, W]
    planes = np.matmul(down[:, None], planes)  # [B, C, height, W]
    planes = np.matmul(planes, across[:, None].transpose(0, 1, 3, 2))  # [B, C, height, width]
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def interpolation(start: np.ndarray, stop: np.ndarray, length: int, out: int) -> np.ndarray:
    """Matrices [B, out, length] that resample `length` pixels, of which `start <= j < stop` [B] count, to `out`.

    Output i looks at position start + (i + 1/2) f, f = (stop - start) / out, through a triangle of half width max(f,
    1); rows sum to one.
    """
    factor = ((stop - start) / out)[:, None, None]
    centre = start[:, None, None] + (np.arange(out)[:, None] + 0.5) * factor  # [B, out, 1]
    pixel = np.arange(length)
    weight = np.maximum(0, 1 - np.abs(pixel + 0.5 - centre) / np.maximum(factor, 1))
    weight = weight * ((pixel >= start[:, None, None]) & (pixel < stop[:, None, None]))
    return (weight / weight.sum(-1, keepdims=True)).astype(np.float32)


def _pillow(x: np.ndarray, box: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    top, left, bottom, right = (int(edge) for edge in box)
    if x.dtype != np.uint8 or x.shape[2] not in (1, 3):
        return resample(x[None], np.asarray(box)[None], height, width)[0]
    part = np.ascontiguousarray(x[top:bottom, left:right])
    picture = Image.fromarray(part[..., 0] if x.shape[2] == 1 else part)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, x.shape[2])


def _sizes(x: np.ndarray) -> np.ndarray:
    """(height, width) of each picture [B, 2]."""
    if x.dtype == object:
        return np.array([one.shape[:2] for one in x])
    return np.tile(np.array(x.shape[1:3]), (len(x), 1))
