"""How many steps go into a call, and that convolutions of the native form are kept out of loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from aigc_jax.training.step import MOST, has_primitive, steps_per_call


def test_short_steps_share_a_call_and_long_ones_do_not():
    assert steps_per_call(10**6, 1000, False) == MOST
    assert steps_per_call(2 * 10**8, 1000, False) == 10
    assert steps_per_call(10**11, 1000, False) == 1
    assert steps_per_call(10**6, 32 * 10**6, False) == 2
    assert steps_per_call(10**6, 1000, True) == 1


def test_a_primitive_is_found_inside_loops_and_calls():
    def body(carry, _):
        return jax.jit(jnp.sin)(carry), None

    jaxpr = jax.make_jaxpr(lambda x: jax.lax.scan(body, x, None, length=3))(1.0).jaxpr
    assert has_primitive(jaxpr, "sin") and not has_primitive(jaxpr, "cos")
