"""Pictures pixel by pixel: the likelihood in its units, draws, completions and averages of parameters."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.data import images
from aigc_jax.methods.likelihood.pixels import completions, nll, pixels
from aigc_jax.networks.gated_pixelcnn import GatedPixelCNN
from aigc_jax.networks.pixel_transformer import PixelTransformer
from aigc_jax.networks.pixelcnn import PixelCNN
from aigc_jax.networks.pixelcnn_pp import PixelCNNpp
from aigc_jax.probability.pixel_outputs import bernoulli, categorical, logistics

GREY = PixelCNN(levels=5, outputs=5, colours=1, width=4, blocks=1, head=4, kernel=3)
BITS = GatedPixelCNN(levels=2, outputs=1, colours=1, classes=2, width=12, layers=1, head=12, kernel=3, first=3)


def test_nats_and_bits_per_dimension():
    """A network that says nothing costs ln 5 nats a pixel, log2 5 bits; of bits no bits per dimension are told."""
    batch = {"image": jax.random.randint(jax.random.key(0), (3, 4, 6, 1), 0, 5)}
    method = pixels(GREY, categorical(5), optax.sgd(0.0))
    state = method.init(jax.random.key(0), batch)
    flat = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
    rows = method.evaluate(flat, batch, jax.random.key(0))
    np.testing.assert_allclose(rows["nll"], 24 * np.log(5) * np.ones(3), rtol=1e-6)
    np.testing.assert_allclose(rows["bpd"], np.log2(5) * np.ones(3), rtol=1e-6)
    batch = {"image": jnp.zeros((3, 2, 2, 1)), "label": jnp.zeros(3, jnp.int32)}
    method = pixels(BITS, bernoulli(), optax.sgd(0.0), classes=2)
    assert method.evaluate(method.init(jax.random.key(0), batch), batch, jax.random.key(0)).keys() == {"nll"}


def test_it_learns_the_entropy_of_pictures_of_two_classes_and_draws_them():
    """Of class 0 each pixel is its left neighbour's in 9 of 10, of class 1 its opposite; first pixels are fair coins."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 2000)
    x = np.zeros((2000, 2, 3, 1), np.float32)
    x[:, :, 0] = rng.random((2000, 2, 1)) < 0.5
    for j in (1, 2):
        x[:, :, j] = np.where(rng.random((2000, 2, 1)) < 0.9, x[:, :, j - 1], 1 - x[:, :, j - 1])
    x[label == 1, :, 1] = 1 - x[label == 1, :, 1]
    entropy = 2 * np.log(2) - 4 * (0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    batch = {"image": jnp.asarray(x), "label": jnp.asarray(label)}
    method = pixels(BITS, bernoulli(), optax.adam(0.02), classes=2)
    state = method.init(jax.random.key(0), batch)
    step = jax.jit(method.step)
    for _ in range(120):
        state, metrics = step(state, batch, jax.random.key(0))
    assert abs(float(metrics["loss"]) - entropy) < 0.15, (float(metrics["loss"]), entropy)

    sample = jax.jit(method.sample)
    drawn = np.asarray(sample(state, batch, jax.random.key(1)))
    agree = (drawn[:, :, 1] == drawn[:, :, 0]).mean((1, 2))
    assert abs(agree[label == 0].mean() - 0.9) < 0.05 and abs(agree[label == 1].mean() - 0.1) < 0.05
    again = np.asarray(sample(state, batch, jax.random.key(2)))
    assert np.any(again != drawn) and sample._cache_size() == 1, "draws never compile again"
    keep = np.zeros((2000, 2, 3, 1))
    keep[:, :, 0] = 1
    completed = sample(state, {**batch, "keep": keep}, jax.random.key(2))
    np.testing.assert_array_equal(completed[:, :, 0], x[:, :, 0])
    coldest = pixels(BITS, bernoulli(), optax.adam(0.02), classes=2, temperature=0.01).sample
    cold = np.asarray(coldest(state, {**batch, "keep": keep}, jax.random.key(2)))
    np.testing.assert_array_equal(cold[label == 0][:, :, 1], cold[label == 0][:, :, 0])


def test_the_average_of_parameters_is_what_is_evaluated():
    batch = {"image": jax.random.randint(jax.random.key(0), (3, 4, 4, 1), 0, 5)}
    method = pixels(GREY, categorical(5), optax.sgd(0.1), ema=0.75)
    begin = method.init(jax.random.key(0), batch)
    state, _ = method.step(begin, batch, jax.random.key(0))
    average = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, begin.params["net"], state.params["net"])
    expected = nll(GREY, categorical(5), average, batch["image"])
    np.testing.assert_allclose(method.evaluate(state, batch, jax.random.key(0))["nll"], expected, rtol=1e-5)
    assert np.all(np.abs(expected - nll(GREY, categorical(5), state.params["net"], batch["image"])) > 1e-3)


