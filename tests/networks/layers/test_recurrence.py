"""Each recurrence is its equations step by step, causal, and blind to padding."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import elman, gru, lstm

B, T, D, H = 3, 6, 4, 5
GATES = {"elman": 1, "lstm": 4, "gru": 3, "gru_before": 3}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def matrices(name: str):
    g = GATES[name]
    given = normal(1, D, g * H), normal(2, H, g * H), normal(3, g * H)
    return (*given, normal(4, 3 * H)) if name == "gru" else given


def run(name: str, x, state=None, given=None, **options):
    """(outputs, last state) with the state as a tuple, whatever the cell."""
    w, u, b, *rest = given or matrices(name)
    if name == "lstm":
        return lstm(x, w, u, b, state, **options)
    if name == "elman":
        outputs, h = elman(x, w, u, b, *(state or ()), **options)
    elif name == "gru":
        outputs, h = gru(x, w, u, b, *(state or ()), recurrent_bias=rest[0], **options)
    else:
        outputs, h = gru(x, w, u, b, *(state or ()), reset_after=False, **options)
    return outputs, (h,)


def one_step(name: str, x, state, given=None, np=np):
    """The equations for one input [B, D], gate by gate, in NumPy or, to be differentiated, in JAX."""

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    w, u, b, *rest = given or matrices(name)
    h = state[0]
    part = [slice(i * H, (i + 1) * H) for i in range(GATES[name])]
    if name == "elman":
        return (np.tanh(x @ w + h @ u + b),)
    if name == "lstm":
        i, f, g, o = (x @ w[:, s] + h @ u[:, s] + b[s] for s in part)
        c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(c), c
    if name == "gru":
        (d,) = rest
        r, z = (sigmoid(x @ w[:, s] + h @ u[:, s] + b[s] + d[s]) for s in part[:2])
        n = np.tanh(x @ w[:, part[2]] + b[part[2]] + r * (h @ u[:, part[2]] + d[part[2]]))
    else:
        r, z = (sigmoid(x @ w[:, s] + h @ u[:, s] + b[s]) for s in part[:2])
        n = np.tanh(x @ w[:, part[2]] + b[part[2]] + (r * h) @ u[:, part[2]])
    return ((1 - z) * n + z * h,)


def start(name: str):
    return tuple(normal(5 + i, B, H) for i in range(2 if name == "lstm" else 1))


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("reverse", [False, True])
def test_is_its_equations_step_by_step(name, reverse):
    x, state = normal(0, B, T, D), start(name)
    outputs, last = jax.jit(lambda x, s: run(name, x, s, reverse=reverse))(x, state)
    for t in reversed(range(T)) if reverse else range(T):
        state = one_step(name, x[:, t], state)
        np.testing.assert_allclose(outputs[:, t], state[0], rtol=1e-4, atol=1e-5)
    for one, other in zip(last, state, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", GATES)
def test_an_output_has_exactly_no_gradient_to_later_inputs(name):
    jacobian = jax.jit(jax.jacrev(lambda x: run(name, x)[0].sum((0, 2))))(normal(0, B, T, D))  # [T, B, T, D]
    seen = np.any(np.asarray(jacobian) != 0, axis=(1, 3))
    np.testing.assert_array_equal(seen, np.tril(np.ones((T, T), bool)))


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("reverse", [False, True])
def test_padding_has_no_effect(name, reverse):
    x, length = normal(0, B, T, D), 4
    padded = np.concatenate([x[:, :length], 1e3 * np.ones((B, T - length, D), np.float32)], 1)
    mask = jnp.broadcast_to(jnp.arange(T) < length, (B, T))
    outputs, last = jax.jit(lambda x: run(name, x, mask=mask, reverse=reverse))(padded)
    short, short_last = jax.jit(lambda x: run(name, x, reverse=reverse))(x[:, :length])
    np.testing.assert_allclose(outputs[:, :length], short, rtol=1e-5, atol=1e-6)
    for one, other in zip(last, short_last, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", GATES)
def test_two_halves_in_turn_are_the_whole(name):
    x = normal(0, B, T, D)
    whole, last = run(name, x)
    first, state = run(name, x[:, :2])
    second, end = run(name, x[:, 2:], state)
    np.testing.assert_allclose(np.concatenate([first, second], 1), whole, rtol=1e-5, atol=1e-6)
    for one, other in zip(end, last, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", GATES)
def test_the_loops_hold_no_product_that_need_not_wait(name):
    """Forward the state times U alone, backward the same transposed: those of x, W and the gradient of U are outside."""
    jaxpr = jax.make_jaxpr(jax.grad(lambda x: run(name, x)[0].sum()))(normal(0, B, T, D))
    scans = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    assert len(scans) == 2
    for scan in scans:
        products = [e for e in scan.params["jaxpr"].jaxpr.eqns if e.primitive.name == "dot_general"]
        assert products and {e.outvars[0].aval.shape[0] for e in products} == {B}
        assert sum(e.invars[1].aval.size for e in products) == H * GATES[name] * H


@pytest.mark.parametrize("name, reverse", list(zip(GATES, [False, True, False, True])))
def test_gradients_are_those_of_the_equations_step_by_step(name, reverse):
    """Of inputs, every matrix and bias, and the first state, under a mask; the equations are differentiated unrolled."""
    mask = jnp.arange(T) < np.array([6, 4, 1])[:, None]
    weight = normal(9, B, T, H)

    def by_scan(x, given, state):
        outputs, last = run(name, x, state, given, mask=mask, reverse=reverse)
        return jnp.sum(weight * outputs) + sum(jnp.sum(jnp.sin(one)) for one in last)

    def unrolled(x, given, state):
        total = 0.0
        for t in reversed(range(T)) if reverse else range(T):
            after = one_step(name, x[:, t], state, given, jnp)
            state = tuple(jnp.where(mask[:, t, None], new, old) for new, old in zip(after, state, strict=True))
            total += jnp.sum(weight[:, t] * state[0])
        return total + sum(jnp.sum(jnp.sin(one)) for one in state)

    given = normal(0, B, T, D), matrices(name), start(name)
    found, expected = (jax.grad(cost, (0, 1, 2))(*given) for cost in (by_scan, unrolled))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)


def test_a_gru_that_resets_before_has_one_bias():
    w, u, b, _ = matrices("gru")
    with pytest.raises(ValueError, match="has one bias"):
        gru(jnp.zeros((B, T, D)), w, u, b, recurrent_bias=b, reset_after=False)
