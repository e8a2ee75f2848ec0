"""A prior over codes: what it sees, that it leaves the first stage as it is, and that samples are the pictures of its draws."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import aigc_jax as aigc
from aigc_jax.core import Method, descend, new_state
from aigc_jax.errors import UserError
from aigc_jax.methods.likelihood.two_stage import two_stage
from aigc_jax.methods.likelihood.vqvae import decoded, indices, vqvae
from aigc_jax.networks.vqvae import Decoder, Encoder
from aigc_jax.training.checkpoint import flatten
from aigc_jax.training.describe import state_shapes
from aigc_jax.training.run import open_experiment

CODES, SMALL = 5, dict(width=6, residual=3, blocks=1, levels=1)
ENCODER, DECODER = Encoder(4, **SMALL), Decoder(1, **SMALL)
BATCH = {"image": jax.random.normal(jax.random.key(0), (16, 4, 4, 1)), "label": jnp.arange(16) % 3}
FIRST = vqvae(ENCODER, DECODER, optax.sgd(0.1), codes=CODES)


def table(tx):
    """The prior of independent places with the same probabilities, which it learns: a model whose optimum is known."""

    def init(key, batch):
        assert batch["image"].shape[1:] == (2, 2, 1) and "label" in batch
        return new_state({"logits": jnp.zeros(CODES)}, tx)

    def nll(params, batch):
        chosen = jax.nn.log_softmax(params["logits"])[batch["image"].astype(jnp.int32)]
        return -jnp.sum(chosen, axis=(1, 2, 3))

    def sample(state, batch, key):
        return jax.random.categorical(key, state.params["logits"], shape=batch["image"].shape).astype(jnp.float32)

    step = descend(lambda params, memory, batch, key: (jnp.mean(nll(params, batch)), (memory, {})), tx)
    return Method(init, step, lambda state, batch, key: {"nll": nll(state.params, batch)}, sample)


def trained(method, steps):
    state, step = jax.jit(method.init)(jax.random.key(1), BATCH), jax.jit(method.step)
    metrics = {}
    for index in range(steps):
        state, metrics = step(state, BATCH, jax.random.key(index))
    return state, metrics


def test_a_prior_learns_how_often_codes_occur_and_the_first_stage_stays():
    method = two_stage(FIRST, table(optax.sgd(1.0)))
    begun, _ = trained(method, 0)
    state, metrics = trained(method, 60)
    jax.tree.map(np.testing.assert_array_equal, state.memory["vqvae"], begun.memory["vqvae"])
    held = state.memory["vqvae"]
    index = np.asarray(indices(ENCODER, held["params"], held["memory"], BATCH["image"]))
    share = np.bincount(index.reshape(-1), minlength=CODES) / index.size
    np.testing.assert_allclose(jax.nn.softmax(state.params["logits"]), share, atol=0.02)
    values = method.evaluate(state, BATCH, jax.random.key(0))
    entropy = -sum(p * np.log(p) for p in share if p)
    np.testing.assert_allclose(np.mean(values["codes_nll"]), 4 * entropy, rtol=0.02)
    assert values.keys() == {"error", "commitment", "squared_error", "codes_nll"} and set(metrics) == {
        "loss",
        "grad_norm",
    }


def test_samples_are_the_pictures_of_the_prior_s_draws():
    prior = table(optax.sgd(1.0))
    method = two_stage(FIRST, prior)
    state, _ = trained(method, 3)
    held, key = state.memory["vqvae"], jax.random.key(5)
    drawn = prior.sample(state, {"image": jnp.zeros((16, 2, 2, 1))}, key)[..., 0].astype(jnp.int32)
    expected = decoded(DECODER, held["params"], held["memory"], drawn)
    np.testing.assert_allclose(method.sample(state, BATCH, key), expected, rtol=1e-5, atol=1e-6)
    index = indices(ENCODER, held["params"], held["memory"], BATCH["image"])
    np.testing.assert_array_equal(
        method.encode(state, BATCH, key), held["memory"]["codebook"]["codes"][index].reshape(16, -1)
    )


def test_learnt_together_the_first_stage_trains_as_by_itself():
    """But for the prior's gradient, which does not reach it: one step of both against one of the first stage alone."""
    method = two_stage(FIRST, table(optax.sgd(1.0)), learn=True)
    begun, _ = trained(method, 0)
    state, metrics = trained(method, 1)
    alone = new_state(begun.params["vqvae"], optax.sgd(0.1), begun.memory["vqvae"])
    alone, by_itself = jax.jit(FIRST.step)(alone, BATCH, jax.random.key(7))  # it draws nothing
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.params["vqvae"], alone.params
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.memory["vqvae"], alone.memory
    )
    np.testing.assert_allclose(metrics["vqvae/loss"], by_itself["loss"], rtol=1e-5)
    assert metrics["prior/loss"] == pytest.approx(4 * np.log(CODES), rel=1e-5) and np.any(
        state.params["prior"]["logits"] != 0
    )


def test_stages_that_cannot_sample_are_refused():
    with pytest.raises(ValueError, match="the first stage encodes and samples, the prior samples"):
        two_stage(FIRST._replace(sample=None), table(optax.sgd(1.0)))


def a_run_folder(folder, experiment, **knobs):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"experiment": experiment, "preset": "laptop", "knobs": knobs}))
    return str(folder)


def test_the_prior_of_a_run_holds_all_of_its_first_stage(tmp_path):
    """What is grafted is what the run saved: the same names and shapes, of another size than the preset's."""
    folder = a_run_folder(tmp_path / "vqvae", "vqvae", data="synthetic", codes=7, code_width=3)
    prior = aigc.load("vqvae_prior", "laptop", vqvae=folder)
    saved, held = flatten(state_shapes(open_experiment(folder))), flatten(state_shapes(prior))
    prefix = "memory.vqvae."
    begun = {name.removeprefix(prefix): leaf.shape for name, leaf in held.items() if name.startswith(prefix)}
    assert begun and begun == {name: saved[name].shape for name in begun} and prior.grafts == {prefix[:-1]: folder}
    assert {name for name in saved if name.startswith(("params.", "memory."))} == begun.keys()
    assert {name.split(".")[1] for name in held if name.startswith("params.")} == {"net"}, "the prior alone is trained"
    assert prior.data.spec["image"].shape == (64, 8, 8, 1)


def test_folders_that_hold_no_first_stage_are_refused(tmp_path):
    with pytest.raises(UserError, match="no run folder"):
        aigc.load("vqvae_prior", "laptop", vqvae=str(tmp_path / "nothing"))
    with pytest.raises(UserError, match="holds a run of vae: the first stage is one of vqvae"):
        aigc.load("vqvae_prior", "laptop", vqvae=a_run_folder(tmp_path / "vae", "vae"))
