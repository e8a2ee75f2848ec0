"""Sizes are sums over shapes; the peak of a trace is worked out by hand on small traces."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.training.describe import byte_size, describe, live_bytes
from aigc_jax.training.sharding import make_mesh

N = 1000
X = jax.ShapeDtypeStruct((N,), np.float32)
ONE = 4 * N  # bytes of one such array


def peak(fn, *shapes, in_place=0) -> int:
    return live_bytes(jax.make_jaxpr(fn)(*shapes).jaxpr, in_place)


@pytest.mark.parametrize(
    "fn, arrays",
    [
        (lambda x: jnp.sin(x), 1),  # the result alone
        (lambda x: jnp.sin(jnp.cos(x)), 2),  # what is read and what is made
        (lambda x: jnp.tan(jnp.sin(jnp.cos(x))), 2),  # the first is gone by then
        (lambda x: jnp.sin(x) * jnp.cos(x), 3),  # both factors and the product
        (lambda x: jax.jit(lambda y: jnp.tan(jnp.sin(jnp.cos(y))))(x), 3),  # the result, and two inside the call
    ],
)
def test_an_array_lives_from_its_making_to_its_last_reading(fn, arrays):
    assert peak(fn, X) == arrays * ONE


def test_a_loop_stacks_its_outputs_and_holds_one_body():
    def scanned(x):
        return jax.lax.scan(lambda c, _: (jnp.sin(jnp.cos(c)), jnp.sum(c)), x, None, length=7)

    stacked = 7 * 4
    assert ONE + stacked <= peak(scanned, X) <= 3 * ONE + stacked + 8


def test_what_is_written_in_place_takes_no_room():
    assert peak(lambda x: x + 1, X, in_place=1) == 0
    assert peak(lambda x: (x + 1, x * 2), X, in_place=1) == ONE


def test_bytes_count_keys_and_all_types():
    tree = {"a": np.zeros(3, np.int8), "b": jnp.zeros((2, 2), jnp.bfloat16), "key": jax.random.key(0)}
    assert byte_size(tree) == 3 + 8 + 8


def test_describe_agrees_with_the_arrays_themselves(tiny):
    experiment = tiny()
    found = describe(experiment, make_mesh({"data": 8}))
    batch = next(experiment.data.train(0))
    state = experiment.method.init(jax.random.key(0), batch)
    assert found["parameters"] == 64 * 32 + 32 + 32 * 64 + 64  # memory holds as many again and they are not counted
    assert found["state_bytes"] == sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert found["state_bytes"] == sum(found["bytes"][part] for part in ("params", "opt_state", "memory")) + 4
    assert found["bytes"]["batch"] == sum(rows.nbytes for rows in batch.values())
    assert [network["parameters"] for network in found["networks"]] == [found["parameters"]]
    assert {row["placement"] for row in found["placements"]} == {"replicated"}
    products = 2 * 16 * 64 * 32  # one matrix product: forward twice, weight gradients twice, input gradient once
    assert 5 * products <= found["flops_per_step"] <= 6 * products
