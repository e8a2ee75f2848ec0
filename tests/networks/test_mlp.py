"""The multilayer perceptron against its formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import ACTIVATIONS
from aigc_jax.networks.mlp import MLP

X = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)


def drawn(net):
    """Parameters, every one random, so that no bias is hidden by its zero."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(net.init, jax.random.key(0), X)["params"]
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hidden_layers_are_activated_and_the_last_is_linear(activation):
    net = MLP((4, 7), 2, activation)
    params = drawn(net)
    h, f = X.reshape(5, 6), ACTIVATIONS[activation]
    for name in ("Dense_0", "Dense_1"):
        h = f(h @ params[name]["kernel"] + params[name]["bias"])
    expected = h @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"]
    np.testing.assert_allclose(net.apply({"params": params}, X), expected, rtol=1e-4, atol=1e-5)


def test_without_hidden_layers_it_is_one_linear_map():
    net = MLP((), 3)
    params = drawn(net)
    expected = X.reshape(5, 6) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    np.testing.assert_allclose(net.apply({"params": params}, X), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("init, deviation", [(None, 0.05), (jax.nn.initializers.normal(0.01), 0.01)])
def test_kernels_start_with_their_deviation_and_biases_at_zero(init, deviation):
    params = MLP((300,), 2, kernel_init=init).init(jax.random.key(0), jnp.zeros((1, 400)))["params"]
    assert float(jnp.std(params["Dense_0"]["kernel"])) == pytest.approx(deviation, rel=0.02)
    assert not np.any(params["Dense_0"]["bias"]) and not np.any(params["Dense_1"]["bias"])


def test_an_unknown_activation_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="unknown activation 'snake': there are tanh, .*silu"):
        MLP((4,), 2, "snake").init(jax.random.key(0), X)
