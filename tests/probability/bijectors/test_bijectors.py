"""The harness of bijectors: each class of the library is found by itself and held to the same facts at random parameters.

A new class fails `test_every_bijector_has_an_example` until it stands in EXAMPLES.
"""

from __future__ import annotations

import importlib
import math
import pkgutil

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import aigc_jax.networks
import aigc_jax.probability.bijectors as bij
from aigc_jax.networks import dequantizer, glow, maf, nice, realnvp
from aigc_jax.networks.made import MADE
from aigc_jax.networks.mlp import MLP

B = 3
IMAGE, ROW = (4, 4, 2), (5,)
SPLINE = bij.rational_quadratic(4, 2.0)
SHRINK = bij.affine(glow.shrink)


class Pixelwise(nn.Module):
    """A conditioner of pictures: an MLP of the whole picture, for its shape."""

    numbers: int

    @nn.compact
    def __call__(self, x, context=None, train=False):
        h = x if context is None else jnp.concatenate([x, context], axis=-1)
        return MLP((6,), math.prod(x.shape[1:]) * self.numbers)(h).reshape(*x.shape[:-1], -1)


def plain(features):
    return bij.Conditioner(MLP((7,), features))


def autoregressive(map):
    return bij.Autoregressive(MADE(5, (9, 8), degrees="sequential", activation="tanh", outputs=map.numbers), map)


EXAMPLES = {  # name -> class, bijector, shape of an example
    "Identity": (bij.Identity, bij.Identity(), IMAGE),
    "Affine": (bij.Affine, bij.Affine(-1.5, 0.3), IMAGE),
    "Scaling": (bij.Scaling, bij.Scaling(), IMAGE),
    "Logit": (bij.Logit, bij.Logit(0.05), IMAGE),
    "Flatten": (bij.Flatten, bij.Flatten(IMAGE), IMAGE),
    "Permutation": (bij.Permutation, bij.Permutation((3, 0, 4, 1, 2)), ROW),
    "Reverse": (bij.Reverse, bij.Reverse(), ROW),
    "Reverse of columns": (bij.Reverse, bij.Reverse(-2), IMAGE),
    "Squeeze": (bij.Squeeze, bij.Squeeze(), IMAGE),
    "Squeeze ordered": (bij.Squeeze, bij.Squeeze(ordered=True), IMAGE),
    "ActNorm": (bij.ActNorm, bij.ActNorm(), IMAGE),
    "BatchNorm": (bij.BatchNorm, bij.BatchNorm(learned=True), ROW),
    "BatchNorm of a half": (bij.BatchNorm, bij.BatchNorm(mask=bij.Checkerboard()), IMAGE),
    "Linear": (bij.Linear, bij.Linear(), IMAGE),
    "Linear of rows": (bij.Linear, bij.Linear(), ROW),
    "LinearLU": (bij.LinearLU, bij.LinearLU(), (2, 2, 5)),
    "LinearLU of rows": (bij.LinearLU, bij.LinearLU(), ROW),
    "Coupling additive": (bij.Coupling, bij.Coupling(plain(3), bij.additive()), ROW),
    "Coupling affine": (bij.Coupling, bij.Coupling(Pixelwise(2), SHRINK, second=False), IMAGE),
    "Coupling spline": (bij.Coupling, bij.Coupling(plain(3 * SPLINE.numbers), SPLINE), ROW),
    "MaskedCoupling": (
        bij.MaskedCoupling,
        bij.MaskedCoupling(Pixelwise(2), bij.affine(), bij.Checkerboard(True)),
        IMAGE,
    ),
    "Autoregressive affine": (bij.Autoregressive, autoregressive(bij.standardize()), ROW),
    "Autoregressive spline": (bij.Autoregressive, autoregressive(SPLINE), ROW),
    "Inverse": (bij.Inverse, bij.Inverse(autoregressive(bij.standardize())), ROW),
    "Chain": (bij.Chain, bij.Chain([bij.Reverse(), bij.Linear(), bij.Coupling(plain(6), SHRINK)]), ROW),
    "Repeated": (
        bij.Repeated,
        bij.Repeated(bij.Chain([bij.LinearLU(), bij.Coupling(plain(6), SHRINK)]), 3, remat=True),
        ROW,
    ),
    "MultiScale": (
        bij.MultiScale,
        bij.MultiScale(
            (4, 4, 2), [bij.Squeeze(), bij.Squeeze(ordered=True), bij.ActNorm()], [Pixelwise(2), Pixelwise(2)]
        ),
        IMAGE,
    ),
    "TopPrior": (glow.TopPrior, glow.TopPrior(), IMAGE),
    "NICE": (bij.Chain, nice.nice((5,), 4, (6,)), ROW),
    "RealNVP's couplings": (  # the whole is in tests/networks/test_flows.py
        bij.Chain,
        bij.Chain([realnvp.by_checkerboard(2, 3, 1), realnvp.by_channel(3, 3, 0)]),
        IMAGE,
    ),
    "Glow": (bij.Chain, glow.glow((4, 4, 2), 2, 2, 5), IMAGE),
    "Glow additive, LU, without edges": (
        bij.Chain,
        glow.glow((4, 4, 1), 1, 2, 4, coupling="additive", convolution="lu", edge=False, learn_top=False),
        (4, 4, 1),
    ),
    "MAF": (bij.Repeated, maf.maf(5, 2, (8,)), ROW),
    "IAF": (bij.Inverse, maf.iaf(5, 2, (8,)), ROW),
    "RQ-NSF (C)": (bij.Chain, maf.spline_flow(5, 2, (8,), 4, 2.0, coupling=True), ROW),
    "dequantizer": (bij.Chain, dequantizer.dequantizer(2, 4), IMAGE),
}
CONDITIONAL = {"dequantizer"}


