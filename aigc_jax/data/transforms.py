"""Transforms of values: small functions over a batch, `f(batch, rng) -> batch`, on whole arrays.

    train = compose(crop(32, pad=4), flip_lr, scale(-1, 1))

A batch is a dict of arrays with the batch as first axis; `rng` belongs to this batch alone, so that batch i is the same
whenever it is made. Where pictures have many sizes, the column is an object array [B] until `resize` or a crop
(`aigc_jax.data.pictures`) makes it [B, H, W, C].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from aigc_jax.errors import UserError

Batch = dict[str, np.ndarray]
Transform = Callable[[Batch, np.random.Generator], Batch]


def compose(*transforms: Transform) -> Transform:
    """One transform after another."""

    def composed(batch: Batch, rng: np.random.Generator) -> Batch:
        for transform in transforms:
            batch = transform(batch, rng)
        return batch

    return composed


def repeated(times: int) -> Transform:
    """The first of the rows, each `times` times instead of once, and none of the others: repeated augmentation.

    Put before what is random, the copies differ (Hoffer et al., arXiv:1901.09335; DeiT: 3). As in DeiT's sampler an epoch
    keeps its length and shows a part of the examples, another one each time. Copies lie apart from each other. Raises
    ValueError for `times` below 1.
    """
    if times < 1:
        raise ValueError(f"examples are repeated at least 1 time, not {times}")
    if times == 1:
        return compose()

    def copies(batch: Batch, rng: np.random.Generator) -> Batch:
        rows = len(next(iter(batch.values())))
        taken = np.arange(rows) % -(-rows // times)
        return {name: x[taken] for name, x in batch.items()}

    return copies


def of_column(column: str, f: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Transform:
    """`f` on one column. Raises UserError with the columns there are, as these are the source's."""
    return lambda batch, rng: {**batch, column: f(column_of(batch, column), rng)}


def column_of(batch: Batch, column: str) -> np.ndarray:
    """A column. Raises UserError with those there are."""
    if column not in batch:
        raise UserError(f"no {column!r} to transform: there is {', '.join(batch)}")
    return batch[column]


