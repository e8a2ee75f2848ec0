"""Contrastive divergence for the restricted Boltzmann machine, persistent: PCD (Tieleman 2008).

The gradient of -log p(v) is dF(v)/dtheta - E_p[dF/dtheta]. The expectation is that over the states v_k of Markov
chains, so that the loss is

    mean F(v_0) - mean F(stop_gradient(v_k))

whose gradient is minus the paper's <v h>_data - <v h>_model, with h replaced by its probability given v: the same
mean, less variance. The chains are never reset: each step moves them by k Gibbs sweeps from where the step before left
them, and since the parameters move little in between they stay near equilibrium. They lie in `memory`, hence in every
checkpoint. The loss is a difference of two energies; it is no likelihood, and does not fall as the model learns.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Method, TrainState, descend, new_state
from aigc_jax.methods.energy.rbm import (
    free_energy,
    gibbs_kernel,
    hidden_logits,
    init_rbm,
    pseudo_log_likelihood,
    visible_logits,
)
from aigc_jax.probability.mcmc import iterate


def pcd(
    tx: optax.GradientTransformation,
    *,
    hidden: int = 500,
    chains: int = 100,
    sweeps: int = 1,
    sample_sweeps: int = 1000,
    scale: float = 0.01,
) -> Method:
    """The method over batches {"image": [B, ...]} of zeros and ones, or of probabilities of one.

    hidden:        hidden units.
    chains:        persistent chains, started from fair coins.
    sweeps:        Gibbs sweeps a step, the k of PCD-k.
    sample_sweeps: further sweeps of the chains before they are shown.
    scale:         standard deviation of the first weights; biases start at zero.

    `evaluate`: F(v), and an unbiased estimate of the pseudo-log-likelihood sum_i log p(v_i|v_-i), in nats.
    `sample`: p(v = 1|h) at the end of the chains; more examples than chains share them in turn.
    `encode`: p(h = 1|v), [B, H].
    """

    def init(key: Array, batch: Batch) -> TrainState:
        key_weights, key_chains = jax.random.split(key)
        visible = flat(batch["image"]).shape[-1]
        start = jax.random.bernoulli(key_chains, 0.5, (chains, visible)).astype(jnp.float32)
        return new_state({"rbm": init_rbm(key_weights, visible, hidden, scale)}, tx, {"chains": start})

    def loss(params, memory, batch, key):
        kernel = gibbs_kernel(jax.lax.stop_gradient(params["rbm"]))  # the gradient does not pass through the chains
        v_k = iterate(kernel, key, memory["chains"], sweeps)
        data = jnp.mean(free_energy(params["rbm"], flat(batch["image"])))
        model = jnp.mean(free_energy(params["rbm"], v_k))
        return data - model, ({**memory, "chains": v_k}, {"free_energy": data, "chain_free_energy": model})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        rbm, v = state.params["rbm"], flat(batch["image"])
        return {"free_energy": free_energy(rbm, v), "pseudo_log_likelihood": pseudo_log_likelihood(rbm, v, key)}

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        rbm, shape = state.params["rbm"], batch["image"].shape
        key_hidden, key_sweeps = jax.random.split(key)
        start = state.memory["chains"][jnp.arange(shape[0]) % chains]
        v = iterate(gibbs_kernel(rbm), key_sweeps, start, sample_sweeps)
        h = jax.random.bernoulli(key_hidden, jax.nn.sigmoid(hidden_logits(rbm, v))).astype(v.dtype)
        return jax.nn.sigmoid(visible_logits(rbm, h)).reshape(shape)

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        return jax.nn.sigmoid(hidden_logits(state.params["rbm"], flat(batch["image"])))

    return Method(init, descend(loss, tx), evaluate, sample, encode)


def flat(x: Array) -> Array:
    """[B, ...] -> [B, D]."""
    return x.reshape(x.shape[0], -1)
