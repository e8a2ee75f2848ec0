"""Data: one function for any source, transforms of dicts of arrays, streams whose batch i is a pure function of i.

    from aigc_jax.data import compose, load_data, load_text, scale
    data = load_data("digits", batch_size=64, train=scale(-1, 1), evaluate=scale(-1, 1), decode=images(-1, 1))
    batch = next(data.train(seed=0))                      # {"image": [64, 8, 8, 1] float32, "label": [64] int32}

    source               what it is
    `digits`             scikit-learn's handwritten digits, 8 x 8 x 1, 10 classes
    `patches[:SIZE]`     patches of scikit-learn's two photographs, 32 x 32 x 3
    `pydoc`              Python's own documentation, English text
    `blanks`             its lines without blanks, and where the blanks were
    `numbers`            numbers in figures and in words
    `adding[:STEPS]`     the adding problem, 200 steps
    `tones`              synthetic sound of four octaves, 8 kHz, whose entropy is known
    `toy:NAME`           densities of the plane: moons, circles, gaussians, checkerboard, roll, pinwheel
    `files:DIR[#NAME]`   a local folder: a benchmark with its `dataset.json`, or one's own pictures, texts, sounds or tables
    `tfds:NAME`          a TFDS data set prepared on this machine
    `synthetic`          arrays of the spec, without any source

Neither TensorFlow nor torch is imported, and TFDS and Grain only where `tfds:` is read.
"""

from __future__ import annotations

import importlib
from typing import Any

_LAZY = {
    "pipeline": ("Data", "Stream", "load_data", "images", "sounds", "lines"),
    "text": ("load_text",),
    "bits": ("load_bits",),
    "patches": ("load_patches",),
    "pixels": ("load_pixels",),
    "pairs": ("load_pairs",),
    "bpe": ("load_bpe_pairs",),
    "sources": ("open_source",),
    "manage": ("build", "show"),
    "transforms": (
        "compose",
        "scale",
        "to_unit",
        "normalize",
        "binarize",
        "BINARIZED",
        "quantize",
        "block_means",
        "dequantize",
        "upper_bits",
        "one_hot",
        "window",
        "repeated",
    ),
    "pictures": ("resize", "resize_short", "crop", "center_crop", "random_resized_crop", "flip_lr", "sized"),
    "augment": ("color_jitter", "grayscale", "gaussian_blur", "moco_v2", "two_views"),
    "randaugment": ("rand_augment",),
    "erasing": ("random_erasing",),
    "labelled": ("labelled_images",),
    "recordings": ("load_recordings",),
    "tokenizers": ("Tokenizer", "make_tokenizer", "tokenize"),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'aigc_jax.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aigc_jax.data.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
