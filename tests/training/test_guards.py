"""The replay of a bad step names what went wrong first."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aigc_jax.training.guards import first_bad_leaf, first_bad_operation


def test_the_first_operation_that_gives_nan_is_named_with_its_line():
    def loss(x):
        inner = jax.jit(lambda v: jnp.sqrt(v - 1))(x)
        return jnp.sum(jnp.log(inner))

    found = first_bad_operation(jax.value_and_grad(loss), jnp.array([0.5, 3.0]))
    assert found is not None and found.startswith("sqrt -> (2,) in ") and "1 of 2 elements NaN" in found
    assert "test_guards.py" in found


def test_an_infinity_that_is_masked_out_is_not_blamed_for_a_later_nan():
    def loss(x):
        masked = jnp.where(x > 0, x, -jnp.inf)
        return jax.nn.softmax(masked).sum() + jnp.log(x[0])

    found = first_bad_operation(loss, jnp.array([-1.0, 2.0]))
    assert found is not None and found.startswith("log")


def test_an_overflow_is_found_where_nothing_is_nan():
    found = first_bad_operation(lambda x: jnp.exp(x), jnp.float32(1000))
    assert found is not None and found.startswith("exp") and "infinite" in found


def test_finite_results_are_silent():
    assert first_bad_operation(lambda x: jnp.tanh(x) * 2, jnp.ones(3)) is None
    assert first_bad_leaf({"a": jnp.ones(3), "b": jnp.arange(4)}) is None


def test_the_first_bad_leaf_is_named_by_its_path():
    tree = {"batch": {"image": jnp.array([1.0, jnp.nan, jnp.inf]), "label": jnp.arange(3)}}
    assert first_bad_leaf(tree) == "batch.image (3,): 2 of 3 elements not finite"
