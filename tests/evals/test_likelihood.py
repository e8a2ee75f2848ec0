"""Evaluators over a split: every example once, padding never; bounds and normalised energies are their formulas."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.evals.likelihood import average, enumerated, importance_bound, normalised, pixel_log_odds
from aigc_jax.probability.mcmc import AIS

IMAGES = np.arange(10, dtype=np.float32).reshape(5, 2)


def run_of(images=IMAGES, batch=3):
    """A run whose evaluation split is `images`, in padded batches; the padding is NaN, as it may be anything."""

    def evaluate(split=None):
        rows = images if split is None else 1 - images
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            padded = np.full((batch, images.shape[1]), np.nan, np.float32)
            padded[: len(part)] = part
            yield {"image": padded, "mask": (np.arange(batch) < len(part)).astype(np.float32)}

    return SimpleNamespace(state=jnp.float32(2.0), key=jax.random.key(0), data=SimpleNamespace(evaluate=evaluate))


def test_average_counts_every_example_once_and_no_padding():
    assert average(run_of(), lambda state, batch, key: state * batch["image"][:, 0]) == pytest.approx(2 * 4)
    assert average(run_of(), lambda state, batch, key: batch["image"][:, 1], split="train") == pytest.approx(1 - 5)


def test_every_batch_of_an_average_has_a_key_of_its_own():
    draws = []

    def per_example(state, batch, key):
        jax.debug.callback(lambda value: draws.append(float(value)), jax.random.uniform(key))
        return batch["image"][:, 0]

    average(run_of(), per_example)
    jax.effects_barrier()
    assert len(set(draws)) == 2


def test_enumerated_is_the_sum_and_the_entropy_of_independent_bits():
    logits = jnp.array([0.3, -1.0, 2.0, 0.0])

    def evaluate(state, batch, key):  # twice too much mass
        return {"nll": jnp.sum(jax.nn.softplus(logits) - batch["x"] * logits, 1) - jnp.log(state)}

    found = enumerated(evaluate, 4)(run_of())
    p = np.asarray(jax.nn.sigmoid(logits), np.float64)
    entropy = -np.sum(p * np.log(p) + (1 - p) * np.log(1 - p))
    assert found["total_probability"] == pytest.approx(2, rel=1e-5)
    assert found["entropy"] == pytest.approx(2 * entropy - 2 * np.log(2), rel=1e-5)  # sum 2 p (-log 2 p)
    with pytest.raises(ValueError, match="21 bits have too many states"):
        enumerated(evaluate, 21)


def test_importance_bound_is_the_log_of_the_mean_weight():
    def log_weights(state, batch, key, k):
        return jax.random.normal(key, (k, 1)) + batch["image"][:, 0]

    run = run_of()
    keys = [jax.random.split(jax.random.fold_in(run.key, index), 3) for index in range(2)]
    noise = [np.concatenate([jax.random.normal(key, (4, 1)) for key in batch]) for batch in keys]
    mean_weight = [np.log(np.mean(np.exp(n))) for n in noise]
    expected = -(np.mean(IMAGES[:, 0]) + (3 * mean_weight[0] + 2 * mean_weight[1]) / 5)
    for most in (4, 5):  # five draws at once do not divide twelve: four do
        value = importance_bound(log_weights, samples=12, most=most)(run)
        assert value == {"nats": pytest.approx(expected, rel=1e-5)}
    with pytest.raises(ValueError, match="at least one sample, not 0"):
        importance_bound(log_weights, samples=0)


def test_normalised_adds_log_z_and_states_its_interval():
    estimate = AIS(jnp.float32(7.0), jnp.float32(0.1), jnp.zeros(2), jnp.zeros(2))
    values = normalised(lambda state, batch, key: batch["image"][:, 0], lambda run: estimate)(run_of())
    assert values["nats"] == pytest.approx(4 + 7) and values["log_z"] == pytest.approx(7)
    np.testing.assert_allclose([values["log_z_low"], values["log_z_high"]], 7 + np.log([0.7, 1.3]), rtol=1e-6)


def test_pixel_log_odds_are_those_of_the_smoothed_means():
    bits = np.array([[1, 0], [0, 0], [0, 0], [1, 0], [1, 0]], np.float32)
    odds = pixel_log_odds(run_of(1 - bits))  # the split "train" of this run is the complement: bits
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), [3.5 / 6, 0.5 / 6], rtol=1e-6)
