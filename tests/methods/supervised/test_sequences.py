import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.supervised import regressor, tagger
from aigc_jax.networks.recurrent import Reader, Recurrent

KEY = jax.random.key(0)
NET = Reader(Recurrent(6, bidirectional=True, cell="gru"), outputs=3, every=True, vocab=5, embedding=4)
BATCH = {
    "inputs": jnp.array([[1, 2, 3, 4], [4, 1, 0, 0], [3, 0, 0, 0]]),
    "labels": jnp.array([[0, 1, 2, 1], [2, 2, 0, 0], [1, 0, 0, 0]]),
    "length": jnp.array([4, 2, 1]),
}


def test_steps_past_the_end_count_nowhere():
    method = tagger(NET, optax.sgd(0.0))
    state, evaluate, step = jax.jit(method.init)(KEY, BATCH), jax.jit(method.evaluate), jax.jit(method.step)
    past = jnp.arange(4) >= BATCH["length"][:, None]
    other = {**BATCH, "inputs": jnp.where(past, 2, BATCH["inputs"]), "labels": jnp.where(past, 1, BATCH["labels"])}
    found, again = evaluate(state, BATCH, KEY), evaluate(state, other, KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, again)
    loss = step(state, BATCH, KEY)[1]["loss"]
    assert loss == pytest.approx(float(found["cross_entropy"] @ BATCH["length"]) / 7, rel=1e-5)
    assert loss == pytest.approx(float(step(state, other, KEY)[1]["loss"]), rel=1e-5)


@pytest.mark.parametrize("both", [False, True])
def test_a_label_may_depend_on_what_follows(both):
    """The label of a step is the token after it: a net that reads one way guesses one of three, both ways it knows."""
    tokens = jax.random.randint(KEY, (2, 64, 6), 0, 3)
    after = jnp.pad(tokens[..., 1:], ((0, 0), (0, 0), (0, 1)))
    batches = [{"inputs": x, "labels": y, "length": jnp.full(64, 6)} for x, y in zip(tokens, after)]
    net = Reader(Recurrent(12, bidirectional=both, cell="gru"), outputs=3, every=True, vocab=3, embedding=8)
    method = tagger(net, optax.adam(0.03))
    state, step = jax.jit(method.init)(KEY, batches[0]), jax.jit(method.step)
    for _ in range(60):
        state, _ = step(state, batches[0], KEY)
    found = jax.jit(method.evaluate)(state, batches[1], KEY)
    assert (found["accuracy"].mean() > 0.95) == both and (found["whole"].mean() > 0.8) == both
    assert both or found["accuracy"].mean() < 0.6


def test_a_regressor_is_judged_by_its_squares():
    net = Reader(Recurrent(5), outputs=1)
    batch = {"inputs": jax.random.normal(KEY, (4, 6, 2)), "value": jnp.arange(4.0)}
    method = regressor(net, optax.adam(0.03))
    state = jax.jit(method.init)(KEY, batch)
    answer, _ = net.apply({"params": state.params["network"]}, batch["inputs"])
    found = jax.jit(method.evaluate)(state, batch, KEY)["mse"]
    np.testing.assert_allclose(found, (answer[:, 0] - batch["value"]) ** 2, rtol=1e-4)
    _, metrics = jax.jit(method.step)(state, batch, KEY)
    assert metrics["loss"] == pytest.approx(float(found.mean()), rel=1e-5)


def test_a_tagger_answers_at_every_step():
    with pytest.raises(ValueError, match="every=True"):
        tagger(Reader(Recurrent(4), outputs=2), optax.sgd(0.1))
