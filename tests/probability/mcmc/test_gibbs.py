"""A sweep visits its blocks in order, each given the newest of the others, and leaves the joint density invariant."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.probability.mcmc import gibbs, iterate

RHO = 0.8


def conditional_normal(of: str):
    def draw(key, x):  # of a bivariate normal with unit variances and correlation RHO
        return RHO * x[of] + jnp.sqrt(1 - RHO**2) * jax.random.normal(key, x[of].shape)

    return draw


def test_blocks_are_drawn_in_order_from_the_newest_state():
    sweep = gibbs(
        {"a": lambda key, x: x["b"] + 1, "b": lambda key, x: 10 * x["a"], "c": lambda key, x: x["a"] + x["b"]}
    )
    x = sweep(jax.random.key(0), {"a": 0, "b": 2, "c": 0, "fixed": 7})
    assert x == {"a": 3, "b": 30, "c": 33, "fixed": 7}


def test_each_block_has_randomness_of_its_own():
    def draw(key, x):
        return jax.random.normal(key, (3,))

    x = gibbs({"a": draw, "b": draw})(jax.random.key(0), {})
    assert not np.any(np.isin(x["a"], x["b"]))


def test_a_sweep_leaves_the_joint_invariant_and_reaches_it_from_elsewhere():
    kernel = gibbs({"x": conditional_normal("y"), "y": conditional_normal("x")})
    covariance = jnp.array([[1, RHO], [RHO, 1]])
    exact = jax.random.multivariate_normal(jax.random.key(0), jnp.zeros(2), covariance, (100_000,))
    for start, sweeps in ((exact, 1), (jnp.full_like(exact, 5.0), 40)):
        end = iterate(kernel, jax.random.key(1), {"x": start[:, 0], "y": start[:, 1]}, sweeps)
        np.testing.assert_allclose(np.cov(end["x"], end["y"]), covariance, atol=0.02)
        np.testing.assert_allclose([end["x"].mean(), end["y"].mean()], [0, 0], atol=0.015)


def test_iterate_is_the_loop_it_stands_for():
    def kernel(key, x):
        return 0.5 * x + jax.random.normal(key, x.shape)

    key, x = jax.random.key(3), jnp.arange(4.0)
    expected = x
    for index in range(3):
        expected = kernel(jax.random.fold_in(key, index), expected)
    np.testing.assert_allclose(iterate(kernel, key, x, 3), expected, rtol=1e-6)
    np.testing.assert_array_equal(iterate(kernel, key, x, 0), x)
    np.testing.assert_allclose(jax.jit(lambda n: iterate(kernel, key, x, n))(3), expected, rtol=1e-6)
