"""Samples as files: a grid of images, lines of text, or sounds end to end."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np


def save_samples(stem: Path, samples: Any) -> Path:
    """Writes decoded samples: uint8 [N, H, W, C] as .png, a list of strings as .txt, (rate, [N, T]) as .wav.

    stem: where to; the suffix is added where the name does not end in it already.

    Returns the path written.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(samples, tuple):
        return _save_wav(_ending_in(".wav", stem), *samples)
    if isinstance(samples, list):
        path = _ending_in(".txt", stem)
        path.write_text(
            "\n\n".join(f"--- {index}\n{text}" for index, text in enumerate(samples)) + "\n", encoding="utf-8"
        )
        return path
    from PIL import Image

    path = _ending_in(".png", stem)
    Image.fromarray(enlarge(grid(np.asarray(samples)))).save(path)
    return path


def grid(images: np.ndarray, columns: int | None = None, gap: int = 1) -> np.ndarray:
    """uint8 [N, H, W, C] -> one picture [rows (H + gap) + gap, columns (W + gap) + gap, 3], row by row, on white."""
    n, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    canvas = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for index, image in enumerate(images if channels == 3 else np.repeat(images[..., :1], 3, axis=-1)):
        y, x = (gap + place * (size + gap) for place, size in zip(divmod(index, columns), (height, width)))
        canvas[y : y + height, x : x + width] = image
    return canvas


def enlarge(picture: np.ndarray, least: int = 320) -> np.ndarray:
    """Repeats pixels until the shorter side has at least `least`: an 8 x 8 digit is looked at, not only stored."""
    factor = max(1, -(-least // min(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _ending_in(suffix: str, stem: Path) -> Path:
    """Not `with_suffix`, which makes `guidance_1.png` of `guidance_1.5`."""
    return stem if stem.suffix == suffix else stem.with_name(stem.name + suffix)


def _save_wav(path: Path, rate: int, sounds: np.ndarray) -> Path:
    """Sounds in [-1, 1] one after another with a quarter of a second of silence between, 16 bit mono."""
    silence = np.zeros((len(sounds), rate // 4), np.float32)
    signal = np.concatenate([np.asarray(sounds, np.float32), silence], axis=1).reshape(-1)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(signal, -1, 1) * 32767).astype("<i2").tobytes())
    return path
