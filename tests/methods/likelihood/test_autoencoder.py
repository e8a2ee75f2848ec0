"""The autoencoder where its optimum is known: principal components, and the linear filter of Wiener."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.linalg import subspace_angles

from aigc_jax.core import new_state
from aigc_jax.methods.likelihood.autoencoder import autoencoder, corruption, reconstructions, sparsity
from aigc_jax.networks.mlp import MLP


def of_covariance(covariance, n, seed=0):
    """n rows of mean 0 whose covariance is exactly this one."""
    x = np.random.default_rng(seed).normal(size=(n, len(covariance)))
    x -= x.mean(0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / n)).T
    return x @ np.linalg.cholesky(covariance).T


def test_a_linear_one_spans_the_principal_components():
    """Its loss is the sum of the eigenvalues left out, its decoder's columns span those kept (float64)."""
    with jax.enable_x64(True):
        eigenvalues = np.array([4.0, 2.0, 0.5, 0.3, 0.1])
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0]
        x = jnp.asarray(of_covariance(turn * eigenvalues @ turn.T, 40) + np.linspace(-1, 1, 5))  # biases take the mean
        steps, tx = 2_000, optax.sgd(0.02, momentum=0.9)
        method = autoencoder(MLP((), 2), MLP((), 5), tx)
        params = method.init(jax.random.key(0), {"image": x}).params
        state = new_state(jax.tree.map(lambda p: p.astype(jnp.float64), params), tx)

        @jax.jit
        def train(state):
            def body(i, state):
                return method.step(state, {"image": x}, jax.random.key(0))[0]

            return jax.lax.fori_loop(0, steps, body, state)

        state = train(state)
        error = method.evaluate(state, {"image": x}, jax.random.key(0))["squared_error"]
        np.testing.assert_allclose(np.mean(error), eigenvalues[2:].sum(), rtol=1e-9)
        columns = np.asarray(state.params["decoder"]["Dense_0"]["kernel"]).T
        assert np.max(subspace_angles(columns, turn[:, :2])) < 1e-6


def test_a_linear_denoising_one_is_the_wiener_filter():
    """At W = (C + s^2 I)^-1 C the gradient vanishes in the mean, as it does nowhere else: not at the identity."""
    covariance, noise = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]]), 0.7
    batch = {"image": jnp.asarray(of_covariance(covariance, 64), jnp.float32)}
    method = autoencoder(MLP((), 3), MLP((), 3), optax.sgd(1.0), corrupt=corruption("gaussian", noise))
    begun = method.init(jax.random.key(0), batch)
    wiener = np.linalg.solve(covariance + noise**2 * np.eye(3), covariance)

    @jax.jit
    def gradients(kernel):
        params = {"encoder": {"Dense_0": {"kernel": kernel, "bias": jnp.zeros(3)}},
                  "decoder": {"Dense_0": {"kernel": jnp.eye(3), "bias": jnp.zeros(3)}}}  # fmt: skip
        state = begun._replace(params=params)

        def one(key):
            return (
                params["encoder"]["Dense_0"]["kernel"]
                - method.step(state, batch, key)[0].params["encoder"]["Dense_0"]["kernel"]
            )

        return jax.vmap(one)(jax.random.split(jax.random.key(1), 4_000))

    for kernel, vanishes in ((wiener, True), (np.eye(3), False)):
        drawn = np.asarray(gradients(jnp.asarray(kernel, jnp.float32)))
        mean, error = drawn.mean(0), drawn.std(0) / np.sqrt(len(drawn))
        assert np.all(np.abs(mean) < 4.5 * error + 1e-5) == vanishes


@pytest.mark.parametrize("kind", ["gaussian", "masking", "salt"])
def test_corruptions_have_their_moments(kind):
    x = jnp.full((200, 500), 0.3)
    y = np.asarray(corruption(kind, 0.2)(x, jax.random.key(0)))
    if kind == "gaussian":
        np.testing.assert_allclose([y.mean(), y.std()], [0.3, 0.2], atol=3e-3)
        return
    shares = [np.mean(np.isclose(y, value)) for value in (0.3, 0, 1)]
    np.testing.assert_allclose(shares, [0.8, 0.2, 0] if kind == "masking" else [0.8, 0.1, 0.1], atol=5e-3)


