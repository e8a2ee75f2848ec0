import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.generate import beam_search, draw_token, generate, restrict
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


def beam(table, steps, first, **options):
    """Scores and tokens of all hypotheses of a Markov model, token 0 the end."""
    first = jnp.asarray(first)
    return beam_search(markov_step, table, None, first, steps, **options)


def every_hypothesis(table, steps, first, penalty):
    """score -> tokens by enumeration: an end at no cost after steps - 1 tokens."""
    log_p, found = np.asarray(jax.nn.log_softmax(table)), []
    for length in range(1, steps + 1):
        for words in itertools.product(range(1, len(log_p)), repeat=length - 1):
            path = [first, *words, 0][: length + (length < steps)]
            cost = sum(log_p[a, b] for a, b in itertools.pairwise(path))
            found.append((cost / penalty(length), [*words, *[0] * (steps - len(words))]))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("form, alpha", [("gnmt", 0.6), ("power", 1.0), ("gnmt", 0.0)])
def test_a_beam_as_wide_as_all_texts_finds_them_in_the_order_of_their_scores(form, alpha):
    """V^T beams prune nothing: 4 tokens, 3 steps, 1 + 3 + 9 hypotheses."""
    table = 2 * jax.random.normal(jax.random.key(0), (4, 4))
    tokens, scores = beam(table, 3, [1, 2, 3], beams=64, alpha=alpha, form=form)
    for row, first in enumerate([1, 2, 3]):
        expected = every_hypothesis(
            table, 3, first, lambda n: ((5 + n) / 6) ** alpha if form == "gnmt" else float(n) ** alpha
        )
        assert len(expected) == 13
        np.testing.assert_allclose(scores[row, :13], [score for score, _ in expected], rtol=1e-5)
        assert tokens[row, :13].tolist() == [words for _, words in expected]
        assert jnp.all(scores[row, 13:] == -jnp.inf)


def gpt_beams(params, prompt, steps, **options):
    return beam_search(gpt_step, params, NET.empty_cache(len(prompt), steps), prompt[:, 0], steps, **options)


def test_one_beam_is_greedy(gpt):
    """Texts end with a token that greedy generation comes to after 1, 3, ... tokens, or never."""
    prompt = jnp.arange(1, 9)[:, None]
    greedy = generate(gpt_step, gpt, NET.empty_cache(8, 12), prompt, 10, jax.random.key(0), temperature=0.0)
    end = int(greedy[0, 3])
    found, _ = gpt_beams(gpt, prompt, 11, beams=1, end=end)
    before = jnp.cumprod(greedy != end, 1)  # 1 up to the first end
    chex.assert_trees_all_equal(found[:, 0, :10], jnp.where(before, greedy, end))
    assert len(jnp.unique(before.sum(1))) > 1


def test_beams_are_scored_by_what_was_read_and_are_the_better_the_more(gpt):
    """Scores are those of the texts read at once, without a cache; rows do not depend on each other."""
    prompt, steps = jnp.arange(1, 9)[:, None], 9
    tokens, scores = gpt_beams(gpt, prompt, steps, beams=3, alpha=0.0)
    read = jnp.concatenate([jnp.broadcast_to(prompt[:, None], (8, 3, 1)), tokens], 2).reshape(24, -1)
    log_p = jax.nn.log_softmax(jax.jit(NET.apply)(gpt, read[:, :-1]))
    each = jnp.take_along_axis(log_p, read[:, 1:, None], -1)[..., 0]
    place = jnp.arange(steps)
    length = (read[:, 1:] != 0).sum(1, keepdims=True)
    counted = (place <= length) & (place < steps - 1)
    np.testing.assert_allclose(jnp.sum(each * counted, 1), scores.reshape(-1), rtol=1e-4, atol=1e-4)
    alone, _ = gpt_beams(gpt, prompt[5:6], steps, beams=3, alpha=0.0)
    chex.assert_trees_all_equal(alone[0], tokens[5])
    _, one = gpt_beams(gpt, prompt, steps, beams=1, alpha=0.0)
    assert jnp.all(scores[:, 0] >= one[:, 0] - 1e-4) and jnp.any(scores[:, 0] > one[:, 0] + 1e-2)


def test_an_ended_hypothesis_is_kept_until_better_ones_have_ended():
    """The end at once is the likeliest of all; a text of two tokens is next, and what is alive never comes near."""
    p = jnp.array([[1.0, 0, 0], [0.5, 0.3, 0.2], [0.9, 0.05, 0.05]])
    tokens, scores = beam(jnp.log(p), 6, [1], beams=2, alpha=0.0)
    assert tokens[0].tolist() == [[0] * 6, [2, 0, 0, 0, 0, 0]]
    np.testing.assert_allclose(jnp.exp(scores[0]), [0.5, 0.18], rtol=1e-5)


def test_a_penalty_prefers_longer_texts_and_bound_waits_for_them():
    """A sure text of 4 tokens at p = 0.3 against an end at p = 0.36: 0.3 wins once |y| is divided by; "full" never sees it."""
    p = jnp.array([[1, 0, 0, 0, 0], [0.36, 0, 0.3, 0.34, 0], [0, 0, 0, 0, 1.0], [1, 0, 0, 0, 0], [0.0, 0, 0, 0, 1]])
    found = {
        stop: beam(jnp.log(p), 5, [1], beams=2, alpha=1.0, form="power", stop=stop)[0] for stop in ("bound", "full")
    }
    assert found["bound"][0, 0].tolist() == [2, 4, 4, 4, 0]
    assert found["full"][0, 0].tolist() == [3, 0, 0, 0, 0]


def test_a_search_without_room_is_refused():
    for wrong in (dict(steps=0), dict(steps=2, beams=0)):
        with pytest.raises(ValueError, match="needs steps and beams >= 1"):
            beam_search(markov_step, jnp.zeros((2, 2)), None, jnp.zeros(1, jnp.int32), **wrong)
