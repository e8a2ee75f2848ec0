"""mu-law: an amplitude in [-1, 1] as one of a few codes, finer near zero (ITU-T G.711; WaveNet, arXiv:1609.03499, section 2.2).

f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu),   code = floor((f(x) + 1) / 2 mu + 1/2),   mu = levels - 1

A code stands for the amplitudes whose f lies within half a step of its own. JAX arrays stay JAX arrays; all else is NumPy's.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def encode(x: Any, levels: int = 256) -> Any:
    """Amplitudes, clipped to [-1, 1] -> codes 0 .. levels - 1, int32."""
    xp, mu = _namespace(x), levels - 1
    x = xp.clip(xp.asarray(x), -1, 1)
    f = xp.sign(x) * xp.log1p(mu * xp.abs(x)) / np.log(levels).astype(x.dtype)
    return xp.floor((f + 1) / 2 * mu + 0.5).astype(np.int32)


def decode(code: Any, levels: int = 256, dtype: Any = np.float32) -> Any:
    """Codes -> the amplitude in the middle of each: encode(decode(k)) = k. Codes between two give the bound between them."""
    f = companded(code, levels, dtype)
    xp, mu = _namespace(f), levels - 1
    return xp.sign(f) * xp.expm1(xp.abs(f) * np.log(levels).astype(dtype)) / mu


def companded(code: Any, levels: int = 256, dtype: Any = np.float32) -> Any:
    """Codes -> f in [-1, 1]: even steps, which a network takes better than amplitudes."""
    return 2 * _namespace(code).asarray(code, dtype) / (levels - 1) - 1


def bounds(code: np.ndarray, levels: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest amplitude of codes, float64; infinite at the ends, so that the codes part the whole line."""
    low = np.where(code > 0, decode(code - 0.5, levels, np.float64), -np.inf)
    return low, np.where(code < levels - 1, decode(code + 0.5, levels, np.float64), np.inf)


def _namespace(x: Any) -> Any:
    return jnp if isinstance(x, jax.Array) else np
