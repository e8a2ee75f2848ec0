"""FLOPs of a function, counted from its jaxpr: what model FLOP utilisation is measured against.

Matrix products and convolutions count, two for each multiply-add; elementwise work does not, as in published counts.
A loop's body counts as often as it runs. The compiler's own `cost_analysis` counts it once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend import core

from aigc_jax.networks.layers import conv_form


def count_flops(fn: Callable, *args: Any) -> int:
    """FLOPs of one call, nothing being computed.

    fn:   a function of arrays; `jit`, `grad`, `scan`, `remat`, custom derivatives inside are followed.
    args: arrays, or trees of `jax.ShapeDtypeStruct`.

    A `scan`, or a `fori_loop` of known length, counts length times its body; a `cond` as its dearest branch; a `while` whose
    length only the run knows as one pass; a `shard_map` as all its shards. Zeros that pad an input count, as they do in
    published numbers; zeros spread between its elements (transposed convolution, gradients of strides) do not. A convolution
    counts by its definition, in whatever form it will run.
    """
    with conv_form("native"):
        return _of(jax.make_jaxpr(fn)(*args).jaxpr)


def _of(jaxpr: core.Jaxpr) -> int:
    return sum(_equation(eqn) for eqn in jaxpr.eqns)


def _equation(eqn: Any) -> int:
    name = eqn.primitive.name
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
    if name == "conv_general_dilated":
        return _convolution(eqn)
    inner = [_of(jaxpr) for jaxpr in _jaxprs(eqn.params)]
    if name == "cond":
        return max(inner)
    if name == "scan":
        return eqn.params["length"] * sum(inner)
    if name == "shard_map":
        return math.prod(eqn.params["mesh"].shape.values()) * sum(inner)
    return sum(inner)


def _convolution(eqn: Any) -> int:
    """2 x (output elements) x (taps that meet an element of the input) x (input channels of a group)."""
    dims, taken = eqn.params["dimension_numbers"], eqn.params
    (out,), (_, kernel) = (v.aval.shape for v in eqn.outvars), (v.aval.shape for v in eqn.invars)
    total = 2 * out[dims.out_spec[0]] * out[dims.out_spec[1]] * kernel[dims.rhs_spec[1]]
    for axis, (at_out, at_kernel) in enumerate(zip(dims.out_spec[2:], dims.rhs_spec[2:])):
        stride, before, hole, step = (
            taken["window_strides"][axis],
            taken["padding"][axis][0],
            taken["lhs_dilation"][axis],
            taken["rhs_dilation"][axis],
        )
        met = (
            (o * stride + k * step - before) % hole == 0 for o in range(out[at_out]) for k in range(kernel[at_kernel])
        )
        total *= sum(met)
    return total


def _jaxprs(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The jaxprs among the parameters of an equation, whatever its primitive calls them."""
    for value in params.values():
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, core.ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, core.Jaxpr):
                yield one
