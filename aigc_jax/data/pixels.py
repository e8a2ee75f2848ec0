"""Pixels for models of whole numbers: pictures as bits or grey levels, through one function."""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.data.palettes import from_palette, load_palette, to_palette
from aigc_jax.data.pipeline import Data, images, load_data
from aigc_jax.data.transforms import BINARIZED, binarize, block_means, compose, quantize


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
    palette: str = "",
) -> Data:
    """{"image": [B, size, size, colours]} of 0 .. levels - 1: float32 where there are two, int32 of more; and {"label": [B]}.

    levels:  2 makes bits, see `aigc_jax.data.binarize` for `how`; more are even steps of grey, 256 those of the source.
    block:   pictures of block * size pixels a side are reduced first: each block x block to its mean.
    classes: of the labels; 0 takes none along.
    palette: pictures in colour become indices of `levels` colours, one channel; see `aigc_jax.data.palettes`. "" keeps colours.

    Draws are decoded as the pictures are. Raises ValueError below two levels, and for blocks of pictures with a palette.
    """
    if palette and block > 1:
        raise ValueError(f"a palette is for pictures as they are, not for means of blocks of {block}")
    table = load_palette(palette, levels) if palette else None
    to_model = to_palette(table) if table else binarize(how) if levels == 2 else quantize(levels)
    both = compose(block_means(block), to_model) if block > 1 else to_model
    kind = ("float32", "binary") if levels == 2 else ("int32", levels)
    spec: dict[str, Any] = {"image": ((size, size, 1 if table else colours), *kind)}
    spec |= {"label": ((), "int32", classes)} if classes else {}
    decode = from_palette(table) if table else images(0, levels - 1)
    channels = 3 if table else None
    return load_data(
        source,
        batch_size=batch_size,
        spec=spec,
        train=both,
        evaluate=both,
        decode=decode,
        channels=channels,
        protocol=BINARIZED[how] if levels == 2 else "",
    )
