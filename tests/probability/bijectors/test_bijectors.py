"""The harness of bijectors: each class of the library is found by itself and held to the same facts at random parameters.

A new class fails `test_every_bijector_has_an_example` until it stands in EXAMPLES.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from functools import partial

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
    "Repeated": (bij.Repeated, bij.Repeated(bij.Chain([bij.LinearLU(), autoregressive(SPLINE)]), 3, remat=True), ROW),
    "MultiScale": (
        bij.MultiScale,
        bij.MultiScale(
            (4, 4, 2), [bij.Squeeze(), bij.Squeeze(ordered=True), bij.ActNorm()], [Pixelwise(2), Pixelwise(2)]
        ),
        IMAGE,
    ),
    "TopPrior": (glow.TopPrior, glow.TopPrior(), IMAGE),
    "NICE": (bij.Chain, nice.nice((5,), 4, (6,)), ROW),
    "RealNVP's couplings": (  # the whole has ten of them: see tests/networks/test_realnvp.py
        bij.Chain,
        bij.Chain([*realnvp.by_checkerboard(True, 3, 2, None), *realnvp.by_channel(False, 3, 2, None)]),
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
    x = jnp.asarray(rng.uniform(0.05, 0.95, (B, *shape)), dtype)  # inside (0, 1), where all of them are defined
    return x, jnp.asarray(rng.normal(size=(B, *shape)), dtype) if name in CONDITIONAL else None


def random_variables(bijector, x, context):
    """Every parameter and statistic moved by noise: of matrices and kernels to a full one, well away from the first state."""
    variables = jax.jit(bijector.init)(jax.random.key(0), x.astype(jnp.float32), context)
    rng = np.random.default_rng(0)

    def moved(path, leaf):
        name = path[-1].key
        value = np.asarray(leaf, np.float64)
        if path[0].key == "constants":
            return value
        if name == "var":
            return value * rng.uniform(0.5, 2, leaf.shape)
        if name == "log_scale":  # multiplied by 3 and exponentiated; the spread of a batch of 3 may be next to nothing
            return 0.1 * rng.normal(size=leaf.shape)
        return value + 0.1 * rng.normal(size=leaf.shape)

    return jax.tree_util.tree_map_with_path(moved, variables)


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
    """In float64 to 1e-6 at random parameters, in float32 to 1e-5; one program for all of it."""
    _, bijector, shape = EXAMPLES[name]
    x, context = inputs(name, jnp.float32)
    variables = random_variables(bijector, x, context)

    @jax.jit
    def facts(variables, x, context):
        y, log_det = bijector.apply(variables, x, context)
        back, log_det_back = bijector.apply(variables, y, context, method="inverse_and_log_det")

        def one(x, context):
            context = None if context is None else context[None]
            return bijector.apply(variables, x[None], context)[0].reshape(-1)

        jacobian = jax.vmap(jax.jacfwd(one))(x, context).reshape(B, math.prod(shape), math.prod(shape))
        return y, log_det, back, log_det_back, jnp.linalg.slogdet(jacobian)[1]

    y, log_det, back, log_det_back, _ = facts(
        jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), variables), x, context
    )
    assert (
        y.shape == (B, *bijector.output_shape(shape))
        and log_det.shape == (B,)
        and y.dtype == log_det.dtype == jnp.float32
    )
    scale = max(1.0, float(jnp.max(jnp.abs(y))))
    np.testing.assert_allclose(back, x, atol=1e-5 * scale)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=1e-5, atol=2e-5 * max(1, math.prod(shape) / 4))
    with jax.enable_x64(True):
        x, context = inputs(name, jnp.float64)
        y, log_det, back, log_det_back, expected = facts(jax.tree.map(jnp.asarray, variables), x, context)
        assert y.dtype == log_det.dtype == jnp.float64
        np.testing.assert_allclose(back, x, atol=1e-6)
        np.testing.assert_allclose(log_det, expected, atol=1e-6)
        np.testing.assert_allclose(log_det_back, -log_det, atol=1e-6)
    identity = ("Identity", "Flatten", "Permutation", "Reverse", "Squeeze", "additive")
    assert any(part in name for part in identity) or np.all(np.abs(log_det) > 1e-3), "parameters must matter"
