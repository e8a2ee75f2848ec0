import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.diffusion import schedule as s

LINEAR = s.linear()


def test_the_linear_schedule_has_the_known_values():
    np.testing.assert_allclose(
        LINEAR.alpha_bar[[0, 499, 999]], [0.9999, 0.07858724288177824, 4.035829765375676e-5], rtol=1e-12
    )
    np.testing.assert_allclose(LINEAR.posterior_variance[[1, 999]], [5.4531876613e-5, 0.01999998352656], rtol=1e-10)
    np.testing.assert_allclose(LINEAR.posterior_on_x0[999], 1.28351487e-4, rtol=1e-8)
    np.testing.assert_allclose(LINEAR.posterior_on_x_t[999], 0.98994868, rtol=1e-8)


def test_the_cosine_schedule_has_the_known_values():
    cosine = s.cosine(1000)
    np.testing.assert_allclose(cosine.beta[[0, 998]], [4.12842248e-5, 0.7499993929], rtol=1e-8)
    np.testing.assert_allclose(cosine.alpha_bar[[499, 999]], [0.49384359, 2.4288e-9], rtol=1e-4)
    assert np.flatnonzero(cosine.beta >= 0.999).tolist() == [999] and cosine.beta[999] == 0.999
    np.testing.assert_allclose(s.cosine(4000).beta[0], 9.8658188e-6, rtol=1e-7)


@pytest.mark.parametrize("schedule", [s.linear(50, 1e-3, 0.2), s.cosine(50)])
def test_the_closed_form_is_t_kernels_composed(schedule):
    """Mean and variance of x_t, step by step: x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) z."""
    scale, variance = 1.0, 0.0
    for t in range(50):
        scale, variance = np.sqrt(1 - schedule.beta[t]) * scale, (1 - schedule.beta[t]) * variance + schedule.beta[t]
        np.testing.assert_allclose([scale**2, variance], [schedule.alpha_bar[t], 1 - schedule.alpha_bar[t]], rtol=1e-12)


def test_the_posterior_is_that_of_bayes():
    """q(x_{t-1} | x_t, x_0) is q(x_t | x_{t-1}) q(x_{t-1} | x_0), normalised: precisions add."""
    t = np.arange(1, 1000)
    beta, before = LINEAR.beta[t], LINEAR.alpha_bar[t - 1]
    precision = (1 - beta) / beta + 1 / (1 - before)
    np.testing.assert_allclose(LINEAR.posterior_variance[t], 1 / precision, rtol=1e-11)
    np.testing.assert_allclose(LINEAR.posterior_on_x_t[t], np.sqrt(1 - beta) / beta / precision, rtol=1e-11)
    np.testing.assert_allclose(LINEAR.posterior_on_x0[t], np.sqrt(before) / (1 - before) / precision, rtol=1e-11)


def test_without_noise_left_the_posterior_is_x0():
    assert LINEAR.posterior_variance[0] == 0 and LINEAR.posterior_on_x_t[0] == 0
    np.testing.assert_allclose(LINEAR.posterior_on_x0[0], 1, rtol=1e-12)


def test_model_variances_share_the_first_row_and_differ_after():
    large, small = (np.exp(LINEAR.model_log_variance(kind)) for kind in ("fixed_large", "fixed_small"))
    np.testing.assert_allclose([large[0], small[0]], LINEAR.posterior_variance[1], rtol=1e-12)
    np.testing.assert_allclose(large[1:], LINEAR.beta[1:], rtol=1e-12)
    np.testing.assert_allclose(small[1:], LINEAR.posterior_variance[1:], rtol=1e-12)
    assert np.all(large >= small)


def test_q_sample_and_predict_x0_are_inverse_and_mix_as_eq_4():
    with jax.enable_x64(True):
        rng = np.random.RandomState(0)
        x0, noise = jnp.asarray(rng.randn(4, 3, 2)), jnp.asarray(rng.randn(4, 3, 2))
        t = jnp.array([0, 10, 500, 999])
        x_t = s.q_sample(LINEAR, x0, t, noise)
        a = LINEAR.alpha_bar[[0, 10, 500, 999], None, None]
        np.testing.assert_allclose(x_t, np.sqrt(a) * x0 + np.sqrt(1 - a) * noise, rtol=1e-12)
        np.testing.assert_allclose(s.predict_x0(LINEAR, x_t, t, noise), x0, atol=1e-10)


def test_the_posterior_mean_in_terms_of_the_noise_is_eq_11():
    """sqrt(1 / alpha_t) (x_t - beta_t eps / sqrt(1 - alpha_bar_t))."""
    with jax.enable_x64(True):
        rng = np.random.RandomState(1)
        x_t, eps = jnp.asarray(rng.randn(3, 5)), jnp.asarray(rng.randn(3, 5))
        t = np.array([1, 300, 999])
        beta, a = LINEAR.beta[t][:, None], LINEAR.alpha_bar[t][:, None]
        ours = s.posterior_mean(LINEAR, s.predict_x0(LINEAR, x_t, jnp.asarray(t), eps), x_t, jnp.asarray(t))
        np.testing.assert_allclose(ours, (x_t - beta * eps / np.sqrt(1 - a)) / np.sqrt(1 - beta), rtol=1e-10)


def test_tables_are_rounded_once():
    """In float32, 1 - alpha_bar of the first row keeps its digits: it is not computed from a rounded alpha_bar."""
    noise = s.q_sample(LINEAR, jnp.zeros((1, 1)), jnp.array([0]), jnp.ones((1, 1)))
    np.testing.assert_allclose(float(noise[0, 0]), 0.01, rtol=1e-7)


def test_respacing_keeps_the_marginals_and_with_every_row_the_chain():
    rows = np.array([3, 10, 400, 999])
    respaced = s.respace(LINEAR, rows)
    np.testing.assert_allclose(respaced.alpha_bar, LINEAR.alpha_bar[rows], rtol=1e-12)
    np.testing.assert_array_equal(respaced.timestep, rows)
    every = s.respace(LINEAR, np.arange(1000))
    np.testing.assert_allclose(every.beta, LINEAR.beta, rtol=1e-9)
    np.testing.assert_array_equal(s.respace(respaced, np.array([1, 3])).timestep, [10, 999])


def test_rows_of_a_respaced_chain():
    np.testing.assert_array_equal(s.spaced(1000, 10), np.arange(0, 1000, 100))
    np.testing.assert_array_equal(s.spaced(1000, 4, "even"), [0, 333, 666, 999])
    np.testing.assert_array_equal(s.spaced(1000, 5, "quadratic"), [0, 50, 200, 450, 800])
    np.testing.assert_array_equal(s.spaced(1000, 1000, "even"), np.arange(1000))


def test_what_cannot_be_respaced_is_an_error():
    with pytest.raises(ValueError, match="1001 steps asked of a chain of 1000"):
        s.spaced(1000, 1001)
    with pytest.raises(ValueError, match="fall on the same rows"):
        s.spaced(1000, 600, "quadratic")
    with pytest.raises(ValueError, match="increasing rows of 0 .. 999"):
        s.respace(LINEAR, np.array([5, 5]))