def of_values(column: str, f: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Transform:
    """`f`, which looks at values and not at shapes, on one column, be it an array or an object array of many shapes."""

    def each(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.dtype != object:
            return f(x, rng)
        out = np.empty(len(x), object)
        out[:] = [f(one, rng) for one in x]
        return out

    return of_column(column, each)


def unit(x: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 0..1; floats pass as float32."""
    return x / np.float32(255) if x.dtype == np.uint8 else x.astype(np.float32, copy=False)


def scale(low: float = 0.0, high: float = 1.0, of: str = "image") -> Transform:
    """uint8 0..255, or floats in [0, 1], -> float32 low..high, ends included."""

    def scaled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        y = unit(x)
        if (low, high) == (0, 1):
            return y
        y = y * np.float32(high - low)
        y += np.float32(low)
        return y

    return of_values(of, scaled)


def to_unit(of: str = "image") -> Transform:
    """uint8 0..255 -> float32 0..1."""
    return scale(0.0, 1.0, of)


def normalize(mean: float | tuple[float, ...], std: float | tuple[float, ...], of: str = "image") -> Transform:
    """(x - mean) / std, x in [0, 1] (uint8 is divided by 255 first); one number, or one for each channel."""
    shift, factor = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    return of_values(of, lambda x, rng: (unit(x) - shift) / factor)


BINARIZED = {
    "dynamic": "bits drawn from the greys by a fixed seed (black and white stays)",
    "threshold": "bits are greys of half and more",
}
"""What is said of figures on bits, by how they were made."""


def binarize(how: Literal["dynamic", "threshold"] = "dynamic", of: str = "image") -> Transform:
    """Pixels as 0. and 1.: "dynamic" draws each from Bernoulli(grey) at every use, "threshold" is grey >= 0.5.

    Takes uint8 (grey = x / 255; statically binarized sets hold 0 and 255 and stay as they are under both) or float32 in
    [0, 1]. Dynamic: Salakhutdinov and Murray 2008; evaluation batches draw from a fixed seed, so that the binarized
    test set is the same in every evaluation.
    """
    if how not in BINARIZED:
        raise ValueError(f'binarize("dynamic") or binarize("threshold"), not {how!r}')

    def binarized(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        grey = unit(x)
        if how == "threshold":
            return (grey >= 0.5).astype(np.float32)
        return (rng.random(x.shape, np.float32) < grey).astype(np.float32)  # random is in [0, 1): 0 stays 0, 1 stays 1

    return of_values(of, binarized)


def quantize(levels: int = 256, of: str = "image") -> Transform:
    """uint8 0..255, or floats in [0, 1], -> int32 0 .. levels - 1, the nearest of as many even steps, ends included.

    256 levels are the uint8 themselves; 17 give back those of the digits of scikit-learn. Raises ValueError below two.
    """
    if levels < 2:
        raise ValueError(f"greys are quantized to 2 levels at least, not {levels}")
    return of_values(of, lambda x, rng: np.rint(unit(x) * np.float32(levels - 1)).astype(np.int32))


def block_means(side: int, of: str = "image") -> Transform:
    """[B, H, W, C] -> float32 [B, H / side, W / side, C] in [0, 1]: the mean of each block of side x side pixels.

    Raises UserError where blocks do not fill the picture.
    """

    def means(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width, channels = x.shape[1:]
        if height % side or width % side:
            raise UserError(f"blocks of {side} x {side} pixels do not fill {height} x {width}")
        return unit(x).reshape(len(x), height // side, side, width // side, side, channels).mean((2, 4))

    return of_column(of, means)


def dequantize(of: str = "image", low: float = 0.0, high: float = 1.0) -> Transform:
    """uint8 -> (x + u) / 256 spread over [low, high), u ~ U[0, 1) (Theis et al., arXiv:1511.01844, section 3.1)."""

    def dequantized(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        spread = (x + rng.random(x.shape, np.float32)) / np.float32(256)
        return np.float32(low) + np.float32(high - low) * spread

    return of_values(of, dequantized)


def upper_bits(bits: int = 8, of: str = "image") -> Transform:
    """uint8, or floats in [0, 1] -> float32 k / (2^bits - 1), k = 0 .. 2^bits - 1: the grey levels, by their upper bits.

    For models of discrete pictures, which add their own noise. Raises ValueError for bits outside 1 to 8, UserError for values
    outside [0, 1].
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"grey levels have 1 to 8 bits, not {bits}")

    def shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.dtype != np.uint8:
            low, high = float(x.min()), float(x.max())
            if not 0 <= low <= high <= 1:
                raise UserError(f"{of} holds values from {low:g} to {high:g}: pictures are bytes, or numbers in [0, 1]")
            x = np.rint(x * 255).astype(np.uint8)
        return (x >> (8 - bits)) / np.float32(2**bits - 1)

    return of_values(of, shifted)


def one_hot(classes: int, of: str = "label") -> Transform:
    """Integers [B] -> float32 [B, classes]."""
    return of_column(of, lambda x, rng: np.eye(classes, dtype=np.float32)[x])


def window(length: int, of: str = "wave", random: bool = True, silence: int = 0) -> Transform:
    """Waves of any length, int16 or float -> float32 [B, length] in [-1, 1): longer ones cut, shorter ones padded by 0.

    The column `length`, int32 [B], is how many samples of each are no padding.

    random:  the piece begins anywhere (training); otherwise at the first sample.
    silence: how many zeros after the end of a wave are no padding, but belong to it.

    Raises UserError for a wave without samples.
    """

    def cut(batch: Batch, rng: np.random.Generator) -> Batch:
        waves = column_of(batch, of)
        out, lengths = np.zeros((len(waves), length), np.float32), np.zeros(len(waves), np.int32)
        for row, wave in enumerate(waves):
            if not len(wave):
                raise UserError(f"a {of} of 0 samples: take it out of the data")
            start = int(rng.integers(0, max(len(wave) - length, 0) + 1)) if random else 0
            piece = wave[start : start + length]
            out[row, : len(piece)] = piece / np.float32(2**15) if np.issubdtype(piece.dtype, np.integer) else piece
            lengths[row] = min(len(piece) + silence, length)
        return {**batch, of: out, "length": lengths}

    return cut
