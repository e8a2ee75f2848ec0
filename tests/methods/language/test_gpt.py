import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.language.gpt import adamw, language_model, token_nats
from aigc_jax.networks.gpt import GPT
from aigc_jax.optimizers import are_kernels

NET = GPT(vocab=7, context=8, width=12, depth=2, heads=3, dropout=0.0)


def batch_of(rows=4, length=6, seed=0):
    return {"tokens": jax.random.randint(jax.random.key(seed), (rows, length + 1), 0, 7)}


def born(method, scale=20.0):
    """A state whose answers depend on what was read."""
    state = jax.jit(method.init)(jax.random.key(0), batch_of())
    params = jax.tree.map(lambda leaf: scale * leaf if leaf.ndim > 1 else leaf, state.params)
    return state._replace(params=params)


def test_token_nats_and_their_gradient_are_those_of_softmax():
    logits = 3 * jax.random.normal(jax.random.key(0), (5, 9))
    targets = jnp.array([0, 8, 3, 3, 1])
    expected = -jnp.take_along_axis(jax.nn.log_softmax(logits), targets[:, None], -1)[:, 0]
    chex.assert_trees_all_close(token_nats(logits, targets), expected, rtol=1e-5)
    gradient = jax.grad(lambda z: token_nats(z, targets).sum())(logits)
    chex.assert_trees_all_close(gradient, jax.nn.softmax(logits) - jax.nn.one_hot(targets, 9), atol=1e-6)


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary():
    method = language_model(NET, optax.sgd(0.1))
    state = born(method, scale=0.0)
    found = jax.jit(method.evaluate)(state, batch_of(), jax.random.key(0))
    chex.assert_trees_all_close(found["nats_per_token"], jnp.full(4, np.log(7)), rtol=1e-6)
    _, metrics = jax.jit(method.step)(state, batch_of(), jax.random.key(0))
    assert metrics["loss"] == pytest.approx(np.log(7))


def test_probabilities_of_all_continuations_sum_to_one():
    """The chain rule: p(x_1 .. x_3 | x_0) over all 7^3 of them."""
    method = language_model(NET, optax.sgd(0.1))
    every = jnp.array([(2, *rest) for rest in itertools.product(range(7), repeat=3)])
    nats = jax.jit(method.evaluate)(born(method), {"tokens": every}, jax.random.key(0))["nats_per_token"] * 3
    assert jnp.exp(-nats).sum() == pytest.approx(1, abs=1e-5)
    assert jnp.exp(-nats).max() > 10 / 7**3


def test_tokens_of_weight_zero_count_nothing():
    method = language_model(NET, optax.sgd(0.1))
    state, batch = born(method), batch_of()
    weights = jnp.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], jnp.float32)
    reached = jnp.pad(weights, ((0, 0), (1, 0)), constant_values=1) > 0  # what is read, or predicted with weight
    other = {"tokens": jnp.where(reached, batch["tokens"], (batch["tokens"] + 1) % 7)}
    key = jax.random.key(0)
    step, evaluate = jax.jit(method.step), jax.jit(method.evaluate)
    one, two = ({**each, "weights": weights} for each in (batch, other))
    chex.assert_trees_all_close(step(state, one, key), step(state, two, key), atol=1e-6)
    found = evaluate(state, one, key)
    chex.assert_trees_all_close(found, evaluate(state, two, key), atol=1e-6)
    assert found["nats_per_token"][3] == 0
    short = evaluate(state, {"tokens": batch["tokens"][1:2, :4]}, key)
    chex.assert_trees_all_close(found["nats_per_token"][1], short["nats_per_token"][0], rtol=1e-5)
    nats = (
        float(found["nats_per_token"] @ jnp.array([6.0, 3, 1, 0])) / 10
    )  # the loss is a mean over tokens, not over rows
    assert step(state, one, key)[1]["loss"] == pytest.approx(nats, rel=1e-5)


def test_accuracy_counts_the_likeliest_token():
    method = language_model(NET, optax.sgd(0.1))
    state, batch = born(method), batch_of()
    logits = NET.apply({"params": state.params["network"]}, batch["tokens"][:, :-1])
    right = (jnp.argmax(logits, -1) == batch["tokens"][:, 1:]).mean(1)
    chex.assert_trees_all_close(method.evaluate(state, batch, jax.random.key(0))["accuracy"], right, rtol=1e-6)


def test_micro_batches_give_the_step_of_the_whole_batch():
    """Parts hold different numbers of tokens that count, so a plain mean over parts would differ."""
    batch = {**batch_of(), "weights": jnp.ones((4, 6)).at[1::2, 1:].set(0)}
    whole, parts = (language_model(NET, optax.sgd(0.5), micro_batches=n) for n in (1, 2))
    state = born(whole)
    (one, m1), (two, m2) = (jax.jit(m.step)(state, batch, jax.random.key(0)) for m in (whole, parts))
    chex.assert_trees_all_close(one.params, two.params, atol=1e-6)
    chex.assert_trees_all_close(m1, m2, rtol=1e-5)


