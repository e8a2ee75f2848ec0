"""Fixed encodings of positions and of diffusion times."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array


def sinusoidal(length: int, width: int, period: float = 10_000.0) -> np.ndarray:
    """The position table of the transformer paper (arXiv:1706.03762, section 3.5), float32 [length, width].

    PE(p, 2i) = sin(p / period^(2i / width)), PE(p, 2i+1) = cos(same): sines and cosines interleaved, as in the paper; the
    code published with it has them in halves, which is another table for trained weights. Raises ValueError for an odd width.
    """
    if width % 2:
        raise ValueError(f"sinusoidal positions come in pairs: width {width} is odd")
    frequency = period ** (-np.arange(0, width, 2) / width)  # [width / 2]
    angle = np.arange(length)[:, None] * frequency  # [length, width / 2]
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(length, width).astype(np.float32)


def timestep_embedding(t: Array, width: int, period: float = 10_000.0) -> Array:
    """The embedding of diffusion time of DDPM (arXiv:2006.11239, published code), [B] -> float32 [B, width].

    Sines of t * period^(-i / (width / 2 - 1)) in the first half, cosines in the second: the last frequency is exactly
    1 / period. An odd width ends in a column of zeros. Raises ValueError for a width below 4.
    """
    half = width // 2
    if half < 2:
        raise ValueError(f"a timestep embedding needs a width of at least 4, not {width}")
    frequency = jnp.exp(jnp.arange(half, dtype=jnp.float32) * (-math.log(period) / (half - 1)))
    angle = t.astype(jnp.float32)[:, None] * frequency  # [B, width // 2]
    return jnp.pad(jnp.concatenate([jnp.sin(angle), jnp.cos(angle)], -1), ((0, 0), (0, width % 2)))
