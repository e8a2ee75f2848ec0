"""Random erasing (arXiv:1708.04896): a box of the picture at a random place is replaced by noise."""

from __future__ import annotations

import math

import numpy as np

from aigc_jax.data.transforms import Transform, of_column

ATTEMPTS = 10


def random_erasing(
    p: float = 0.25,
    area: tuple[float, float] = (0.02, 1 / 3),
    ratio: tuple[float, float] = (0.3, 10 / 3),
    of: str = "image",
) -> Transform:
    """Replaces a box by N(0, 1) noise, pixel by pixel, in a share `p` of the pictures, which are normalised already.

    area:  share of the picture that the box has, drawn uniformly.
    ratio: height over width, drawn uniformly in its logarithm (the paper draws it uniformly; timm, and DeiT with it, so).

    A box that is not smaller than the picture is drawn again, ten times at most; then nothing is erased. The paper fills with
    uniform levels before normalisation, DeiT and Swin as here. Raises ValueError for a p outside [0, 1].
    """
    if not 0 <= p <= 1:
        raise ValueError(f"the probability of erasing must lie in [0, 1], got {p}")

    def erased(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        inside = boxes(len(x), x.shape[1], x.shape[2], area, ratio, rng) & (rng.random(len(x)) < p)[:, None, None]
        out = x.astype(np.float32)
        out[inside] = rng.standard_normal((int(inside.sum()), x.shape[-1]), np.float32)
        return out

    return of_column(of, erased)


def boxes(
    count: int,
    height: int,
    width: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    """Whether a pixel lies in the box of its picture: bool [count, height, width]."""
    wanted = height * width * rng.uniform(*area, (count, ATTEMPTS))
    shape = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), wanted.shape))
    tried = np.rint(np.sqrt(np.stack([wanted * shape, wanted / shape], -1))).astype(int)  # [count, attempts, 2]
    fits = np.all(tried < [height, width], axis=-1)
    size = tried[np.arange(count), fits.argmax(1)] * fits.max(axis=1, keepdims=True)  # the first that fits, or nothing
    start = rng.integers(0, np.array([height, width]) - size + 1)
    rows, columns = (np.arange(length) - start[:, axis, None] for axis, length in enumerate((height, width)))
    down, across = ((line >= 0) & (line < size[:, axis, None]) for axis, line in enumerate((rows, columns)))
    return down[:, :, None] & across[:, None, :]
