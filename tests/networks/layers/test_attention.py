"""Attention is softmax(q k^T / sqrt(K)) v in every form, sees what it may see, and costs nothing in exactness with a cache."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import attention, local_attention

B, T, S, H, K = 2, 5, 7, 3, 4
FORMS = ("batched", "einsum")


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def inputs(targets: int = T, sources: int = S):
    return normal(0, B, targets, H, K), normal(1, B, sources, H, K), normal(2, B, sources, H, K)


def by_hand(q, k, v, allowed, bias):
    """One query of one head at a time, in float64."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    out = np.zeros(q.shape[:3] + v.shape[3:])
    for b, h, t in np.ndindex(q.shape[0], q.shape[2], q.shape[1]):
        seen = np.flatnonzero(allowed[b, h, t])
        scores = k[b, seen, h] @ q[b, t, h] / np.sqrt(q.shape[-1]) + bias[b, h, t, seen]
        weights = np.exp(scores - scores.max())
        out[b, t, h] = weights @ v[b, seen, h] / weights.sum()
    return out


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("causal", [False, True])
def test_is_the_formula(form, causal):
    q, k, v = inputs()
    mask = np.random.default_rng(3).random((B, 1, T, S)) < 0.7
    mask[..., 0] = True  # every query keeps a key
    bias = normal(4, H, T, S)
    allowed = np.broadcast_to(mask, (B, H, T, S)).copy()
    if causal:
        allowed &= np.arange(S) <= np.arange(T)[:, None] + S - T
    expected = by_hand(q, k, v, allowed, np.broadcast_to(bias, (B, H, T, S)))
    run = jax.jit(lambda q, k, v: attention(q, k, v, causal=causal, mask=jnp.asarray(mask), bias=bias, form=form))
    np.testing.assert_allclose(run(q, k, v), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_the_forms_agree_in_value_and_in_every_gradient(causal):
    q, k, v = inputs()
    bias, mask = normal(4, H, T, S), jnp.arange(S) < jnp.array([S, 3])[:, None, None, None]

    def run(form):
        def scalar(q, k, v, bias):
            return jnp.sum(jnp.sin(attention(q, k, v, causal=causal, mask=mask, bias=bias, form=form)))

        return jax.value_and_grad(scalar, argnums=(0, 1, 2, 3))(q, k, v, bias)

    one, other = jax.jit(lambda: tuple(run(form) for form in FORMS))()
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


@pytest.mark.parametrize("form", FORMS)
def test_a_causal_query_has_exactly_no_gradient_to_later_keys(form):
    q, k, v = inputs(T, T)
    run = jax.jit(jax.jacrev(lambda k, v: attention(q, k, v, causal=True, form=form), argnums=(0, 1)))
    to_keys, to_values = (np.any(np.asarray(j) != 0, axis=(0, 2, 3, 4, 6, 7)) for j in run(k, v))  # [T, S]
    assert not np.any(np.triu(to_keys, 1))
    np.testing.assert_array_equal(to_values, np.tril(np.ones((T, T), bool)))


@pytest.mark.parametrize("form", FORMS)
def test_token_by_token_against_a_cache_is_the_causal_pass(form):
    q, k, v = inputs(T, T)
    whole = jax.jit(lambda: attention(q, k, v, causal=True, form=form))()
    slots = (
        (0, 0),
        (0, 3),
        (0, 0),
        (0, 0),
    )  # a cache is longer than what it holds; what lies in empty slots is garbage
    keys, values = jnp.pad(k, slots, constant_values=1e6), jnp.pad(v, slots, constant_values=-1e6)
    step = jax.jit(lambda q, t: attention(q, keys, values, mask=jnp.arange(T + 3) <= t, form=form))
    for t in range(T):
        np.testing.assert_allclose(step(q[:, t : t + 1], t)[:, 0], whole[:, t], rtol=1e-5, atol=1e-6)


def test_the_newest_queries_see_the_whole_past():
    q, k, v = inputs(T, T)
    whole = attention(q, k, v, causal=True)
    np.testing.assert_allclose(attention(q[:, -2:], k, v, causal=True), whole[:, -2:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_query_without_a_key_stays_finite(form):
    q, k, v = inputs()
    mask = jnp.zeros((B, 1, T, S), bool)
    value, gradient = jax.value_and_grad(lambda q: jnp.sum(attention(q, k, v, mask=mask, form=form)))(q)
    assert np.isfinite(value) and np.all(np.isfinite(gradient))


def test_equal_keys_give_the_mean_and_scores_are_float32_in_half_precision():
    q, k, v = (a.astype(jnp.bfloat16) for a in inputs())
    out = attention(q, jnp.zeros_like(k), v)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out[:, 0].astype(jnp.float32), v.astype(jnp.float32).mean(1), atol=1e-2)
    assert "f32[2,3,5,7]" in str(jax.make_jaxpr(attention)(q, k, v))


@pytest.mark.parametrize(
    ("shapes", "options", "words"),
    [
        (((B, T, H, K), (B, S, H, K + 1), (B, S, H, K)), {}, "do not fit"),
        (((B, T, H, K), (B, S, H, K), (B, T, H, K)), {}, "do not fit"),
        (((B, S, H, K), (B, T, H, K), (B, T, H, K)), {"causal": True}, "7 queries over 5 keys"),
        (((B, T, H, K), (B, S, H, K), (B, S, H, K)), {"causal": True, "form": "cudnn"}, "cudnn"),
    ],
)
def test_what_does_not_fit_is_an_error_with_the_numbers(shapes, options, words):
    with pytest.raises(ValueError, match=words):
        attention(*(jnp.zeros(shape) for shape in shapes), **options)


@pytest.mark.parametrize(
    "length, block, memory, by_distance", [(12, 3, 3, 0), (13, 4, 6, 1), (7, 5, 0, 1), (5, 8, 8, 1), (6, 2, 50, 0)]
)
def test_attention_in_blocks_is_that_of_the_equivalent_mask_in_value_and_gradient(length, block, memory, by_distance):
    q, k, v = inputs(length, length)
    near = normal(5, H, block + memory) if by_distance else None
    t, s = np.arange(length)[:, None], np.arange(length)
    mask = (s <= t) & (s >= t // block * block - memory)
    bias = None if near is None else near[:, (t - s).clip(0, block + memory - 1)]

    def run(f):
        def scalar(q, k, v):
            return jnp.sum(jnp.sin(f(q, k, v)))

        return jax.jit(lambda *x: (f(*x), jax.grad(scalar, argnums=(0, 1, 2))(*x)))(q, k, v)

    ours = run(lambda q, k, v: local_attention(q, k, v, block=block, memory=memory, near=near))
    full = run(lambda q, k, v: attention(q, k, v, mask=jnp.asarray(mask), bias=bias))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, full)


def test_attention_in_blocks_never_holds_all_pairs():
    """Its largest array grows as T, not as T^2."""

    def largest(length):
        run = jax.make_jaxpr(lambda q, k, v: local_attention(q, k, v, block=4, memory=4))
        jaxpr = run(*inputs(length, length)).jaxpr
        return max(np.prod(var.aval.shape) for equation in jaxpr.eqns for var in equation.outvars)

    assert largest(512) == 4 * largest(128) < B * H * 512 * 16


@pytest.mark.parametrize("block, memory", [(0, 4), (4, -1)])
def test_blocks_that_are_none_are_refused(block, memory):
    with pytest.raises(ValueError, match=f"blocks of {block} with a memory of {memory}"):
        local_attention(*inputs(T, T), block=block, memory=memory)
