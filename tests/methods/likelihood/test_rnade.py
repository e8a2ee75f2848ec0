"""The density of RNADE in the space of its data, and what training does to its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.likelihood.rnade import rnade
from aigc_jax.networks.rnade import RNADE


def noisy(params):
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    )


@pytest.mark.parametrize("unit, family", [(1.0, "normal"), (0.25, "laplace")])
def test_the_density_of_the_plane_has_the_integral_one_in_the_units_of_the_data(unit, family):
    net = RNADE(2, 5, 3, order=1, activation="tanh", family=family)
    method = rnade(net, optax.sgd(0.0), unit=unit)
    state = jax.jit(method.init)(jax.random.key(0), {"x": jnp.zeros((1, 2))})
    params = jax.tree.map(lambda p: 0.5 * p, noisy(state.params))
    line = unit * np.linspace(-20, 20, 801, dtype=np.float32)
    plane = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    p = jax.jit(lambda x: jnp.exp(-method.evaluate(state._replace(params=params), {"x": x}, jax.random.key(0))["nll"]))
    density = np.asarray(p(plane), np.float64)
    assert abs(np.sum(density) * (line[1] - line[0]) ** 2 - 1) < 2e-3
    assert density.max() > 1e-3


def test_a_step_rescales_the_gradient_and_says_the_true_loss():
    """With one normal and no hidden weights the gradient to a mean's bias is (mu - x) / s^2: times s, (mu - x) / s."""
    net, x = RNADE(2, 3, 1), jnp.asarray([[0.5, -1.0]])
    for rescale in (True, False):
        method = rnade(net, optax.sgd(1.0), rescale=rescale)
        state = jax.jit(method.init)(jax.random.key(0), {"x": x})
        zero = jax.tree.map(jnp.zeros_like, state.params["net"])
        params = {**zero, "b": jnp.asarray([[0.0, 0.2, -1.0], [0.0, 0.3, 0.7]])}
        state = state._replace(params={"net": params})
        after, metrics = jax.jit(method.step)(state, {"x": x}, jax.random.key(0))
        nll = jax.jit(method.evaluate)(state, {"x": x}, jax.random.key(0))["nll"]
        np.testing.assert_allclose(metrics["loss"], nll[0], rtol=1e-6)
        moved = np.asarray(params["b"] - after.params["net"]["b"])
        s, z = np.exp([-1.0, 0.7]), (np.array([0.2, 0.3]) - np.asarray(x[0])) / np.exp([-1.0, 0.7])
        np.testing.assert_allclose(moved[:, 1], z if rescale else z / s, rtol=1e-5)
        np.testing.assert_allclose(moved[:, 2], 1 - z**2, rtol=1e-5)
        np.testing.assert_allclose(moved[:, 0], 0, atol=1e-6)


def test_samples_are_in_the_units_of_the_data():
    net = RNADE(3, 4, 2)
    batch, key = {"x": jnp.zeros((50, 3))}, jax.random.key(3)
    drawn = []
    for unit in (1.0, 8.0):
        method = rnade(net, optax.sgd(0.0), unit=unit)
        state = jax.jit(method.init)(jax.random.key(0), batch)
        drawn.append(jax.jit(method.sample)(state, batch, key))
    assert drawn[0].shape == (50, 3)
    np.testing.assert_allclose(drawn[1], 8 * drawn[0], rtol=1e-6)


def test_a_unit_is_above_zero():
    for unit in (0.0, float("nan")):
        with pytest.raises(ValueError, match=f"above 0, not {unit}"):
            rnade(RNADE(2), optax.sgd(0.0), unit=unit)
