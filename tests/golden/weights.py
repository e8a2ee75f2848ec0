"""Weights by formula, so that a reference and a test fill large networks with equal numbers without storing them.

NumPy alone: the scripts beside this fill torch's modules, the tests ours. Shapes are those of torch: (O, I, H, W), (O, I).
"""

from __future__ import annotations

import math
import zlib

import numpy as np

KINDS = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def fingerprint(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of the published fingerprints: a function of its kind (a key of KINDS) and shape. Kernels are float32."""
    j = np.arange(1, shape[0] + 1)
    if kind != "kernel":
        return {
            "scale": 1 + 0.1 * np.sin(j),
            "bias": 0.1 * np.cos(j),
            "mean": 0.1 * np.sin(2 * j),
            "var": 1 + 0.3 * np.cos(j),
        }[kind]
    phases = np.arange(3 * 1009) % 1009
    sines = (np.sin(2 * np.pi * phases / 1009) * math.sqrt(2 / math.prod(shape[1:]))).astype(np.float32)
    first, second, *space = np.indices(shape, sparse=True, dtype=np.int32)
    phase = 37 * (first + 1) % 1009 * (second % 1009 + 1) % 1009
    for factor, index in zip((131, 211), space):
        phase = phase + factor * index % 1009
    return sines[phase]


def picture(size: int) -> np.ndarray:
    """The image of the fingerprints, float64 [1, size, size, 3]."""
    h, w, c = np.indices((size, size, 3), sparse=True)
    return np.sin(2 * np.pi * (((c + 1) * (7 * h + 13 * w + 1)) % 101) / 101)[None]


def images(count: int, height: int, width: int, factor: float = 1.0) -> np.ndarray:
    """Pictures of large squares of random colours, float32 [count, 3, height, width], equal wherever they are made."""
    side = -(-max(height, width) // 9)
    seed = np.random.default_rng(0).random((count, 3, 9, 9), np.float32)
    whole = (factor * (3.4 * seed - 1.7)).repeat(side, 2).repeat(side, 3)  # deviation 1
    return whole[:, :, :height, :width]


def packed(mean: np.ndarray, var: np.ndarray) -> np.ndarray:
    """Statistics of a norm, rounded so that they take two bytes for a channel, int8 [2, C]: variances to a power of 2,
    1/128 or more, means to a multiple of a quarter of the deviation."""
    power = np.round(np.log2(np.maximum(var, 1 / 128)))
    return np.stack([np.round(4 * mean / np.sqrt(2**power)), power]).clip(-127, 127).astype(np.int8)


def unpacked(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of what `packed` gave, float32."""
    quarters, power = codes.astype(np.float64)
    return (quarters / 4 * np.sqrt(2**power)).astype(np.float32), (2**power).astype(np.float32)


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight or bias of torch's name `name`: uniform numbers seeded by the name, float32.

    Kernels have the deviation of He's initialisation, scales lie in [0.5, 1.5], biases in [-0.3, 0.3].
    """
    x = np.random.default_rng(zlib.crc32(name.encode())).random(shape)
    if name.endswith("bias"):
        return (0.6 * x - 0.3).astype(np.float32)
    if len(shape) == 1:
        return (0.5 + x).astype(np.float32)
    return ((2 * x - 1) * math.sqrt(6 / math.prod(shape[1:]))).astype(np.float32)
