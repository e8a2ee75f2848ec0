from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.language.translation import attention_map, translator
from aigc_jax.networks.recurrent import Recurrent
from aigc_jax.networks.seq2seq import Seq2Seq

KEY = jax.random.key(0)
NET = Seq2Seq(Recurrent(8, cell="gru"), Recurrent(8, cell="gru"), 6, 6, 8)
BATCH = {
    "source": jnp.array([[1, 2, 3], [4, 1, 0], [5, 0, 0], [2, 2, 4]]),
    "source_length": jnp.array([3, 2, 1, 3]),
    "target": jnp.array([[3, 2, 1, 0], [1, 4, 0, 0], [5, 0, 0, 0], [4, 2, 2, 0]]),
    "target_length": jnp.array([4, 3, 2, 4]),
}


def test_loss_and_metrics_are_over_the_tokens_up_to_the_end():
    method = translator(NET, optax.sgd(0.0))
    state = jax.jit(method.init)(KEY, BATCH)
    noise = jnp.arange(4) >= BATCH["target_length"][:, None]
    other = {**BATCH, "target": jnp.where(noise, 3, BATCH["target"])}  # what stands past the ends
    step, evaluate = jax.jit(method.step), jax.jit(method.evaluate)
    loss = step(state, BATCH, KEY)[1]["loss"]
    assert loss == pytest.approx(float(step(state, other, KEY)[1]["loss"]), rel=1e-6)
    found = evaluate(state, BATCH, KEY)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, evaluate(state, other, KEY))
    total = found["nats_per_token"] @ BATCH["target_length"]
    assert loss == pytest.approx(float(total) / 13, rel=1e-5)
    by_sentence = translator(NET, optax.sgd(0.0), average="sentences")
    assert jax.jit(by_sentence.step)(state, BATCH, KEY)[1]["loss"] == pytest.approx(float(total) / 4, rel=1e-5)


def test_it_learns_to_turn_sequences_round_and_writes_what_it_learned():
    method = translator(NET, optax.adam(0.02))
    state, step = jax.jit(method.init)(KEY, BATCH), jax.jit(method.step)
    before = jax.jit(method.evaluate)(state, BATCH, KEY)
    for _ in range(150):
        state, _ = step(state, BATCH, KEY)
    found = jax.jit(method.evaluate)(state, BATCH, KEY)
    assert before["exact"].mean() < 1 and found["exact"].mean() == 1 and found["accuracy"].mean() == 1
    written = jax.jit(method.sample)(state, BATCH, KEY)
    for row, length in enumerate(BATCH["target_length"].tolist()):
        np.testing.assert_array_equal(written[row, :length], BATCH["target"][row, :length])


def test_the_attention_map_names_what_is_read_and_written():
    net = Seq2Seq(Recurrent(8, cell="gru"), Recurrent(8, cell="gru"), 6, 6, 8, "dot")
    method = translator(net, optax.sgd(0.0))
    state = jax.jit(method.init)(KEY, BATCH)
    names = SimpleNamespace(decode=lambda ids: "abcde"[ids[0]])
    run = SimpleNamespace(
        state=state,
        data=SimpleNamespace(info={"tokenizers": (names, names)}),
        condition=lambda n: jax.tree.map(lambda x: np.asarray(x[:n]), BATCH),
        sample=lambda batch: batch["target"],
    )
    figure = attention_map(net, examples=2)(run)
    for row, axes in enumerate(figure.axes):
        shown = axes.images[0].get_array()
        assert shown.shape == (BATCH["target_length"][row], BATCH["source_length"][row])
        np.testing.assert_allclose(shown.sum(1), 1, rtol=1e-5)  # nothing is left for the padding
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["c", "b", "a", "end"]
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["d", "a"]
