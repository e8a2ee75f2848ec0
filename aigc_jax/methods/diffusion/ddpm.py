"""DDPM: denoising diffusion probabilistic models (Ho, Jain and Abbeel 2020, arXiv:2006.11239).

A fixed chain adds noise to an image until nothing is left; a network learns to undo one step of it. Writing its mean
in terms of the noise makes the bound a weighted regression, and the paper drops the weights:

    L_simple = E || eps - eps_theta(sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, t) ||^2,  t uniform   eq. (14)

Sampling runs the chain backwards (algorithm 2, or a DDIM table over the same network), with the exponential moving
average of the weights, as does all evaluation. With classes the network is conditional, and a share of labels is
dropped in training so that one network also learns p(x): classifier-free guidance (Ho and Salimans 2022,
arXiv:2207.12598).

`schedule` has the formulas of the chain, `samplers` the way back, `bound` the bits per dimension.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, Metrics, Params, TrainState, chain, descend, new_state, track
from aigc_jax.methods.diffusion.bound import estimated_bound, full_bound
from aigc_jax.methods.diffusion.samplers import Clip, Denoise, Steps, ancestral, guided, sample
from aigc_jax.methods.diffusion.schedule import Schedule, Variance, q_sample
from aigc_jax.networks.unet import UNet


def ddpm(
    net: UNet,
    tx: optax.GradientTransformation,
    schedule: Schedule,
    *,
    ema: float = 0.9999,
    drop_label: float = 0.1,
    variance: Variance = "fixed_large",
    steps: Steps | None = None,
    guidance: float = 1.0,
    clip: Clip = "x0",
    bound_terms: int = 8,
) -> Method:
    """The method over batches {"image": [B, H, W, C] in [-1, 1]}, and {"label": [B]} where the network has classes.

    ema:         decay of the averaged weights, which alone are sampled and evaluated; memory["ema"].
    drop_label:  the share of labels that training replaces by "no class"; nothing for a network without classes.
    variance:    of the reverse steps, in the bound and in the default sampler.
    steps:       the sampler; None is ancestral sampling over all of `schedule`.
    guidance:    scale of classifier-free guidance; 1 is the conditional model.
    clip:        what the sampler does with x0_hat.
    bound_terms: terms of the bound that `evaluate` draws for its estimate of bits per dimension; L_0 is always there.

    `evaluate` gives {"mse", "bits_per_dim"}: L_simple at one random t an example, and an unbiased estimate of the
    bound.
    """
    steps = ancestral(schedule, variance) if steps is None else steps

    def init(key: Array, batch: Batch) -> TrainState:
        x = jnp.zeros((1, *batch["image"].shape[1:]))
        params = {"denoiser": net.init(key, x, jnp.zeros(1, jnp.int32))["params"]}
        return new_state(params, tx, {"ema": params["denoiser"]})

    def loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        key_noise, key_label, key_dropout = jax.random.split(key, 3)
        label = _label(net, batch)
        if label is not None and net.num_classes is not None:
            dropped = jax.random.bernoulli(key_label, drop_label, label.shape)
            label = jnp.where(dropped, net.num_classes, label)
        denoise = partial(_apply, net, params["denoiser"], label=label, train=True, rngs={"dropout": key_dropout})
        return jnp.mean(simple_loss(schedule, denoise, jnp.asarray(batch["image"]), key_noise)), (memory, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        key_mse, key_bound = jax.random.split(key)
        x = jnp.asarray(batch["image"])
        denoise = predictor(net, state.memory["ema"], _label(net, batch))
        bits = estimated_bound(schedule, denoise, x, key_bound, bound_terms, variance)
        return {"mse": simple_loss(schedule, denoise, x, key_mse), "bits_per_dim": bits}

    def generate(state: TrainState, batch: Batch, key: Array) -> Array:
        key_start, key_steps = jax.random.split(key)
        denoise = predictor(net, state.memory["ema"], _label(net, batch), guidance)
        start = jax.random.normal(key_start, batch["image"].shape)
        return sample(steps, denoise, start, key_steps, clip)

    step = chain(descend(loss, tx), track("ema", lambda params: params["denoiser"], ema))
    return Method(init, step, evaluate, generate)


def simple_loss(schedule: Schedule, denoise: Denoise, x0: Array, key: Array) -> Array:
    """L_simple [B], eq. (14), as a mean over the pixels of each example, at one uniform t for each."""
    key_t, key_noise = jax.random.split(key)
    t = jax.random.randint(key_t, (len(x0),), 0, schedule.steps)
    noise = jax.random.normal(key_noise, x0.shape, x0.dtype)
    eps = denoise(q_sample(schedule, x0, t, noise), jnp.asarray(schedule.timestep)[t])
    return jnp.mean((noise - eps) ** 2, axis=tuple(range(1, x0.ndim)))


def predictor(net: UNet, params: Params, label: Array | None = None, guidance: float = 1.0) -> Denoise:
    """The noise predictor of a set of weights; of a network with classes, for these labels [B] and this guidance."""
    if label is None or net.num_classes is None:
        return partial(_apply, net, params)
    return guided(partial(_apply, net, params), label, net.num_classes, guidance)


@dataclasses.dataclass(frozen=True)
class FullBound:
    """An evaluator: run -> the mean of every term of the full bound, {"prior", "denoising", "decoder", "bits_per_dim"}.

    images: how many of the evaluation split, from its start; None is all of them. The cost is one call of the network for
            each of them and each t.
    """

    net: UNet
    schedule: Schedule
    variance: Variance = "fixed_large"
    images: int | None = None

    @property
    def protocol(self) -> str:
        of = "all of the evaluation split" if self.images is None else f"the first {self.images} evaluation examples"
        return f"variational bound in bits per dimension, one draw at each of {self.schedule.steps} t, over {of}"

    def __call__(self, run: Any) -> dict[str, float]:
        @jax.jit
        def terms(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
            denoise = predictor(self.net, state.memory["ema"], _label(self.net, batch))
            return full_bound(self.schedule, denoise, jnp.asarray(batch["image"]), key, self.variance)

        sums, count = {}, 0.0
        for index, batch in enumerate(run.data.evaluate()):
            room = None if self.images is None else int(self.images - count)
            if room == 0:
                break
            batch = {name: value[:room] for name, value in batch.items()}
            values = terms(run.state, batch, jax.random.fold_in(run.key, index))
            kept = np.asarray(batch["mask"]) > 0
            sums = {
                name: sums.get(name, 0.0) + float(np.sum(np.asarray(value)[kept])) for name, value in values.items()
            }
            count += int(kept.sum())
        return {name: value / count for name, value in sums.items()}


def _label(net: UNet, batch: Batch) -> Array | None:
    return None if net.num_classes is None else jnp.asarray(batch["label"])


def _apply(net: UNet, params: Params, x: Array, t: Array, label: Array | None = None, **options: Any) -> Any:
    return net.apply({"params": params}, x, t, label, **options)