def test_the_encoder_sees_the_corrupted_example_and_the_target_is_the_clean_one():
    """All is masked: the loss is that of what the decoder makes of nothing, against x; evaluation masks nothing."""
    batch = {"image": jax.random.uniform(jax.random.key(0), (6, 2, 2, 1))}
    net = (MLP((), 4), MLP((), 4))
    method = autoencoder(*net, optax.sgd(0.0), corrupt=corruption("masking", 1.0))
    identity = {"Dense_0": {"kernel": jnp.eye(4), "bias": jnp.zeros(4)}}
    state = method.init(jax.random.key(0), batch)._replace(params={"encoder": identity, "decoder": identity})
    _, metrics = method.step(state, batch, jax.random.key(1))
    np.testing.assert_allclose(metrics["loss"], np.mean(np.sum(np.square(batch["image"]), axis=(1, 2, 3))), rtol=1e-6)
    assert not np.any(method.evaluate(state, batch, jax.random.key(1))["squared_error"])
    np.testing.assert_allclose(method.encode(state, batch, jax.random.key(1)), batch["image"].reshape(6, 4))


def test_penalties_are_their_formulas_and_enter_the_loss_by_their_weight():
    h = np.random.default_rng(0).uniform(0.05, 0.9, (7, 3)).astype(np.float32)
    mean, target = h.mean(0), 0.1
    kl = np.sum(target * np.log(target / mean) + (1 - target) * np.log((1 - target) / (1 - mean)))
    np.testing.assert_allclose(sparsity("kl", target)(h), kl, rtol=1e-5)
    np.testing.assert_allclose(sparsity("kl", target)(jnp.full((7, 3), target)), 0, atol=1e-6)
    assert np.isfinite(jax.grad(sparsity("kl", target))(jnp.zeros((7, 3)))).all()
    np.testing.assert_allclose(sparsity("l1")(-h), np.abs(h).sum(1).mean(), rtol=1e-6)
    batch = {"image": jnp.asarray(h)}
    method = autoencoder(MLP((), 2), MLP((), 3), optax.sgd(0.0), loss="bernoulli", code=jax.nn.sigmoid,
                         penalty=sparsity("kl", target), weight=3.0)  # fmt: skip
    state = method.init(jax.random.key(0), batch)
    _, metrics = method.step(state, batch, jax.random.key(1))
    codes = method.encode(state, batch, jax.random.key(1))
    assert np.all((codes > 0) & (codes < 1))
    np.testing.assert_allclose(
        metrics["loss"], metrics["reconstruction"] + 3 * sparsity("kl", target)(codes), rtol=1e-5
    )
    values = method.evaluate(state, batch, jax.random.key(1))
    np.testing.assert_allclose(metrics["reconstruction"], np.mean(values["cross_entropy"]), rtol=1e-5)
    assert np.all(values["squared_error"] < 3)


def test_the_panel_has_a_row_for_each_of_them():
    x = np.random.default_rng(0).random((60, 4, 4, 1), np.float32)
    net, noise = (MLP((), 3), MLP((), 16)), corruption("salt", 0.5)
    state = autoencoder(*net, optax.sgd(0.0)).init(jax.random.key(0), {"image": x})
    data = SimpleNamespace(
        evaluate=lambda split: [{"image": x, "mask": np.ones(60)}], decode=lambda x: np.uint8(255 * np.clip(x, 0, 1))
    )
    run = SimpleNamespace(
        state=state, key=jax.random.key(1), data=data, condition=lambda n: {"image": x[np.arange(n) % 60]}
    )
    plain, denoising = (reconstructions(*net, 3, corrupt=corrupt, n=5)(run) for corrupt in (None, noise))
    assert plain.shape == (3 * 42, 5 * 42, 3) and denoising.shape == (4 * 42, 5 * 42, 3)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="salt takes a level in \\[0, 1\\], not 1.5"):
        corruption("salt", 1.5)
    with pytest.raises(ValueError, match="gaussian takes a level from 0, not -1"):
        corruption("gaussian", -1)
    with pytest.raises(ValueError, match="corruption 'rain'"):
        corruption("rain", 0.1)
    with pytest.raises(ValueError, match="lies between 0 and 1, not 0"):
        sparsity("kl", 0)
    with pytest.raises(ValueError, match="sparsity 'l2'"):
        sparsity("l2")
    with pytest.raises(ValueError, match="loss 'mse': there are squared and bernoulli"):
        autoencoder(MLP((), 2), MLP((), 3), optax.sgd(0.0), loss="mse")
    with pytest.raises(ValueError, match="at least 0, not -1"):
        autoencoder(MLP((), 2), MLP((), 3), optax.sgd(0.0), weight=-1)
