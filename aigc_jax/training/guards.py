"""When a number goes wrong: find the step, and the first tensor in it that is not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core as jex
from jax.extend import source_info_util

from aigc_jax.training.sharding import path_name


def first_bad_leaf(tree: Any) -> str | None:
    """The path of the first floating leaf of a tree that is not finite, with how many of its elements are not."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        count = _count(leaf, lambda value: ~jnp.isfinite(value))
        if count:
            return f"{path_name(path)} {tuple(np.shape(leaf))}: {count} of {np.size(leaf)} elements not finite"
    return None


def first_bad_operation(fn: Callable, *args: Any) -> str | None:
    """Runs a function operation by operation and names the first whose result is NaN, with its line of code.

    Where nothing is NaN, the first that is infinite: an infinity alone may be meant, as in a mask of scores. Calls are
    walked through; a loop or a branch is looked at as a whole. Returns None if every result is finite.
    """
    closed = jax.make_jaxpr(fn)(*args)
    for bad in (jnp.isnan, jnp.isinf):
        try:
            _walk(closed, jax.tree.leaves(args), bad)
        except _Found as found:
            return str(found)
    return None


class _Found(Exception):
    """Ends the walk at the first bad operation."""


def _walk(closed: jex.ClosedJaxpr, inputs: list, bad: Callable) -> list:
    jaxpr = closed.jaxpr
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts)) | dict(zip(jaxpr.invars, inputs))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for equation in jaxpr.eqns:
        arguments = [read(atom) for atom in equation.invars]
        inner = _called(equation)
        if inner is not None:
            results = _walk(inner, arguments, bad)
        else:
            results = equation.primitive.bind(*arguments, **equation.params)
            results = results if equation.primitive.multiple_results else [results]
            for result in results:
                if _count(result, bad):
                    raise _Found(_describe(equation, result, bad))
        values.update(zip(equation.outvars, results))
    return [read(atom) for atom in jaxpr.outvars]


def _called(equation: Any) -> jex.ClosedJaxpr | None:
    """The inner jaxpr of an equation that calls it once with the same arguments: jit, custom derivatives, checkpoint."""
    if equation.primitive.name in ("scan", "while", "cond"):
        return None
    inner = next((equation.params[name] for name in ("jaxpr", "call_jaxpr") if name in equation.params), None)
    return jex.ClosedJaxpr(inner, []) if isinstance(inner, jex.Jaxpr) else inner


def _describe(equation: Any, result: Any, bad: Callable) -> str:
    place = source_info_util.summarize(equation.source_info)
    what = "NaN" if bad is jnp.isnan else "infinite"
    count = f"{_count(result, bad)} of {np.size(result)} elements {what}"
    return f"{equation.primitive.name} -> {tuple(np.shape(result))} in {place}: {count}"


def _count(value: Any, bad: Callable) -> int:
    floating = jnp.issubdtype(jnp.result_type(value), jnp.inexact)
    return int(jnp.sum(bad(value))) if floating else 0