@pytest.mark.parametrize("scan", [False, True])
def test_only_kernels_of_linear_maps_decay(scan):
    net = GPT(vocab=7, context=8, width=12, depth=2, heads=3, scan=scan)
    params = jax.jit(net.init)(jax.random.key(0), batch_of()["tokens"])["params"]
    tx = adamw(0.1, 10, warmup=0, weight_decay=0.5)
    state = tx.init(params)
    updates, _ = jax.jit(tx.update)(jax.tree.map(jnp.zeros_like, params), state, params)
    moved = jax.tree_util.tree_map_with_path(lambda path, u: bool(jnp.any(u != 0)), updates)
    assert moved == are_kernels(params)
    names = {path[-1].key for path, kernel in jax.tree_util.tree_leaves_with_path(are_kernels(params)) if kernel}
    others = {path[-1].key for path, kernel in jax.tree_util.tree_leaves_with_path(are_kernels(params)) if not kernel}
    assert names == {"kernel"} and others == {"bias", "scale", "tokens", "positions"}


def test_the_rate_rises_to_its_peak_and_falls_to_its_end():
    tx = adamw(1.0, 100, warmup=10, final=0.1, weight_decay=0.0)
    params = {"kernel": jnp.zeros(())}
    state, sizes = tx.init(params), []
    for _ in range(101):
        updates, state = tx.update({"kernel": jnp.ones(())}, state, params)
        sizes.append(-float(updates["kernel"]))  # Adam divides a constant gradient by itself: what is left is the rate
    chex.assert_trees_all_close(np.array(sizes)[[0, 5, 10, 55, 100]], np.array([0, 0.5, 1.0, 0.55, 0.1]), atol=1e-4)
    assert np.argmax(sizes) == 10


def test_gradients_are_clipped_at_global_norm_one():
    params = {"kernel": jnp.zeros(2)}
    tx = adamw(1.0, 10, warmup=0)
    moments = [tx.update({"kernel": jnp.array([30.0, 40.0]) * k}, tx.init(params), params)[1] for k in (1, 7)]
    chex.assert_trees_all_close(*moments, rtol=1e-6)


def test_it_learns_a_batch_by_heart_and_continues_it():
    method = language_model(NET, adamw(0.02, 150, warmup=10, weight_decay=0.0), prompt=2, steps=4, temperature=0.0)
    batch = {"tokens": jnp.array([[0, 1, 2, 3, 4, 5, 6], [1, 3, 5, 0, 2, 4, 6], [6, 5, 4, 3, 2, 1, 0]])}
    state, step = jax.jit(method.init)(jax.random.key(0), batch), jax.jit(method.step)
    for index in range(150):
        state, metrics = step(state, batch, jax.random.key(index))
    assert metrics["loss"] < 0.5  # of ln 7 = 1.95; the first token of a row leaves nothing to guess from
    drawn = jax.jit(method.sample)(state, {"tokens": np.asarray(batch["tokens"])}, jax.random.key(0))
    chex.assert_trees_all_equal(drawn, batch["tokens"][:, :6])


def test_dropout_acts_in_training_only():
    net = GPT(vocab=7, context=8, width=12, depth=2, heads=3, dropout=0.5)
    dropped, whole = language_model(net, optax.sgd(0.1)), language_model(NET, optax.sgd(0.1))
    state, key = born(whole), jax.random.key(0)
    one, other = (jax.jit(m.step)(state, batch_of(), key)[1]["loss"] for m in (dropped, whole))
    assert abs(one - other) > 1e-3
    chex.assert_trees_all_close(*(jax.jit(m.evaluate)(state, batch_of(), key) for m in (dropped, whole)))


@pytest.mark.parametrize("restriction", [dict(top_k=1), dict(top_p=1e-6), dict(temperature=1e-6)])
def test_samples_restricted_to_the_likeliest_token_are_the_greedy_ones(restriction):
    greedy = language_model(NET, optax.sgd(0.1), prompt=3, temperature=0.0)
    state = born(greedy, scale=2.0)
    key, batch = jax.random.key(0), batch_of(rows=8)
    free, restricted = (language_model(NET, optax.sgd(0.1), prompt=3, **knobs) for knobs in ({}, restriction))
    expected = greedy.sample(state, batch, key)
    chex.assert_trees_all_equal(restricted.sample(state, batch, key), expected)
    assert jnp.any(free.sample(state, batch, key) != expected)


def test_samples_start_with_the_prompt_and_follow_the_key():
    method = language_model(NET, optax.sgd(0.1), prompt=3, temperature=1.5)
    state, batch = born(method, scale=5.0), batch_of(rows=8)
    sample = jax.jit(method.sample)
    one, same, other = (sample(state, batch, jax.random.key(seed)) for seed in (0, 0, 1))
    assert one.shape == (8, NET.context) and one.dtype == jnp.int32
    chex.assert_trees_all_equal(one[:, :3], batch["tokens"][:, :3])
    chex.assert_trees_all_equal(one, same)
    assert jnp.any(one != other)


@pytest.mark.parametrize("sizes", [dict(prompt=0), dict(prompt=4, steps=5), dict(prompt=8), dict(steps=0)])
def test_a_sample_that_does_not_fit_the_context_is_refused(sizes):
    with pytest.raises(ValueError, match="do not fit a context of 8"):
        language_model(NET, optax.sgd(0.1), **sizes)
