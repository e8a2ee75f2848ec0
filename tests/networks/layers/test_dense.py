"""The linear layer is that of Flax in value and gradients, whichever way its product is laid out."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import Dense, linear


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


@pytest.mark.parametrize("features", [3, 20])  # narrower and wider than what comes in
@pytest.mark.parametrize("lead", [(), (4,), (5, 7), (2, 3, 4)])
def test_value_and_gradients_are_those_of_flax(features, lead):
    x, ours, theirs = normal(0, *lead, 12), Dense(features), nn.Dense(features)
    params = {"params": {"kernel": normal(1, 12, features), "bias": normal(2, features)}}

    def run(module):
        def scalar(params, x):
            return jnp.sum(jnp.sin(module.apply(params, x)))

        return module.apply(params, x), jax.grad(scalar, argnums=(0, 1))(params, x)

    one, other = jax.jit(lambda: (run(ours), run(theirs)))()
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


def test_the_gradient_of_a_narrowing_map_is_computed_with_few_rows():
    x, w = normal(0, 4, 16, 12), normal(1, 12, 3)
    jaxpr = jax.make_jaxpr(jax.grad(lambda w: jnp.sum(linear(x, w) ** 2)))(w)
    steps = [(e.primitive.name, e.outvars[0].aval.shape) for e in jaxpr.eqns]
    gradient = steps.index(("dot_general", (3, 12)))
    assert steps[gradient + 1 :] == [("optimization_barrier", (3, 12)), ("transpose", (12, 3))]


def test_batched_and_forward_derivatives_go_through():
    x, w = normal(0, 4, 16, 12), normal(1, 12, 3)
    np.testing.assert_allclose(jax.vmap(linear, (0, None))(x, w), x @ w, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jax.jvp(lambda w: linear(x, w), (w,), (2 * w,))[1], 2 * (x @ w), rtol=1e-5, atol=1e-5)


def test_dtype_and_bias_are_fields():
    layer = Dense(4, use_bias=False, dtype=jnp.bfloat16)
    params = layer.init(jax.random.key(0), normal(0, 2, 3))
    assert set(params["params"]) == {"kernel"} and params["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(params, normal(0, 2, 3)).dtype == jnp.bfloat16
