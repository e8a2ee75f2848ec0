import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.generate import draw_token, generate, restrict
from aigc_jax.networks.gpt import GPT

NET = GPT(vocab=11, context=16, width=12, depth=2, heads=3, dropout=0.0)


def gpt_step(params, tokens, cache):
    return NET.apply(params, tokens, cache, method="step")


def markov_step(table, tokens, cache):
    """A model whose next token depends on the last one alone: row of a table [V, V] of logits."""
    return table[tokens[:, -1]], cache


@pytest.fixture(scope="module")
def gpt():
    """Weights large enough that what comes next depends on what came before."""
    params = jax.jit(NET.init)(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    return jax.tree.map(lambda leaf: 40 * leaf if leaf.ndim > 1 else leaf, params)


def uncached_greedy(params, tokens, steps):
    """The whole sequence anew for every token, padded to one length: a token does not see what follows it."""
    read, filled = tokens.shape[1], jnp.pad(tokens, ((0, 0), (0, steps)))
    apply = jax.jit(NET.apply)
    for at in range(read, read + steps):
        filled = filled.at[:, at].set(jnp.argmax(apply(params, filled)[:, at - 1], -1))
    return filled[:, read:]


def test_greedy_generation_equals_a_loop_without_cache(gpt):
    prompt = jax.random.randint(jax.random.key(1), (3, 4), 0, 11)
    found = generate(gpt_step, gpt, NET.empty_cache(3, 14), prompt, 10, jax.random.key(0), temperature=0.0)
    assert found.shape == (3, 10) and found.dtype == jnp.int32
    chex.assert_trees_all_equal(found, uncached_greedy(gpt, prompt, 10))
    assert len(np.unique(found)) > 2  # a constant answer would be equal for the wrong reason


def test_temperature_near_zero_is_greedy(gpt):
    prompt = jax.random.randint(jax.random.key(1), (3, 4), 0, 11)
    cold, greedy = (
        generate(gpt_step, gpt, NET.empty_cache(3, 12), prompt, 8, jax.random.key(0), temperature=temperature)
        for temperature in (1e-4, 0.0)
    )
    chex.assert_trees_all_equal(cold, greedy)


def test_sequences_come_with_their_probability():
    """Frequencies of all 27 continuations against the product of the conditionals."""
    table = jax.random.normal(jax.random.key(0), (3, 3))
    n = 60_000
    found = generate(markov_step, table, None, jnp.zeros((n, 1), jnp.int32), 3, jax.random.key(1), temperature=0.8)
    count = jnp.bincount(found @ jnp.array([9, 3, 1]), length=27)
    p = jax.nn.softmax(table / 0.8)
    expected = jnp.array([p[0, a] * p[a, b] * p[b, c] for a, b, c in itertools.product(range(3), repeat=3)])
    assert jnp.all(jnp.abs(count / n - expected) < 4 * jnp.sqrt(expected * (1 - expected) / n))


def test_a_second_prompt_of_the_same_shape_compiles_nothing():
    def step(table, tokens, cache):
        return markov_step(table, tokens, cache)

    before = generate._cache_size()
    for seed in range(3):
        table = jax.random.normal(jax.random.key(seed), (4, 4))
        generate(step, table, None, jnp.full((2, 3), seed, jnp.int32), 5, jax.random.key(seed))
    assert generate._cache_size() == before + 1


def test_one_step_alone_is_the_first_of_many():
    table, prompt = jax.random.normal(jax.random.key(0), (5, 5)), jnp.arange(5)[:, None]
    one = generate(markov_step, table, None, prompt, 1, jax.random.key(0), temperature=0.0)
    many = generate(markov_step, table, None, prompt, 4, jax.random.key(0), temperature=0.0)
    chex.assert_trees_all_equal(one[:, 0], many[:, 0], jnp.argmax(table, -1).astype(jnp.int32))


def kept(logits, **how):
    """The distribution that is drawn from."""
    return jax.nn.softmax(restrict(jnp.asarray(logits, jnp.float32), **how))


def test_the_whole_vocabulary_and_the_whole_mass_leave_probabilities_unchanged():
    logits = jax.random.normal(jax.random.key(0), (4, 9)) * 5
    chex.assert_trees_all_close(kept(logits, temperature=1.0, top_k=9, top_p=1.0), jax.nn.softmax(logits), atol=1e-7)


def test_top_k_keeps_ties_with_the_kth():
    chex.assert_trees_all_close(kept([1.0, 3.0, 2.0, 2.0, 0.0], top_k=2) > 0, jnp.array([0, 1, 1, 1, 0], bool))
    chex.assert_trees_all_close(kept([1.0, 3.0, 2.0, 2.5, 0.0], top_k=2) > 0, jnp.array([0, 1, 0, 1, 0], bool))


@pytest.mark.parametrize("p", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_top_p_keeps_the_smallest_set_that_reaches_the_mass(p):
    logits = np.asarray(jax.random.normal(jax.random.key(0), (20, 7)) * 2)
    for row in logits:
        probabilities = np.asarray(jax.nn.softmax(row))
        sizes = range(1, 8)
        largest = {size: max(itertools.combinations(range(7), size), key=lambda s: probabilities[list(s)].sum())
                   for size in sizes}  # fmt: skip
        expected = next(largest[size] for size in sizes if probabilities[list(largest[size])].sum() >= p)
        assert set(np.flatnonzero(kept(row, top_p=p))) == set(expected)


def test_the_token_that_crosses_p_stays_and_equal_tokens_are_cut():
    logits = jnp.log(jnp.array([0.1, 0.5, 0.4]))
    chex.assert_trees_all_close(kept(logits, top_p=0.6), jnp.array([0.0, 5 / 9, 4 / 9]), atol=1e-6)
    chex.assert_trees_all_close(kept(logits, top_p=0.2), jnp.array([0.0, 1.0, 0.0]), atol=1e-6)
    chex.assert_trees_all_close(kept(jnp.zeros(4), top_p=0.5), jnp.array([0.5, 0.5, 0.0, 0.0]), atol=1e-6)


def test_order_is_temperature_then_top_k_then_top_p():
    logits = jnp.log(jnp.array([0.4, 0.3, 0.2, 0.1]))
    # As they are, 0.4 + 0.3 reaches 0.65; at temperature 1/2 the first two weigh 16 + 9 of 30, the first alone 0.53.
    assert int((kept(logits, top_p=0.5) > 0).sum()) == 2
    assert int((kept(logits, temperature=0.5, top_p=0.5) > 0).sum()) == 1
    # Among the two that top-k keeps the first has 4/7 of the mass: top-p of 0.55 keeps it alone, of all it keeps two.
    assert int((kept(logits, top_p=0.55) > 0).sum()) == 2
    assert int((kept(logits, top_k=2, top_p=0.55) > 0).sum()) == 1


def test_tokens_outside_are_never_drawn():
    logits = jnp.broadcast_to(jnp.log(jnp.array([0.35, 0.05, 0.3, 0.3])), (20_000, 4))
    drawn = draw_token(logits, jax.random.key(0), top_p=0.5)
    frequency = jnp.bincount(drawn, length=4) / 20_000
    chex.assert_trees_all_close(frequency, jnp.array([35 / 65, 0, 30 / 65, 0]), atol=0.015)


@pytest.mark.parametrize(
    "how, message",
    [
        (dict(temperature=-1.0), "temperature must be positive"),
        (dict(top_k=0), "top_k must lie in 1 .. 3"),
        (dict(top_k=4), "top_k must lie in 1 .. 3"),
        (dict(top_p=0.0), "top_p must lie in"),
        (dict(top_p=1.5), "top_p must lie in"),
    ],
)
def test_numbers_out_of_range_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        draw_token(jnp.zeros(3), jax.random.key(0), **how)


def test_nothing_to_read_or_to_write_is_refused():
    for prompt, steps in ((jnp.zeros((1, 0), jnp.int32), 1), (jnp.zeros((1, 1), jnp.int32), 0)):
        with pytest.raises(ValueError, match="needs a prompt and steps >= 1"):
            generate(markov_step, jnp.zeros((2, 2)), None, prompt, steps, jax.random.key(0))
