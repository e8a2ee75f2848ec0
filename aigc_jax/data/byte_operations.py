"""Pillow's operations on whole batches: uint8 [B, H, W, C] -> the same, the strength of each picture given in [B].

Contrast, colour, brightness, sharpness, equalisation and what works on single grey levels equal `PIL.ImageOps` and
`PIL.ImageEnhance` to the bit; the affine ones equal `Image.transform(..., AFFINE, BILINEAR)` to a grey level.
"""

from __future__ import annotations

import numpy as np

FILL = 128  # what an affine operation shows of outside the picture

Bytes = np.ndarray
Strength = np.ndarray
Entry = float | np.ndarray


def auto_contrast(x: Bytes, strength: Strength) -> Bytes:
    """Each channel stretched so that its darkest level is 0 and its brightest 255; a constant one stays."""
    low, high = (f(x, (1, 2)).astype(float)[..., None] for f in (np.min, np.max))  # [B, C, 1]
    factor = 255 / np.where(high > low, high - low, 255)
    table = np.arange(256) * factor - low * factor
    return _look_up(x, np.where(high > low, np.clip(np.trunc(table), 0, 255), np.arange(256)))


def equalize(x: Bytes, strength: Strength) -> Bytes:
    """Each channel's levels spread so that its histogram is as even as it can be."""
    batch, channels = x.shape[0], x.shape[-1]
    plane = (np.arange(batch)[:, None] * channels + np.arange(channels))[:, None, None]  # [B, 1, 1, C]
    count = np.bincount((plane * 256 + x).ravel(), minlength=batch * channels * 256).reshape(batch, channels, 256)
    last = 255 - np.argmax(count[..., ::-1] > 0, -1)  # the brightest level there is
    step = (count.sum(-1) - np.take_along_axis(count, last[..., None], -1)[..., 0]) // 255
    table = (step[..., None] // 2 + np.cumsum(count, -1) - count) // np.maximum(step, 1)[..., None]
    return _look_up(x, np.where(step[..., None] > 0, np.minimum(table, 255), np.arange(256)))


def invert(x: Bytes, strength: Strength) -> Bytes:
    """255 - x."""
    return 255 - x


def posterize(x: Bytes, bits: Strength) -> Bytes:
    """The first `bits` bits of each level; the others become 0."""
    return x & _column((0xFF << (8 - bits.astype(int))) & 0xFF).astype(np.uint8)


def solarize(x: Bytes, threshold: Strength) -> Bytes:
    """Levels from the threshold on, inverted."""
    return np.where(x < _column(threshold), x, 255 - x)


def solarize_add(x: Bytes, added: Strength) -> Bytes:
    """Levels below 128 made brighter by `added`."""
    return np.where(x < 128, np.minimum(x + _column(added.astype(int)), 255), x).astype(np.uint8)


def colour(x: Bytes, factor: Strength) -> Bytes:
    """Blend with its grey picture: 0 is grey, 1 as it is."""
    return x if x.shape[-1] == 1 else _blend(_luma(x), x, factor)


def contrast(x: Bytes, factor: Strength) -> Bytes:
    """Blend with the mean of its grey levels: 0 is flat, 1 as it is."""
    mean = np.floor(_luma(x).mean((1, 2, 3), keepdims=True) + 0.5)
    return _blend(mean, x, factor)


def brightness(x: Bytes, factor: Strength) -> Bytes:
    """Blend with black: 0 is black, 1 as it is."""
    return _blend(np.zeros((1, 1, 1, 1)), x, factor)


def sharpness(x: Bytes, factor: Strength) -> Bytes:
    """Blend with a smoothed picture (a 3 x 3 mean, the middle five times as heavy; edges as they are): 1 is as it is."""
    smooth = x.astype(np.float32)
    if min(x.shape[1:3]) > 2:
        rows = smooth[:, :-2] + smooth[:, 1:-1] + smooth[:, 2:]
        total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * smooth[:, 1:-1, 1:-1]
        smooth[:, 1:-1, 1:-1] = np.floor(total / 13 + 0.5)
    return _blend(smooth, x, factor)


def shear_x(x: Bytes, factor: Strength) -> Bytes:
    """Pixel (u, v) shows (u + factor v, v), u across and v down, from the top left corner."""
    return affine(x, _matrix(factor, xy=factor))


def shear_y(x: Bytes, factor: Strength) -> Bytes:
    """Pixel (u, v) shows (u, v + factor u)."""
    return affine(x, _matrix(factor, yx=factor))


def translate_x(x: Bytes, share: Strength) -> Bytes:
    """Moved to the left by a share of the width."""
    return affine(x, _matrix(share, x=share * x.shape[2]))


def translate_y(x: Bytes, share: Strength) -> Bytes:
    """Moved up by a share of the height."""
    return affine(x, _matrix(share, y=share * x.shape[1]))


def rotate(x: Bytes, degrees: Strength) -> Bytes:
    """Turned about its middle, counter-clockwise."""
    angle = np.deg2rad(degrees)
    cos, sin = np.cos(angle), np.sin(angle)
    across, down = x.shape[2] / 2, x.shape[1] / 2
    return affine(x, _matrix(degrees, xx=cos, xy=-sin, x=across - cos * across + sin * down,
                             yx=sin, yy=cos, y=down - sin * across - cos * down))  # fmt: skip


def affine(x: Bytes, matrix: np.ndarray) -> Bytes:
    """Pixel centre (u, v) shows the picture at matrix [B, 2, 3] (u, v, 1), bilinear; outside of it is grey."""
    batch, height, width, channels = x.shape
    down, across = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    grid = np.stack([across, down, np.ones_like(down)])  # [3, H, W]
    u, v = np.einsum("bij,jhw->ibhw", matrix, grid)
    outside = (u < 0) | (u >= width) | (v < 0) | (v >= height)
    (left, right, to_right), (above, below, to_below) = _neighbours(u, width), _neighbours(v, height)
    flat, first = x.reshape(-1, channels), (np.arange(batch) * height * width)[:, None, None]

    def row(line: np.ndarray) -> np.ndarray:
        one, other = (flat[first + line * width + place].astype(np.float32) for place in (left, right))
        return one + to_right * (other - one)  # [B, H, W, C]

    upper = row(above)
    out = np.floor(upper + to_below * (row(below) - upper) + 0.5).astype(np.uint8)
    out[outside] = FILL
    return out


def _neighbours(position: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels on both sides of a position, and how far it is to the second; beyond the edge the last one repeats."""
    place = np.floor(position - 0.5)
    part = (position - 0.5 - place).astype(np.float32)[..., None]
    lower, upper = (np.clip(place + more, 0, length - 1).astype(int) for more in (0, 1))
    return lower, upper, part


def _matrix(
    like: np.ndarray, xx: Entry = 1, xy: Entry = 0, x: Entry = 0, yx: Entry = 0, yy: Entry = 1, y: Entry = 0
) -> np.ndarray:
    """[B, 2, 3] from its entries, numbers or [B]."""
    rows = [np.stack([np.broadcast_to(entry, like.shape) for entry in row], -1) for row in ((xx, xy, x), (yx, yy, y))]
    return np.stack(rows, 1).astype(float)


def _blend(plain: np.ndarray, x: Bytes, factor: Strength) -> Bytes:
    """plain + factor (x - plain), clipped and cut off to whole levels."""
    plain = plain.astype(np.float32)
    return np.clip(plain + _column(factor).astype(np.float32) * (x - plain), 0, 255).astype(np.uint8)


def _luma(x: Bytes) -> np.ndarray:
    """Grey levels [B, H, W, 1], whole ones, of ITU-R BT.601 in 16 bits."""
    if x.shape[-1] == 1:
        return x
    weighed = x.astype(np.uint32) @ np.array([19595, 38470, 7471], np.uint32) + 0x8000
    return (weighed >> 16)[..., None]


def _look_up(x: Bytes, table: np.ndarray) -> Bytes:
    """Each level of each channel replaced by its entry of table [B, C, 256]."""
    batch, channels = np.arange(x.shape[0])[:, None, None, None], np.arange(x.shape[-1])
    return table.astype(np.uint8)[batch, channels, x]


def _column(strength: np.ndarray) -> np.ndarray:
    return strength[:, None, None, None]
