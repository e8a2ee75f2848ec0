"""GELU in both forms against the definition in float64, and its derivative against Phi(x) + x phi(x); the sigmoid."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.networks.layers import gelu
from aigc_jax.networks.layers.activations import sigmoid

X = np.concatenate([np.linspace(-12, 12, 4001), [0.0, -0.0, 1e-30, -1e-30, 100.0, -100.0]])


def test_the_exact_form_is_x_phi():
    cdf = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in X])
    np.testing.assert_allclose(
        jax.jit(lambda x: gelu(x, approximate=False))(jnp.float32(X)), X * cdf, rtol=2e-6, atol=1e-6
    )


def test_its_derivative_is_phi_plus_x_times_the_density():
    derivative = np.array(
        [0.5 * math.erfc(-x / math.sqrt(2)) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi) for x in X]
    )
    run = jax.jit(jax.vmap(jax.grad(lambda x: gelu(x, approximate=False))))
    np.testing.assert_allclose(run(jnp.float32(X)), derivative, rtol=2e-6, atol=1e-6)


def test_the_approximate_form_is_the_tanh_formula():
    inner = np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)
    np.testing.assert_allclose(jax.jit(gelu)(jnp.float32(X)), 0.5 * X * (1 + np.tanh(inner)), rtol=2e-6, atol=1e-6)
    slope = 0.5 * (1 + np.tanh(inner)) + 0.5 * X * (1 - np.tanh(inner) ** 2) * np.sqrt(2 / np.pi) * (
        1 + 3 * 0.044715 * X**2
    )
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(gelu)))(jnp.float32(X)), slope, rtol=2e-6, atol=1e-6)


def test_the_dtype_stays():
    for approximate in (True, False):
        assert gelu(jnp.ones(3, jnp.bfloat16), approximate).dtype == jnp.bfloat16


def test_the_sigmoid_by_tanh_is_the_sigmoid_in_value_and_slope():
    value, slope = (jax.jit(jax.vmap(f))(jnp.float32(X)) for f in (sigmoid, jax.grad(sigmoid)))
    exact = np.array([1 / (1 + math.exp(-x)) for x in X])
    np.testing.assert_allclose(value, exact, rtol=0, atol=2e-7)
    np.testing.assert_allclose(slope, exact * (1 - exact), rtol=0, atol=2e-7)
