"""Pixels for models of whole numbers: pictures as bits or grey levels, through one function."""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.data.pipeline import Data, images, load_data
from aigc_jax.data.transforms import binarize, block_means, compose, quantize


def load_pixels(
    source: str,
    *,
    batch_size: int,
    size: int,
    colours: int = 1,
    levels: int = 256,
    how: Literal["dynamic", "threshold"] = "dynamic",
    block: int = 1,
    classes: int = 0,
) -> Data:
    """{"image": [B, size, size, colours]} of 0 .. levels - 1: float32 where there are two, int32 of more; and {"label": [B]}.

    levels:  2 makes bits, see `aigc_jax.data.binarize` for `how`; more are even steps of grey, 256 those of the source.
    block:   pictures of block * size pixels a side are reduced first: each block x block to its mean.
    classes: of the labels; 0 takes none along.

    Draws are decoded as the pictures are. Raises ValueError below two levels.
    """
    to_model = binarize(how) if levels == 2 else quantize(levels)
    both = compose(block_means(block), to_model) if block > 1 else to_model
    kind = ("float32", "binary") if levels == 2 else ("int32", levels)
    spec: dict[str, Any] = {"image": ((size, size, colours), *kind)}
    spec |= {"label": ((), "int32", classes)} if classes else {}
    decode = images(0, levels - 1)
    return load_data(source, batch_size=batch_size, spec=spec, train=both, evaluate=both, decode=decode)
