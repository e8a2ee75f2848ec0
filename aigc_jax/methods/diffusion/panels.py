"""Panels of diffusion runs: x_t on its way from noise to image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from aigc_jax.core import Batch, TrainState
from aigc_jax.evals.pictures import tiles
from aigc_jax.methods.diffusion.ddpm import predictor
from aigc_jax.methods.diffusion.samplers import Clip, Steps, trajectory
from aigc_jax.networks.unet import UNet

Panel = Callable[[Any], np.ndarray]


def denoising_strip(
    net: UNet, steps: Steps, guidance: float = 1.0, clip: Clip = "x0", examples: int = 6, moments: int = 11
) -> Panel:
    """One example a row: x_t at `moments` steps of the sampler, from noise on the left to the sample.

    They are closer to each other towards the end (squares of equal distances): for most of the way x_t is noise to the eye.
    """

    @jax.jit
    def path(state: TrainState, batch: Batch, key: Array) -> Array:
        key_start, key_steps = jax.random.split(key)
        denoise = predictor(net, state.memory["ema"], batch.get("label"), guidance)
        start = jax.random.normal(key_start, batch["image"].shape)
        return trajectory(steps, denoise, start, key_steps, clip)  # [S + 1, B, H, W, C]

    def panel(run: Any) -> np.ndarray:
        x = np.asarray(path(run.state, run.condition(examples), run.key))
        last = len(x) - 1
        chosen = x[last - (np.linspace(last**0.5, 0, moments) ** 2).round().astype(int)]  # [moments, B, H, W, C]
        return tiles(np.stack([run.data.decode(each) for each in chosen], axis=1))

    return panel
