"""Placement: first matching rule, automatic FSDP, and what it refuses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from aigc_jax.errors import UserError
from aigc_jax.training.sharding import batch_sharding, check_batch, make_mesh, parse_mesh, place, put

FSDP = [(".*", "fsdp")]


def spec(rules, shape, mesh=None, name="kernel"):
    leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
    return place(rules, mesh or make_mesh({"data": 2, "fsdp": 4}), {"params": {name: leaf}})["params"][name].spec


def test_large_arrays_are_cut_along_their_largest_axis_that_divides():
    assert spec(FSDP, (512, 1024)) == P(None, "fsdp")
    assert spec(FSDP, (3, 3, 512, 256)) == P(None, None, "fsdp", None)
    assert spec(FSDP, (1001, 512)) == P(None, "fsdp")
    assert spec(FSDP, (1001, 333)) == P()
    assert spec(FSDP, (64, 64)) == P()


def test_the_first_rule_that_matches_wins():
    rules = [("bias", "replicate"), ("kernel", P("model", None)), (".*", "fsdp")]
    mesh = make_mesh({"fsdp": 4, "model": 2})
    assert spec(rules, (512, 512), mesh) == P(("model",), None)
    assert spec(rules, (512, 512), mesh, "bias") == P()
    assert spec(rules, (512, 1024), mesh, "scale") == P(None, "fsdp")


def test_an_axis_the_mesh_has_not_is_dropped_from_a_rule():
    assert spec([(".*", P("model", "fsdp"))], (512, 512)) == P(None, ("fsdp",))


def test_a_rule_for_a_matrix_leaves_scalars_alone():
    assert spec([(".*", P("fsdp", None))], ()) == P()


def test_a_rule_that_does_not_divide_is_refused_with_the_numbers():
    with pytest.raises(UserError, match=r"params.kernel \(10, 8\): axis of 10 does not divide over 4 devices \(fsdp\)"):
        spec([(".*", P("fsdp", None))], (10, 8))


def test_no_rule_is_an_error():
    with pytest.raises(UserError, match="no rule places params.kernel"):
        spec([("bias", "fsdp")], (8, 8))


@pytest.mark.parametrize("text", ["data", "data=", "data=0", "rows=2", "data=2,data=4", "data=two", ""])
def test_a_mesh_of_another_form_is_refused(text):
    with pytest.raises(UserError, match="expected axis=size pairs such as data=2,fsdp=4"):
        parse_mesh(text)


def test_a_mesh_is_read_and_checked():
    assert parse_mesh("data=2, fsdp=4") == {"data": 2, "fsdp": 4}
    with pytest.raises(UserError, match="mesh data=4 x fsdp=4 needs 16 devices, there are 8 .*--devices 16"):
        make_mesh({"data": 4, "fsdp": 4})


def test_the_batch_is_cut_over_data_and_fsdp():
    mesh = make_mesh({"data": 2, "fsdp": 4})
    rows = np.arange(16.0)[:, None]
    placed = put({"x": rows}, batch_sharding(mesh))["x"]
    assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 1)}
    np.testing.assert_array_equal(placed, rows)
    with pytest.raises(UserError, match="batch of 12 does not divide over 8 devices of the mesh: take 8 or 16"):
        check_batch(mesh, 12)
