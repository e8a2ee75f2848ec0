import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.language.transformer import inverse_sqrt, smoothed_nats, transformer_translator, warmed_adam
from aigc_jax.networks.transformer import Transformer

NET = Transformer(vocab=9, width=12, depth=1, inner=16, heads=2, dropout=0.0, pre_norm=True, context=6)
KEY = jax.random.key(0)


def reversals(rows=48, seed=0):
    """Three to five tokens, to be written backwards: 0 is the end and the padding."""
    rng = np.random.default_rng(seed)
    length = rng.integers(3, 6, rows).astype(np.int32)
    source, target = np.zeros((2, rows, 6), np.int32)
    for row, n in enumerate(length):
        source[row, :n] = rng.integers(1, 9, n)
        target[row, :n] = source[row, :n][::-1]
    return {"source": source[:, :5], "source_length": length, "target": target, "target_length": length + 1}


def test_smoothing_spreads_its_share_over_all_tokens():
    """Against the cross entropy with the smoothed distribution written out; without a share it is -log p."""
    logits = 3 * jax.random.normal(KEY, (4, 9))
    targets = jnp.array([0, 8, 3, 3])
    log_p = jax.nn.log_softmax(logits)
    for share in (0.0, 0.1, 0.6):
        wanted = (1 - share) * jax.nn.one_hot(targets, 9) + share / 9
        np.testing.assert_allclose(smoothed_nats(logits, targets, share), -(wanted * log_p).sum(-1), rtol=1e-5)


def test_the_loss_is_a_mean_over_tokens_that_count():
    """Of each row's true tokens alone, whatever stands in the padding; its unsmoothed part is what `evaluate` gives."""
    method = transformer_translator(NET, optax.sgd(0.1), smoothing=0.3)
    batch = reversals(4)
    state = jax.jit(method.init)(KEY, batch)
    step = jax.jit(method.step)
    _, metrics = step(state, batch, KEY)
    places = np.arange(6) < batch["target_length"][:, None]
    other = {**batch, "target": np.where(places, batch["target"], 5)}
    other["source"] = np.where(np.arange(5) < batch["source_length"][:, None], batch["source"], 4)
    assert step(state, other, KEY)[1]["loss"] == pytest.approx(float(metrics["loss"]), rel=1e-6)
    nats = jax.jit(method.evaluate)(state, batch, KEY)["nats_per_token"]
    mean = float(nats @ batch["target_length"]) / batch["target_length"].sum()
    assert metrics["nats_per_token"] == pytest.approx(mean, rel=1e-5)
    assert metrics["loss"] != pytest.approx(mean, rel=1e-3)


def test_the_rate_is_that_of_the_paper():
    rate = inverse_sqrt(512, 4000)
    found = [float(rate(n - 1)) for n in (1, 4000, 100_000)]
    np.testing.assert_allclose(found, [1.7469281e-7, 6.9877124e-4, 1.3975425e-4], rtol=1e-5)
    assert float(inverse_sqrt(1024, 4000)(3999)) == pytest.approx(4.9410588e-4, rel=1e-5)


def test_it_learns_to_reverse_and_writes_the_end():
    method = transformer_translator(NET, warmed_adam(12, 40, 0.5), smoothing=0.0, beams=2)
    batch = reversals()
    state, step = jax.jit(method.init)(KEY, batch), jax.jit(method.step)
    first = None
    for index in range(300):
        state, metrics = step(state, batch, jax.random.key(index))
        state = state._replace(step=state.step + 1)
        first = first or float(metrics["loss"])
    assert metrics["loss"] < 0.25 * first
    written = jax.jit(method.sample)(state, batch, KEY)
    assert written.shape == (48, 6) and written.dtype == jnp.int32
    assert jnp.mean(jnp.all(written == batch["target"], 1)) > 0.5


def test_what_translates_is_the_mean_of_the_last_parameters():
    """At step 0 the mean keeps a tenth of what it was; `evaluate` and `sample` read it and not the parameters."""
    method = transformer_translator(NET, optax.sgd(0.5), average=0.9)
    batch = reversals(4)
    begin = jax.jit(method.init)(KEY, batch)
    after, _ = jax.jit(method.step)(begin, batch, KEY)
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, begin.params["network"], after.params["network"])
    chex.assert_trees_all_close(after.memory["average"], expected, rtol=1e-5, atol=1e-7)
    judge = jax.jit(lambda state: (method.evaluate(state, batch, KEY), method.sample(state, batch, KEY)))
    other = after._replace(params=begin.params)
    chex.assert_trees_all_equal(judge(after), judge(other))
    moved = after._replace(memory={"average": begin.params["network"]})
    assert judge(moved)[0]["nats_per_token"][0] != judge(after)[0]["nats_per_token"][0]


@pytest.mark.parametrize("shares", [dict(smoothing=1.0), dict(average=1.0), dict(smoothing=-0.1)])
def test_shares_of_everything_are_refused(shares):
    with pytest.raises(ValueError, match="0 <= share < 1, not"):
        transformer_translator(NET, optax.sgd(0.1), **shares)
