"""Networks filled with the weights of a reference: by name, or by the formula of the fingerprints."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from aigc_jax.networks.layers import conv_form
from aigc_jax.pretrained.tensors import Tensor
from tests.golden import weights

NO_GRIDS: dict[str, int] = {}


def shapes_of(net, size=32, channels=3):
    return jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, size, size, channels)))


def count(net, size=32):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(net, size)["params"]))


def random_variables(net, size=32):
    """Every tensor random, variances positive."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        x = 0.3 * rng.standard_normal(leaf.shape, np.float32)
        return np.exp(x) if path[-1].key == "var" else x

    return jax.tree_util.tree_map_with_path(draw, shapes_of(net, size))


def filled(net, size: int, tensor: Callable[[str, str, tuple[int, ...]], np.ndarray], grids: dict[str, int] = NO_GRIDS):
    """The variables of `net` with a tensor for each (module path, kind, shape in torch's layout).

    grids: linear layers that read a square map, with its side: torch flattens it channels first.
    """

    def draw(path, leaf):
        *within, kind = (key.key for key in path[1:])
        module, shape = ".".join(within), leaf.shape
        if kind != "kernel":
            return tensor(module, kind, shape).astype(np.float32)
        if len(shape) == 4:
            return tensor(module, kind, (shape[3], shape[2], *shape[:2])).transpose(2, 3, 1, 0)
        value = tensor(module, kind, shape[::-1])
        if module not in grids:
            return value.T
        side = grids[module]
        return value.reshape(shape[1], -1, side, side).transpose(2, 3, 1, 0).reshape(shape)

    return jax.tree_util.tree_map_with_path(draw, shapes_of(net, size))


def named(net, size: int, name_of: Callable[[str], str], statistics=None, grids=NO_GRIDS):
    """Weights drawn by torch's names, statistics from a golden file by the same."""

    def tensor(module, kind, shape):
        name = f"{name_of(module)}.{weights.KINDS[kind]}"
        return (statistics or {})[name] if kind in ("mean", "var") else weights.drawn(name, shape)

    return filled(net, size, tensor, grids)


def listed(net, size: int, tensors: list[Tensor], statistics=None):
    """Weights drawn by the names that a list of tensors has, statistics from a golden file by the same."""
    shapes, found, stored = flatten_dict(shapes_of(net, size), sep="."), {}, statistics or {}
    for tensor in (one for one in tensors if one.ours):
        empty = tensor.form.theirs(np.broadcast_to(np.float32(0), shapes[tensor.ours].shape))
        theirs = zip(tensor.theirs, empty, strict=True)
        drawn = [stored[name] if name in stored else weights.drawn(name, x.shape) for name, x in theirs]
        found[tensor.ours] = tensor.form.ours(*drawn)
    return unflatten_dict(found, sep=".")


def images(*arguments):
    return weights.images(*arguments).transpose(0, 2, 3, 1)


def error(ours, theirs):
    """Relative to how far the answers to different images lie apart, not to what they have in common."""
    assert ours.shape == theirs.shape
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs - theirs.mean(0))


def run(function, *arguments):
    """Compiled with the form of convolution that compiles quickest; forms are compared with each other elsewhere."""
    with conv_form("native"):
        return jax.jit(function)(*arguments)


def part(golden, start: str):
    return {key.removeprefix(start): value for key, value in golden.items() if key.startswith(start)}


def check_fingerprint(net, size, first, mean, std, largest, answer=lambda found: found[0], grids=NO_GRIDS):
    """A row of the published fingerprints, computed in float64 by another library."""
    variables = filled(net, size, lambda module, kind, shape: weights.fingerprint(kind, shape), grids)
    found = run(net.apply, variables, weights.picture(size).astype(np.float32))
    got = np.asarray(answer(found)[0], np.float64)
    np.testing.assert_allclose([*got[:3], got.std()], [*first, std], rtol=1e-3, atol=1e-4 * std)
    np.testing.assert_allclose(got.mean(), mean, rtol=1e-3, atol=1e-3 * std)
    assert got.argmax() == largest