def test_indices_of_a_palette_are_counted_in_nats_and_dropout_falls_on_training_alone():
    net = PixelTransformer(levels=8, outputs=8, length=24, width=8, depth=1, heads=2, dropout=0.5)
    batch = {"image": jax.random.randint(jax.random.key(0), (3, 4, 6, 1), 0, 8)}
    method = pixels(net, categorical(8), optax.sgd(1e-4), palette=True)
    state = jax.jit(method.init)(jax.random.key(0), batch)
    rows = method.evaluate(state, batch, jax.random.key(0))  # an untrained head is flat
    assert rows.keys() == {"nll", "nats_per_index"}
    np.testing.assert_allclose(rows["nats_per_index"], np.log(8) * np.ones(3), rtol=1e-6)
    moved = state._replace(
        params=jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(jax.random.key(1), leaf.shape), state.params)
    )
    step, evaluate = jax.jit(method.step), jax.jit(method.evaluate)
    losses = [float(step(moved, batch, jax.random.key(i))[1]["loss"]) for i in (0, 1)]
    assert losses[0] != losses[1]
    again = [evaluate(moved, batch, jax.random.key(i))["nll"] for i in (0, 1)]
    np.testing.assert_array_equal(*again)


def test_a_network_begins_by_the_values_of_its_batch_and_drops_units_in_training_alone():
    """Of a mixture over all colours: the joint probability of a pixel is one number."""
    net, output = PixelCNNpp(levels=5, outputs=10, width=4, resnets=1, resolutions=1), logistics(1, 3, 5)
    batch = {"image": jax.random.randint(jax.random.key(0), (3, 4, 4, 3), 0, 5)}
    method = pixels(net, output, optax.sgd(0.0))
    init, step, evaluate = jax.jit(method.init), jax.jit(method.step), jax.jit(method.evaluate)
    state = init(jax.random.key(0), batch)
    other = init(jax.random.key(0), {"image": 4 - batch["image"] // 2})
    assert np.all(state.params["net"]["above"]["gain"] != other.params["net"]["above"]["gain"])
    losses = [step(state, batch, jax.random.key(i))[1]["loss"] for i in (0, 1)]
    rows = [evaluate(state, batch, jax.random.key(i)) for i in (0, 1)]
    assert losses[0] != losses[1]
    np.testing.assert_array_equal(rows[0]["nll"], rows[1]["nll"])
    np.testing.assert_allclose(rows[0]["bpd"], rows[0]["nll"] / (48 * np.log(2)), rtol=1e-6)


def test_a_temperature_is_above_zero():
    with pytest.raises(ValueError, match="above 0, not 0"):
        pixels(GREY, categorical(5), optax.sgd(0.1), temperature=0)


def test_completions_show_the_whole_its_upper_half_and_draws_below_it():
    """Here what is drawn below is white: of each row, the first tile is the example and the others share its upper half."""
    image = np.random.default_rng(0).integers(0, 5, (40, 4, 4, 1))

    def sample(batch):
        return np.where(batch["keep"] > 0, batch["image"], 4)

    run = SimpleNamespace(
        condition=lambda n: {"image": image[np.arange(n) % 40]},
        sample=sample,
        data=SimpleNamespace(decode=images(0, 4)),
    )
    (axes,) = completions(n=3, draws=3)(run).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["test", "kept", "drawn", "drawn", "drawn"]
    np.testing.assert_allclose(axes.get_xticks(), np.array([3, 9, 15, 21, 27]) * 7 - 0.5)  # the middles of the tiles
    panel = axes.images[0].get_array()
    factor, shown = 7, images(0, 4)(image[[0, 3333 % 40, 6666 % 40]])
    assert panel.dtype == np.uint8 and panel.shape == (3 * 6 * factor, 5 * 6 * factor, 3)
    tiles = panel[::factor, ::factor, 0].reshape(3, 6, 5, 6).swapaxes(1, 2)[:, :, 1:-1, 1:-1]
    np.testing.assert_array_equal(tiles[:, 0], shown[..., 0])
    for tile, below in ((1, 128), (2, 255), (4, 255)):
        np.testing.assert_array_equal(tiles[:, tile, :2], shown[:, :2, :, 0])
        assert np.all(tiles[:, tile, 2:] == below)
