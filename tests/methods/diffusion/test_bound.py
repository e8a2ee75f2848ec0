import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.diffusion import bound
from aigc_jax.methods.diffusion import schedule as s

LINEAR = s.linear()
MEAN, STD = 0.3, 0.5


def exact(x, t):
    """The best network for data N(MEAN, STD^2)."""
    a = jnp.asarray(LINEAR.alpha_bar)[t].reshape(-1, *[1] * (x.ndim - 1))
    return jnp.sqrt(1 - a) * (x - jnp.sqrt(a) * MEAN) / (a * STD**2 + 1 - a)


@pytest.mark.parametrize("variance, known", [("fixed_small", 1.2957191003), ("fixed_large", 0.8404629196)])
def test_the_bound_on_gaussian_data_is_the_known_one(variance, known):
    """Every term is quadratic in x_0 and the noise: three Gauss-Hermite nodes of each integrate it exactly.

    The first step has no pixels here: its term is -log N(x_0; mean, variance), and clipping is off.
    """
    with jax.enable_x64(True):
        nodes, weights = np.polynomial.hermite_e.hermegauss(3)
        weights = np.outer(weights, weights).reshape(-1) / (2 * np.pi)
        x0, noise = (jnp.asarray(grid.reshape(-1, 1)) for grid in np.meshgrid(MEAN + STD * nodes, nodes, indexing="ij"))

        def expected(t):
            rows = jnp.full(9, t)
            return jnp.dot(weights, bound.term(LINEAR, exact, x0, rows, noise, variance, clip=False))

        denoising = jnp.sum(jax.vmap(expected)(jnp.arange(1, 1000)))
        prior = jnp.dot(weights, bound.prior_term(LINEAR, x0))
        first = jnp.zeros(9, jnp.int32)
        x_1 = s.q_sample(LINEAR, x0, first, noise)
        mean = s.predict_x0(LINEAR, x_1, first, exact(x_1, first))  # the posterior mean of the first step is x0_hat
        log_var = LINEAR.model_log_variance(variance)[0]
        nll = 0.5 * (np.log(2 * np.pi) + log_var + (x0 - mean)[:, 0] ** 2 * np.exp(-log_var))
        np.testing.assert_allclose(prior + denoising + jnp.dot(weights, nll), known, rtol=1e-9)


def test_the_prior_term_is_the_divergence_from_the_standard_normal():
    """In bits for x_0^2 = 1 and 0.25, known to five digits."""
    nats = bound.prior_term(LINEAR, jnp.array([[1.0], [0.5]]))
    np.testing.assert_allclose(nats / np.log(2), [2.9113e-5, 7.279e-6], rtol=2e-3)


@pytest.mark.parametrize("mean, std", [(0.0, 0.1), (0.73, 0.01), (-1.4, 0.3), (1.0, 0.05)])
def test_the_256_pixels_have_probability_1_together(mean, std):
    with jax.enable_x64(True):
        pixels = jnp.arange(256) / 127.5 - 1
        log_p = bound.log_decoder(pixels, jnp.full(256, mean), jnp.log(std))
        np.testing.assert_allclose(jnp.sum(jnp.exp(log_p)), 1, atol=1e-9)
        middle = 0.5 * (1 + jax.lax.erf((pixels[200] + 1 / 255 - mean) / std / np.sqrt(2)))
        middle -= 0.5 * (1 + jax.lax.erf((pixels[200] - 1 / 255 - mean) / std / np.sqrt(2)))
        np.testing.assert_allclose(jnp.exp(log_p[200]), jnp.maximum(middle, 1e-12), atol=5e-4)  # the tanh approximation


SHORT = s.linear(40, 1e-3, 0.3)


def network(x, t):
    """Some function of x and t, wrong in a different way at each t."""
    return jnp.sin(3 * x) * (1 + t.reshape(-1, 1, 1, 1) / 40)


X = np.random.RandomState(0).choice(np.arange(256) / 127.5 - 1, (64, 2, 2, 1)).astype(np.float32)


@pytest.mark.parametrize("t", [0, 7, 39])
def test_a_term_is_that_of_the_network_whose_x0_is_clipped_unless_told_otherwise(t):
    def clipped(x, t):
        x0 = jnp.clip(s.predict_x0(SHORT, x, t, network(x, t)), -1, 1)
        a = s.at(SHORT.alpha_bar, t, x)
        return (x - jnp.sqrt(a) * x0) / jnp.sqrt(1 - a)

    rows, noise = jnp.full(64, t), jax.random.normal(jax.random.key(0), X.shape)
    as_it_is, by_hand = (bound.term(SHORT, net, jnp.asarray(X), rows, noise, clip=False) for net in (network, clipped))
    np.testing.assert_allclose(bound.term(SHORT, network, jnp.asarray(X), rows, noise), by_hand, rtol=1e-3, atol=1e-4)
    assert jnp.max(jnp.abs(as_it_is - by_hand)) > 0.01


def test_the_terms_of_the_full_bound_are_those_of_a_slow_loop():
    """In float64: the decoder's probabilities are differences of two tails, where float32 leaves three digits."""
    with jax.enable_x64(True):
        key = jax.random.key(5)
        parts = jax.jit(lambda x: bound.full_bound(SHORT, network, x, key, "fixed_small"))(jnp.asarray(X, jnp.float64))
        terms = []
        for t in range(40):
            noise = jax.random.normal(jax.random.fold_in(key, t), X.shape)
            terms.append(bound.term(SHORT, network, jnp.asarray(X, jnp.float64), jnp.full(64, t), noise, "fixed_small"))
        np.testing.assert_allclose(parts["decoder"], terms[0] / (4 * np.log(2)), rtol=1e-6)
        np.testing.assert_allclose(parts["denoising"], sum(terms[1:]) / (4 * np.log(2)), rtol=1e-6)
        total = parts["prior"] + parts["denoising"] + parts["decoder"]
        np.testing.assert_allclose(parts["bits_per_dim"], total, rtol=1e-6)
        assert parts["bits_per_dim"].shape == (64,)


@pytest.mark.parametrize("terms", [1, 7])
def test_the_estimated_bound_is_unbiased(terms):
    """Over 200 draws for each of 64 examples, within four standard errors of the full bound's mean over as many."""
    keys = jax.random.split(jax.random.key(1), 200)
    full = jax.jit(jax.vmap(lambda k: bound.full_bound(SHORT, network, X, k)["bits_per_dim"].mean()))(keys[:50])
    draws = jax.jit(jax.vmap(lambda k: bound.estimated_bound(SHORT, network, X, k, terms).mean()))(keys)
    error = np.sqrt(np.var(draws) / 200 + np.var(full) / 50)
    assert abs(np.mean(draws) - np.mean(full)) < 4 * error
