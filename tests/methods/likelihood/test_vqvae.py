"""VQ-VAE: its loss by hand, whom the gradient reaches, the codebook in memory, and codes as numbers and back."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.likelihood.vqvae import decoded, indices, reconstructions, usage, vqvae
from aigc_jax.networks.vqvae import Decoder, Encoder
from aigc_jax.probability.quantize import Codebook, moved, nearest

SMALL = dict(width=6, residual=3, blocks=1, levels=1)
ENCODER, DECODER = Encoder(4, **SMALL), Decoder(3, **SMALL)
BATCH = {"image": jax.random.normal(jax.random.key(0), (5, 4, 4, 3))}
OPTIONS = dict(codes=7, beta=0.4, decay=0.9, variance=2.0)


@pytest.fixture(scope="module")
def begun():
    method = vqvae(ENCODER, DECODER, optax.sgd(1.0), **OPTIONS)
    state = jax.jit(method.init)(jax.random.key(1), BATCH)
    return method, state, *jax.jit(method.step)(state, BATCH, jax.random.key(2))


def test_the_loss_is_its_two_terms_and_the_codebook_moves_by_its_averages(begun):
    method, state, after, metrics = begun
    x, book = BATCH["image"], Codebook(**state.memory["codebook"])
    z = ENCODER.apply({"params": state.params["encoder"]}, x)
    assert z.shape == (5, 2, 2, 4) and book.codes.shape == (7, 4)
    chosen = book.codes[nearest(book.codes, z)]
    y = DECODER.apply({"params": state.params["decoder"]}, chosen)
    expected = np.mean(np.square(x - y)) / 2 + 0.4 * np.mean(np.square(z - chosen))
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)
    values = method.evaluate(state, BATCH, jax.random.key(0))
    np.testing.assert_allclose(np.mean(values["error"] + 0.4 * values["commitment"]), expected, rtol=1e-5)
    np.testing.assert_allclose(values["squared_error"], 2 * values["error"], rtol=1e-6)
    by_hand = moved(book, z, nearest(book.codes, z), 0.9)._asdict()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.memory["codebook"], by_hand)
    assert 1 <= metrics["perplexity"] <= 7


def test_the_encoder_learns_from_both_terms_straight_through(begun):
    """The decoder's gradient at e_k, handed to z, and that of the commitment, with e_k held."""
    _, state, after, _ = begun
    x, codes = BATCH["image"], state.memory["codebook"]["codes"]

    def decoder_cost(e):
        return jnp.mean((x - DECODER.apply({"params": state.params["decoder"]}, e)) ** 2) / 2

    def z_of(p):
        return ENCODER.apply({"params": p}, x)

    @jax.jit
    def expected(p):
        z, pull = jax.vjp(z_of, p)
        chosen = codes[nearest(codes, z)]
        return pull(jax.grad(decoder_cost)(chosen) + 0.4 * 2 * (z - chosen) / z.size)[0]

    moved_by = jax.tree.map(jnp.subtract, state.params["encoder"], after.params["encoder"])
    by_hand = expected(state.params["encoder"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), moved_by, by_hand)


def test_numbers_make_the_reconstruction_again(begun):
    method, state, *_ = begun
    index = indices(ENCODER, state.params, state.memory, BATCH["image"])
    assert index.shape == (5, 2, 2) and index.dtype == jnp.int32
    y = decoded(DECODER, state.params, state.memory, index)
    errors = np.mean(np.square(BATCH["image"] - y), axis=(1, 2, 3))
    np.testing.assert_allclose(method.evaluate(state, BATCH, jax.random.key(0))["squared_error"], errors, rtol=1e-5)
    again = method.sample(state, {**BATCH, "codes": index}, jax.random.key(0))
    np.testing.assert_allclose(again, y, rtol=1e-6)
    features = method.encode(state, BATCH, jax.random.key(0))
    np.testing.assert_array_equal(features, state.memory["codebook"]["codes"][index].reshape(5, 16))


def test_draws_are_of_the_uniform_prior(begun):
    method, state, *_ = begun
    drawn = method.sample(state, BATCH, jax.random.key(3))
    assert drawn.shape == BATCH["image"].shape and np.isfinite(drawn).all()
    numbers = jax.random.randint(jax.random.key(3), (5, 2, 2), 0, 7)
    np.testing.assert_allclose(drawn, decoded(DECODER, state.params, state.memory, numbers), rtol=1e-5, atol=1e-6)


def test_usage_counts_places_of_real_examples_alone(begun):
    _, state, *_ = begun
    index = np.asarray(indices(ENCODER, state.params, state.memory, BATCH["image"]))
    padded = np.concatenate([BATCH["image"], np.full((2, 4, 4, 3), np.nan)])
    batches = [{"image": padded, "mask": np.arange(7) < 5}]
    run = SimpleNamespace(state=state, data=SimpleNamespace(evaluate=lambda split: batches, decode=lambda x: np.uint8(x * 0)),
                          condition=lambda n: {"image": np.resize(BATCH["image"], (n, 4, 4, 3))})  # fmt: skip
    share = np.bincount(index.reshape(-1), minlength=7) / index.size
    found = usage(ENCODER, 7)(run)
    assert found["perplexity"] == pytest.approx(np.exp(-sum(p * np.log(p) for p in share if p)), rel=1e-5)
    assert found["used"] == np.sum(share > 0)
    assert reconstructions(ENCODER, DECODER, 6)(run).shape == (2 * 6 * 7, 6 * 6 * 7, 3)


def test_nonsense_is_refused():
    for options in (dict(beta=-1.0), dict(variance=0.0), dict(decay=1.0)):
        with pytest.raises(ValueError, match="beta from 0, variance above 0 and decay in"):
            vqvae(ENCODER, DECODER, optax.sgd(1.0), **options)
    with pytest.raises(ValueError, match="2 halvings need a size that 4 divides, got 6"):
        jax.eval_shape(Encoder(4).init, jax.random.key(0), jnp.zeros((1, 6, 6, 3)))
