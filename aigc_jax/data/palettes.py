"""Palettes: colours of pictures as indices of a few, as iGPT has them (Chen et al. 2020, section 3.1: 9 bits, by k-means).

    python -m aigc_jax.data.palettes files:DIR palette.npy          # 512 colours by k-means of the training pictures

A palette is a table [K, 3], kept in a file because a model means nothing under another one. "uniform" needs no file: the even
grid of colours, 8 x 8 x 8 for 512. Likelihoods are of indices, so that those under two palettes do not compare.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aigc_jax.data.pictures import resize
from aigc_jax.data.sources import open_source
from aigc_jax.data.tables import select
from aigc_jax.data.transforms import Transform, of_column
from aigc_jax.errors import UserError

Palette = Callable[[], np.ndarray]
"""-> float32 [K, 3] in 0..255. Called when pictures are first read: an experiment is made without its files."""


def load_palette(name: str, colours: int) -> Palette:
    """The palette "uniform", or that of a file .npy of [K, 3]: uint8, or floats in [-1, 1] as released with iGPT.

    Raises ValueError where no grid has so many colours; when it is first called, UserError for a file that is none, that has
    another number of them, or numbers of another range.
    """
    if name == "uniform":
        table = uniform(colours)
        return lambda: table

    @functools.cache
    def read() -> np.ndarray:
        try:
            table = np.load(name)
        except (OSError, ValueError) as error:
            raise UserError(f"no palette in {name}: {error}; make one by python -m aigc_jax.data.palettes") from None
        if table.shape != (colours, 3):
            raise UserError(f"{name} holds {table.shape}, not a palette of {colours} colours: ({colours}, 3)")
        if table.dtype != np.uint8 and not np.abs(table).max() <= 1.001:  # round-off
            found = f"{table.dtype} from {table.min():g} to {table.max():g}"
            raise UserError(f"{name} holds {found}: a palette is uint8, or floats in [-1, 1]")
        return (table if table.dtype == np.uint8 else (table + 1) * 127.5).astype(np.float32)

    return read


def uniform(colours: int) -> np.ndarray:
    """The grid of s x s x s = `colours`, ends included, float32 [K, 3] in 0..255. Raises ValueError for no third power."""
    side = round(colours ** (1 / 3))
    if side**3 != colours or side < 2:
        raise ValueError(f"a uniform palette has a third power of colours from 8 on, such as 512, not {colours}")
    return np.stack(np.meshgrid(*[np.linspace(0, 255, side)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)


def learned(images: np.ndarray, colours: int = 512, seed: int = 0) -> np.ndarray:
    """uint8 [N, H, W, 3] -> uint8 [K, 3] by k-means in batches, in ascending order; the same for the same seed."""
    from sklearn.cluster import MiniBatchKMeans

    values = images.reshape(-1, 3).astype(np.float32)
    found = MiniBatchKMeans(colours, batch_size=8192, n_init="auto", random_state=seed).fit(values).cluster_centers_
    return np.array(sorted(np.rint(found).clip(0, 255).astype(np.uint8).tolist()), np.uint8)


def to_palette(palette: Palette, of: str = "image") -> Transform:
    """uint8 [B, H, W, 3] -> int32 [B, H, W, 1], the index of the nearest colour. Raises UserError for other pictures."""

    def indices(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if x.dtype != np.uint8 or x.shape[-1] != 3:
            raise UserError(f"a palette is for pictures in colour, uint8 [..., 3], not {x.dtype} {x.shape}")
        table = palette()
        return np.stack([nearest(one, table) for one in x])[..., None]

    return of_column(of, indices)


def nearest(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """[..., 3] -> int32 [...]: the row of the table at the least distance; the first of several."""
    # |x - c|^2 less |x|^2, in integers or nearly: float32 holds them exactly for tables of uint8
    distance = (table**2).sum(-1) - 2 * x.astype(np.float32) @ table.T
    return distance.argmin(-1).astype(np.int32)


def from_palette(palette: Palette) -> Callable[[Any], np.ndarray]:
    """decode for indices [N, H, W, 1]: -> uint8 [N, H, W, 3]."""
    return lambda x: np.rint(palette()).astype(np.uint8)[np.asarray(x, np.int32)[..., 0]]


def main() -> None:
    parser = argparse.ArgumentParser(description="A palette by k-means of a source's training pictures.")
    parser.add_argument("source", help="such as files:DIR or patches")
    parser.add_argument("file", type=Path)
    parser.add_argument("--colours", type=int, default=512)
    parser.add_argument("--size", type=int, default=32, help="side that pictures are brought to first")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    split = select(open_source(arguments.source, 3), "train")
    rng = np.random.default_rng(arguments.seed)
    rows = np.sort(rng.permutation(len(split))[: arguments.pictures])
    images = resize(arguments.size)({"image": split.take(rows)["image"]}, rng)["image"]
    np.save(arguments.file, learned(np.asarray(images, np.uint8), arguments.colours, arguments.seed))


if __name__ == "__main__":
    main()