def inputs(name, dtype):
    _, _, shape = EXAMPLES[name]
    rng = np.random.default_rng(1)
    x = rng.uniform(0.05, 0.95, (B, *shape)).astype(dtype)  # inside (0, 1), where all of them are defined
    return x, rng.normal(size=(B, *shape)).astype(dtype) if name in CONDITIONAL else None


def moved(variables):
    """Every parameter and statistic by noise: matrices and kernels become full ones, well away from the first state.

    The noise is NumPy's, a constant of the program that this is traced in.
    """
    rng = np.random.default_rng(0)

    def move(path, leaf):
        name = path[-1].key
        if path[0].key == "constants":
            return leaf
        if name == "var":
            return leaf * np.float32(rng.uniform(0.5, 2, leaf.shape))
        if name == "log_scale":  # multiplied by 3 and exponentiated; the spread of a batch of 3 may be next to nothing
            return jnp.float32(0.1 * rng.normal(size=leaf.shape))
        return leaf + np.float32(0.1 * rng.normal(size=leaf.shape))

    return jax.tree_util.tree_map_with_path(move, variables)


def test_every_bijector_has_an_example():
    for package in (bij, aigc_jax.networks):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)

    def below(cls):
        return {cls}.union(*map(below, cls.__subclasses__()))

    ours = {cls for cls in below(bij.Bijector) - {bij.Bijector} if cls.__module__.startswith("aigc_jax.")}
    assert ours == {cls for cls, _, _ in EXAMPLES.values()}, "give the new class an example"
    assert {cls.__name__ for cls in ours if cls.__module__.startswith(bij.__name__)} <= set(bij.__all__)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_inverts_and_its_log_det_is_that_of_the_jacobian(name):
    """In float64 to 1e-6 at random parameters, in float32 to 1e-5; one program for each."""
    _, bijector, shape = EXAMPLES[name]
    size = math.prod(shape)

    @jax.jit
    def single(x, context):
        variables = moved(bijector.init(jax.random.key(0), x, context))
        y, log_det = bijector.apply(variables, x, context)
        return variables, y, log_det, *bijector.apply(variables, y, context, method="inverse_and_log_det")

    @jax.jit
    def double(variables, x, context):
        def column(tangent):  # of the Jacobian of each example at once: none sees another
            return jax.jvp(lambda x: bijector.apply(variables, x, context), (x,), (tangent,))

        tangents = jnp.broadcast_to(jnp.eye(size, dtype=x.dtype).reshape(size, 1, *shape), (size, *x.shape))
        (y, log_det), (columns, _) = jax.vmap(column, out_axes=(None, -1))(tangents)
        return y, log_det, *bijector.apply(variables, y, context, method="inverse_and_log_det"), columns

    x, context = inputs(name, np.float32)
    variables, y, log_det, back, log_det_back = single(x, context)
    assert (
        y.shape == (B, *bijector.output_shape(shape))
        and log_det.shape == (B,)
        and y.dtype == log_det.dtype == jnp.float32
    )
    scale = max(1.0, np.max(np.abs(y)))
    np.testing.assert_allclose(back, x, atol=1e-5 * scale)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-5, atol=2e-5 * max(1, size / 4))
    with jax.enable_x64(True):
        x, context = inputs(name, np.float64)
        variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
        y, log_det, back, log_det_back, columns = double(variables, x, context)
        assert y.dtype == log_det.dtype == jnp.float64
        np.testing.assert_allclose(back, x, atol=1e-6)
        expected = np.linalg.slogdet(np.asarray(columns).reshape(B, size, size))[1]
        np.testing.assert_allclose(log_det, expected, atol=1e-6)
        np.testing.assert_allclose(log_det_back, -log_det, atol=1e-6)
    identity = ("Identity", "Flatten", "Permutation", "Reverse", "Squeeze", "additive")
    assert any(part in name for part in identity) or np.all(np.abs(log_det) > 1e-3), "parameters must matter"
