"""NADE's recursion beside a plain scan with automatic derivatives; EoNADE along an order beside its definition."""

from __future__ import annotations

from functools import partial

import jax
import jax.extend as jex
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.likelihood.autoregressive import nll
from aigc_jax.networks import nade
from aigc_jax.networks.layers.orders import ordering
from aigc_jax.networks.nade import NADE, EoNADE, recursion, rows_at_once


def plain(x, w, v, b, c):
    """Section 2 of the paper, one variable after another."""

    def step(a, known):
        x, w, v, b = known
        return a + x[:, None] * w, b + jax.nn.sigmoid(a) @ v

    _, logits = jax.lax.scan(step, jnp.broadcast_to(c, (len(x), w.shape[1])), (x.T, w, v, b))
    return logits.T


def inputs(batch, dimensions, hidden, dtype=jnp.float64):
    rng = np.random.default_rng(0)
    shapes = (batch, dimensions), (dimensions, hidden), (dimensions, hidden), (dimensions,), (hidden,)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("dimensions, block, batch", [(7, 1, 4), (8, 4, 4), (11, 4, 4), (3, 8, 4), (7, 1, 130)])
def test_blocks_with_a_reverse_pass_by_hand_equal_a_plain_scan(dimensions, block, batch):
    assert rows_at_once(130) == 26 and rows_at_once(64) == 64 and rows_at_once(131) == 131
    with jax.enable_x64(True):
        given = inputs(batch, dimensions, 5)
        weights = np.random.default_rng(1).normal(size=(batch, dimensions))

        def both(logits_of):
            def scalar(*given):
                logits = logits_of(*given)
                return jnp.sum(weights * jnp.sin(logits)), logits

            return jax.jit(jax.grad(scalar, argnums=(0, 1, 2, 3, 4), has_aux=True))(*given)

        (gradients, logits), (expected, forced) = both(partial(recursion, block=block)), both(plain)
        np.testing.assert_allclose(logits, forced, rtol=1e-11, atol=1e-12)
        for gradient, one in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(gradient, one, rtol=1e-10, atol=1e-11)


def largest(jaxpr):
    """The number of elements of the largest array anywhere in a jaxpr."""
    sizes = [var.aval.size for equation in jaxpr.eqns for var in equation.outvars if hasattr(var.aval, "size")]
    return max([*sizes, *(largest(inner) for inner in jex.core.subjaxprs(jaxpr))], default=0)


@pytest.mark.parametrize("block, batch", [(1, 16), (8, 16), (1, 130)])
def test_no_array_holds_the_hidden_units_of_all_variables(block, batch):
    dimensions, hidden = 64, 32
    given = inputs(batch, dimensions, hidden, jnp.float32)
    gradient = jax.grad(lambda *given: jnp.sum(recursion(*given, block=block)), argnums=(0, 1, 2, 3, 4))
    most = max(batch * block * hidden, dimensions * hidden, batch * dimensions)
    assert largest(jax.make_jaxpr(gradient)(*given).jaxpr) <= most
    automatic = jax.grad(lambda *given: jnp.sum(plain(*given)), argnums=(0, 1, 2, 3, 4))
    assert largest(jax.make_jaxpr(automatic)(*given).jaxpr) >= batch * dimensions * hidden, "which is what a scan keeps"


def test_the_golden_values():
    """NumPy RandomState(0), D = 8, H = 5, standard normal W (H, D), V (D, H), b, c in this order."""
    rng = np.random.RandomState(0)
    w, v, b, c = rng.randn(5, 8), rng.randn(8, 5), rng.randn(8), rng.randn(5)
    with jax.enable_x64(True):
        params = {"w": jnp.asarray(w.T), "v": jnp.asarray(v), "b": jnp.asarray(b), "c": jnp.asarray(c)}
        log_p = -nll(NADE(8, 5), params, jnp.asarray([[0.0] * 8, [1.0] * 8]))
    np.testing.assert_allclose(log_p, [-3.8437460206652982, -12.39354360810207], rtol=1e-14)


def test_the_paper_has_785_284_parameters():
    shapes = jax.eval_shape(NADE(784, 500).init, jax.random.key(0), jnp.zeros((1, 28, 28, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 785_284


@pytest.mark.parametrize("hidden, block", [((6,), 4), ((6, 4), 1)], ids=str)
def test_eonade_along_an_order_is_asked_for_one_variable_after_another(hidden, block, monkeypatch):
    """Variable o_d from the mask of the d before it: what the running sum saves."""
    dimensions = 11
    monkeypatch.setattr(nade, "block_size", lambda: block)
    net = EoNADE(dimensions, hidden, members=3, seed=7)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (4, dimensions)), jnp.float32)
    params = net.init(jax.random.key(0), x)
    order = ordering(dimensions, 7 + 2)
    known = np.argsort(order)[None, :] < np.arange(dimensions)[:, None]  # row d: the d first of the order
    given = jax.vmap(lambda k: net.apply(params, x, jnp.broadcast_to(k, x.shape), method="given"))(
        known.astype(np.float32)
    )
    expected = np.asarray(given)[np.argsort(order), :, np.arange(dimensions)].T  # [B, D]
    np.testing.assert_allclose(net.apply(params, x, 2), expected, rtol=1e-5, atol=1e-6)
