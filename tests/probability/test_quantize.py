"""Vector quantization: nearest codes, gradients straight through, averages that are k-means, codes nobody chose."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.probability.quantize import codebook, moved, nearest, perplexity, shares, straight_through

Z = jax.random.normal(jax.random.key(0), (2, 5, 3, 4))  # [B, h, w, D]
BOOK = codebook(jax.random.key(1), 6, 4)


def test_the_nearest_code_is_that_of_a_double_loop():
    index = np.asarray(nearest(BOOK.codes, Z))
    for place in np.ndindex(2, 5, 3):
        distances = [np.sum((np.asarray(Z[place]) - code) ** 2) for code in np.asarray(BOOK.codes)]
        assert index[place] == np.argmin(distances)
    assert index.dtype == np.int32 and len(np.unique(index)) > 3


def test_gradients_go_straight_through_and_none_through_the_choice():
    def loss(z, codes):
        quantized = codes[nearest(codes, z)]
        return jnp.sum(jnp.sin(straight_through(z, quantized)))

    to_z, to_codes = jax.grad(loss, argnums=(0, 1))(Z, BOOK.codes)
    np.testing.assert_allclose(to_z, np.cos(BOOK.codes[nearest(BOOK.codes, Z)]), atol=1e-6)  # as if z were e_k
    assert not np.any(to_codes)
    value = straight_through(Z, BOOK.codes[nearest(BOOK.codes, Z)])
    np.testing.assert_allclose(value, BOOK.codes[nearest(BOOK.codes, Z)], atol=1e-6)
    slopes = jax.grad(lambda z: jnp.sum(moved(BOOK, z, nearest(BOOK.codes, z)).codes))(Z)
    assert not np.any(slopes)


def test_without_memory_an_update_is_one_step_of_k_means():
    """Codes chosen become the mean of those that chose them; one far away, which nobody chose, stays."""
    book = BOOK._replace(codes=BOOK.codes.at[2].set(100.0))
    index = nearest(book.codes, Z)
    after = moved(book, Z, index, decay=0.0, eps=0.0)
    for code in range(6):
        chose = np.asarray(Z)[np.asarray(index) == code]
        np.testing.assert_allclose(
            after.codes[code], chose.mean(0) if len(chose) else book.codes[code], rtol=1e-5, atol=1e-6
        )
    assert not np.any(np.asarray(index) == 2)
    again = moved(after, Z, nearest(after.codes, Z), decay=0.0, eps=0.0)

    def distortion(book):
        return np.mean(np.square(Z - book.codes[nearest(book.codes, Z)]))

    assert distortion(again) < distortion(after) < distortion(book)


def test_averages_are_those_of_the_released_code():
    """Written out in NumPy, three batches: N and m without the bias of their start, N smoothed."""
    book, decay, eps = BOOK, 0.9, 0.3
    hidden_n, hidden_m = np.zeros(6), np.zeros((6, 4))
    for t in range(1, 4):
        z = jax.random.normal(jax.random.key(t), (40, 4))
        index = nearest(book.codes, z)
        book = moved(book, z, index, decay, eps)
        one_hot = np.eye(6)[np.asarray(index)]
        hidden_n -= (hidden_n - one_hot.sum(0)) * (1 - decay)
        hidden_m -= (hidden_m - one_hot.T @ np.asarray(z, np.float64)) * (1 - decay)
        n, m = hidden_n / (1 - decay**t), hidden_m / (1 - decay**t)
        smoothed = (n + eps) / (n.sum() + 6 * eps) * n.sum()
        np.testing.assert_allclose(book.codes, m / smoothed[:, None], rtol=1e-4, atol=1e-5)
    assert book.updates == 3


def test_a_code_that_falls_out_of_use_stays_near():
    """Count and total fade alike, so that their ratio, the code, stays for hundreds of updates."""
    z = jnp.concatenate([jnp.full((8, 4), 1.0), jnp.full((8, 4), -1.0)])
    book = BOOK._replace(codes=jnp.array([[1.1] * 4, [-1.1] * 4]), count=jnp.zeros(2), total=jnp.zeros((2, 4)))
    book = moved(book, z, nearest(book.codes, z))
    for _ in range(200):
        book = moved(book, z[:8], jnp.zeros(8, jnp.int32))
    np.testing.assert_allclose(book.codes, np.array([[1.0] * 4, [-1.0] * 4]), rtol=1e-3)


def test_vectors_of_half_precision_are_counted_whole():
    z = jnp.ones((1001, 4), jnp.bfloat16)
    after = moved(BOOK, z, jnp.zeros(1001, jnp.int32), decay=0.0)
    assert after.count[0] == 1001 and after.codes.dtype == jnp.float32


def test_perplexity_counts_codes_in_use():
    assert perplexity(shares(jnp.array([0, 1, 2, 3] * 5), 8)) == pytest.approx(4, rel=1e-5)
    assert perplexity(shares(jnp.zeros((3, 3), int), 8)) == pytest.approx(1, rel=1e-5)


def test_an_empty_codebook_is_refused():
    with pytest.raises(ValueError, match="not 0 of width 4"):
        codebook(jax.random.key(0), 0, 4)
