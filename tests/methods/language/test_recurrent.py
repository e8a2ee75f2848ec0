import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.core import TrainState
from aigc_jax.data.tables import Batch
from aigc_jax.methods.language.gpt import token_nats
from aigc_jax.methods.language.recurrent import carried, recurrent_language_model
from aigc_jax.networks.recurrent import LanguageModel, Recurrent

NET = LanguageModel(Recurrent(6, 1, "lstm"), vocab=7, embedding=5)
KEY = jax.random.key(0)
TEXT = np.random.default_rng(0).integers(0, 7, 3 * 12 + 1).astype(np.int32)


def chunk(index, rows=3, length=4) -> Batch:
    """Batch `index` of three contiguous stripes of twelve tokens."""
    start = 12 * np.arange(rows) + index * length
    return {"tokens": TEXT[start[:, None] + np.arange(length + 1)]}


def born(method) -> TrainState:
    state = jax.jit(method.init)(KEY, chunk(0))
    rng = np.random.default_rng(1)
    return state._replace(
        params=jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape), jnp.float32), state.params)
    )


def test_states_are_carried_and_the_gradient_ends_at_the_border():
    """At rate 0 three chunks in turn cost what the whole stripe costs; the gradient is that of each chunk alone."""
    method = recurrent_language_model(NET, optax.sgd(0.0), carry=True)
    state, step, found = born(method), jax.jit(method.step), []
    for index in range(3):
        before = state.memory["states"]
        state, metrics = step(state, chunk(index), KEY)
        found.append(float(metrics["loss"]))
    whole = jnp.asarray(chunk(0, length=12)["tokens"])
    network = state.params["network"]
    logits, last = NET.apply({"params": network}, whole[:, :-1])
    nats = token_nats(logits, whole[:, 1:]).reshape(3, 3, 4).mean((0, 2))
    np.testing.assert_allclose(found, nats, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), state.memory["states"], last)

    def alone(network):
        logits, _ = NET.apply({"params": network}, whole[:, 8:-1], before)
        return token_nats(logits, whole[:, 9:]).mean()

    norm = optax.tree.norm(jax.jit(jax.grad(alone))(network))
    assert metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-4)


def test_without_carrying_every_batch_begins_anew():
    method = recurrent_language_model(NET, optax.sgd(0.0))
    state = born(method)
    after, first = jax.jit(method.step)(state, chunk(1), KEY)
    assert first["loss"] == pytest.approx(
        float(jax.jit(method.evaluate)(state, chunk(1), KEY)["nats_per_token"].mean()), rel=1e-5
    )
    assert after.memory == {}


def test_carried_perplexity_is_that_of_the_stripes_read_through():
    method = recurrent_language_model(NET, optax.sgd(0.0))
    state = born(method)
    batches = [{**chunk(i), "weights": np.ones((3, 4), np.float32), "mask": np.ones(3, np.float32)} for i in range(3)]
    batches[2]["weights"][2, 1:] = 0  # the end of the text
    batches[2]["tokens"][2, 2:] = 6

    class Run:
        pass

    run = Run()
    run.state, run.data = state, Run()
    run.data.evaluate = lambda split: iter(batches)
    found = carried(NET)(run)
    whole = jnp.asarray(chunk(0, length=12)["tokens"])
    logits, _ = NET.apply({"params": state.params["network"]}, whole[:, :-1])
    nats = np.asarray(token_nats(logits, whole[:, 1:]))
    mean = (nats[:2].sum() + nats[2, :9].sum()) / 33
    assert found["nats_per_token"] == pytest.approx(mean, rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(mean), rel=1e-5)


def test_greedy_samples_are_the_likeliest_tokens_of_a_rerun():
    method = recurrent_language_model(NET, optax.sgd(0.0), prompt=2, steps=3, temperature=0)
    state = born(method)
    written = jax.jit(method.sample)(state, chunk(0), KEY)
    np.testing.assert_array_equal(written[:, :2], chunk(0)["tokens"][:, :2])
    logits, _ = NET.apply({"params": state.params["network"]}, written[:, :-1])
    np.testing.assert_array_equal(written[:, 2:], jnp.argmax(logits, -1)[:, 1:])


def test_a_sample_needs_a_prompt():
    with pytest.raises(ValueError, match="got 0 and 5"):
        recurrent_language_model(NET, optax.sgd(0.0), prompt=0, steps=5)
