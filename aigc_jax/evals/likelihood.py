"""Test log-likelihood where it is no plain per-example metric: importance-weighted bounds, unnormalised densities.

An evaluator takes a run and gives {metric: float}. Numbers are nats per example, lower is better.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.core import Batch, TrainState
from aigc_jax.evals import Evaluator, name_of
from aigc_jax.probability.distributions import log_mean_exp
from aigc_jax.probability.enumeration import check_enumerable, log_sum_over_states
from aigc_jax.probability.mcmc import AIS

PerExample = Callable[[TrainState, Batch, Array], Array]  # (state, batch, key) -> [B]


def average(run: Any, per_example: PerExample, split: str | None = None) -> float:
    """The mean over a split (None: the evaluation split), every example once and padding left out.

    Each batch has a key of its own, folded from the run's.
    """
    compiled = jax.jit(per_example)
    total, weight = 0.0, 0.0
    for index, batch in enumerate(run.data.evaluate(split)):
        values = np.asarray(compiled(run.state, batch, jax.random.fold_in(run.key, index)), np.float64)
        mask = np.asarray(batch["mask"], np.float64)
        total += float(np.sum(values * mask, where=mask > 0))  # a padded row may hold anything
        weight += float(np.sum(mask))
    return total / weight


def importance_bound(
    log_weights: Callable[[TrainState, Batch, Array, int], Array],
    samples: int = 500,
    most: int = 25,
    split: str | None = None,
) -> Evaluator:
    """-E log (1/k) sum_i p(x, z_i) / q(z_i|x), z_i ~ q(z|x), k = `samples`: minus the IWAE bound (arXiv:1509.00519).

    It lies between minus the ELBO (k = 1) and -log p(x), and falls with k.

    log_weights: (state, batch, key, k) -> [k, B].
    most:        draws of a batch held in memory at once; fewer if it does not divide `samples`.

    Raises ValueError for less than one sample.
    """
    if samples < 1:
        raise ValueError(f"the bound takes at least one sample, not {samples}")
    chunk = max(n for n in range(1, most + 1) if samples % n == 0)

    def bound(state: TrainState, batch: Batch, key: Array) -> Array:
        keys = jax.random.split(key, samples // chunk)
        chunks = jax.lax.map(lambda k: log_weights(state, batch, k, chunk), keys)  # [samples / chunk, chunk, B]
        return -log_mean_exp(chunks.reshape(samples, -1))

    protocol = f"importance-weighted bound with {samples} draws an example, on {name_of(split)}"
    return Evaluator(lambda run: {"nats": average(run, bound, split)}, protocol)


def normalised(
    energy: PerExample, log_z: Callable[[Any], AIS], split: str | None = None, how: str = "annealed importance sampling"
) -> Evaluator:
    """-E log p(x) = E energy(x) + log Z, with Z estimated, and log Z with its interval of three standard errors.

    energy: (state, batch, key) -> [B], minus the logarithm of the unnormalised density.
    log_z:  run -> estimate by annealed importance sampling, which is low on average: so is the number of nats.
    how:    how log Z is estimated, in words, for the protocol.
    """

    def measure(run: Any) -> dict[str, float]:
        estimate = log_z(run)
        low, high = estimate.interval()
        nats = average(run, energy, split) + float(estimate.log_z)
        return {"nats": nats, "log_z": float(estimate.log_z), "log_z_low": float(low), "log_z_high": float(high)}

    return Evaluator(measure, f"energy on {name_of(split)} + log Z by {how}; ends of log Z at three standard errors")


def enumerated(evaluate: Callable[[TrainState, Batch, Array], dict[str, Array]], units: int) -> Evaluator:
    """The sum of p(x) over every x of so many bits, which is 1 for a model that is normalised, and its entropy in nats.

    evaluate: of a method over tables {"x": [B, units]} that gives `nll`, -log p(x).

    Raises ValueError for more than 20 bits.
    """
    check_enumerable(units)

    def sums(state: TrainState, key: Array) -> tuple[Array, Array]:
        def log_p(x: Array) -> Array:
            return -evaluate(state, {"x": x}, key)["nll"]

        def log_terms(x: Array) -> Array:  # of the entropy: p (-log p) >= 0
            p = log_p(x)
            return jnp.where(jnp.isneginf(p), p, p + jnp.log(jnp.maximum(-p, 1e-30)))

        return jnp.exp(log_sum_over_states(log_p, units)), jnp.exp(log_sum_over_states(log_terms, units))

    def measure(run: Any) -> dict[str, float]:
        total, entropy = jax.jit(sums)(run.state, run.key)
        return {"total_probability": float(total), "entropy": float(entropy)}

    return Evaluator(measure, f"sums over all 2^{units} states, in float32")


def pixel_log_odds(run: Any, split: str = "train") -> np.ndarray:
    """log-odds of each bit over a split, with rates (n_1 + 1/2) / (N + 1): the model of independent pixels, [D]."""
    ones, count = 0.0, 0.0
    for batch in run.data.evaluate(split):
        real = np.asarray(batch["mask"]) > 0
        images = np.asarray(batch["image"], np.float64)[real]
        ones, count = ones + images.reshape(len(images), -1).sum(axis=0), count + len(images)
    rate = (ones + 0.5) / (count + 1)
    return np.log(rate) - np.log1p(-rate)
