"""Recordings for models of samples: one rate, one channel, pieces of one length, and how much of each is no padding."""

from __future__ import annotations

import functools
import math

import numpy as np

from aigc_jax.data.pipeline import Data, Spec, load_data, sounds
from aigc_jax.data.sources import open_source
from aigc_jax.data.tables import column
from aigc_jax.data.transforms import Batch, Transform, compose, window
from aigc_jax.errors import UserError

NAMES = {"speech": "wave", "audio": "wave", "speaker": "label"}
"""What TFDS calls these columns, where a source has no `wave` or `label`."""


def load_recordings(
    source: str,
    *,
    batch_size: int,
    length: int,
    rate: int,
    classes: int = 0,
    resample: bool = False,
    silence: int = 0,
) -> Data:
    """{"wave": float32 [B, length] in [-1, 1], "length": int32 [B]}, and {"label": int32 [B]} where there are classes.

    length:   samples of a piece. Training cuts it anywhere, evaluation at the start; shorter recordings are padded by zeros,
              and `length` of the batch says how many samples are real.
    rate:     in Hz, of what the model reads. Files of another rate, or of several channels, are converted with `resample` and
              refused without it.
    silence:  zeros after the end of a recording that training counts as real: a model then learns what follows a word.

    Raises ValueError for sizes below 1; what is wrong with a recording (its rate, its channels, no samples) is a UserError that
    names its file.
    """
    if min(length, rate) < 1 or silence < 0:
        raise ValueError(f"length and rate are at least 1, silence at least 0: not {length}, {rate} and {silence}")
    spec: Spec = {"wave": ((length,), "float32"), "length": ((), "int32", length + 1)}
    spec = {**spec, "label": ((), "int32", classes)} if classes else spec
    read = compose(_renamed, at_rate(rate, resample, source))
    return load_data(
        source,
        batch_size=batch_size,
        spec=spec,
        train=compose(read, window(length, silence=silence)),
        evaluate=compose(read, window(length, random=False)),
        decode=sounds(rate),
    )


def at_rate(rate: int, resample: bool, source: str = "") -> Transform:
    """`wave` at a rate and of one channel, told by the columns `rate` and `channels`, else by what the source says of itself.

    Where nothing tells, they are taken to be so. Resampling is polyphase (scipy.signal.resample_poly). Raises UserError for
    what is not so, unless it may `resample`.
    """

    @functools.cache
    def usual() -> int:
        return int(open_source(source, None).info.get("rate", rate)) if source else rate

    def converted(batch: Batch, rng: np.random.Generator) -> Batch:
        waves = batch["wave"]
        rates = batch["rate"] if "rate" in batch else np.full(len(waves), usual())
        channels = batch.get("channels", np.ones(len(waves), int))
        other = np.flatnonzero((rates != rate) | (channels != 1))
        if not other.size:
            return batch
        if not resample:
            found, many = int(rates[other[0]]), int(channels[other[0]])
            raise UserError(f"a recording at {found} Hz of {many} channel{'s' * (many > 1)}, the experiment takes {rate} Hz "
                            "and 1: set its knob resample, or convert the file")  # fmt: skip
        return {**batch, "wave": column([_resampled(wave, int(one), rate) for wave, one in zip(waves, rates)])}

    return converted


def _resampled(wave: np.ndarray, found: int, wanted: int) -> np.ndarray:
    """Floats, also where the rate is right: a batch is of one kind."""
    floats = wave / np.float32(2**15) if np.issubdtype(wave.dtype, np.integer) else wave
    if found == wanted or not len(wave):
        return floats
    from scipy.signal import resample_poly

    common = math.gcd(found, wanted)
    return resample_poly(floats, wanted // common, found // common).astype(np.float32)


def _renamed(batch: Batch, rng: np.random.Generator) -> Batch:
    return {**{NAMES[name]: x for name, x in batch.items() if name in NAMES}, **batch}
