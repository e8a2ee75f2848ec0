"""A small experiment with everything a method may carry: parameters, an average in memory, noise from the key, a sampler."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.core import Method, chain, descend, new_state, track
from aigc_jax.data import load_data
from aigc_jax.experiment import Experiment
from aigc_jax.training import loop
from aigc_jax.training.sharding import make_mesh

BATCH = 16


def autoencoder(spoil=lambda loss, batch: loss) -> Method:
    """A denoising autoencoder of 8 x 8 images. spoil: (loss, batch) -> loss, to make a run fail on purpose."""
    net = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(64)])
    tx = optax.adam(1e-3)

    def flat(batch):
        return batch["image"].reshape(-1, 64)

    def loss(params, memory, batch, key):
        x = flat(batch)
        y = net.apply({"params": params["net"]}, x + 0.1 * jax.random.normal(key, x.shape))
        return spoil(jnp.mean((y - x) ** 2), batch), (memory, {})

    def init(key, batch):
        params = {"net": net.init(key, flat(batch))["params"]}
        return new_state(params, tx, {"ema": params["net"]})

    def evaluate(state, batch, key):
        y = net.apply({"params": state.memory["ema"]}, flat(batch))
        return {"mse": jnp.mean((y - flat(batch)) ** 2, axis=-1)}

    def sample(state, batch, key):
        return jax.random.uniform(key, batch["image"].shape)

    return Method(init, chain(descend(loss, tx), track("ema", lambda p: p["net"], 0.9)), evaluate, sample)


@pytest.fixture
def tiny():
    """(spoil) -> the small experiment on synthetic data, 40 steps."""

    def build(**options) -> Experiment:
        data = load_data("synthetic", batch_size=BATCH, spec={"image": ((8, 8, 1), "float32")},
                         decode=lambda x: (np.clip(x, 0, 1) * 255).astype(np.uint8))  # fmt: skip
        return Experiment(autoencoder(**options), data, steps=40)

    return build


@pytest.fixture
def train(no_report):
    """The trainer on one device, in silence, with one checkpoint at the end and no page."""
    return functools.partial(loop.train, mesh=make_mesh(devices=jax.devices()[:1]), quiet=True, save_every=1000)
