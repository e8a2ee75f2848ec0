from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.diffusion import samplers
from aigc_jax.methods.diffusion import schedule as s

GOLDEN = Path(__file__).parents[2] / "golden" / "ddpm_ddim.npz"
LINEAR = s.linear()
MEAN, STD = 0.3, 0.5  # of Gaussian data, for which the best network is known


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def exact_noise(alpha, sigma, x):
    """E[noise | x_t] of data N(MEAN, STD^2) at x_t = alpha x_0 + sigma noise."""
    return sigma * (x - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)


def exact(schedule):
    a = jnp.zeros(1000).at[jnp.asarray(schedule.timestep)].set(schedule.alpha_bar)
    return lambda x, t: exact_noise(jnp.sqrt(a[t])[:, None], jnp.sqrt(1 - a[t])[:, None], x)


def run(steps, denoise, start, key=0, clip="none"):
    return np.asarray(samplers.sample(steps, denoise, jnp.asarray(start), jax.random.key(key), clip))


@pytest.mark.parametrize("schedule", [LINEAR, s.cosine(), s.respace(LINEAR, s.spaced(1000, 20, "even"))])
def test_ddim_with_eta_1_is_ancestral_sampling_with_the_posterior_variance(schedule):
    ours, paper = samplers.ddim(schedule, eta=1.0), samplers.ancestral(schedule, "fixed_small")
    np.testing.assert_allclose(ours.sigma**2, paper.sigma**2, atol=1e-12, rtol=1e-9)
    # both means as functions of x0_hat and x_t: eps_hat = (x_t - signal x0_hat) / noise
    np.testing.assert_allclose(ours.on_x0 - ours.on_eps * ours.signal / ours.noise, paper.on_x0, atol=1e-12)
    np.testing.assert_allclose(ours.on_x + ours.on_eps / ours.noise, paper.on_x, atol=1e-12)


def test_every_step_of_ddim_keeps_the_marginals():
    """With the true x_0 and noise, x_s has mean sqrt(alpha_bar_s) x_0 and variance 1 - alpha_bar_s, whatever eta is."""
    for eta in (0.0, 0.5, 1.0):
        steps = samplers.ddim(LINEAR, eta)
        np.testing.assert_allclose(steps.on_x0**2, LINEAR.alpha_bar_previous[::-1], rtol=1e-12)
        np.testing.assert_allclose(steps.on_eps**2 + steps.sigma**2, 1 - LINEAR.alpha_bar_previous[::-1], atol=1e-12)


def test_the_noise_of_ddim_is_proportional_to_eta():
    none, half, whole = (samplers.ddim(LINEAR, eta).sigma for eta in (0.0, 0.5, 1.0))
    assert not np.any(none)
    np.testing.assert_allclose(half, whole / 2, rtol=1e-12)


# Errors of first order from x_1 = 1.3, continuous noise levels with beta from 0.1 to 20, steps uniform in log(alpha / sigma)
@pytest.mark.parametrize(
    "count, error", [(10, 0.1382), (20, 7.325e-2), (40, 3.772e-2), (80, 1.914e-2), (160, 9.643e-3)]
)
def test_ddim_converges_to_the_probability_flow_with_order_1(count, error):
    def log_alpha(t):
        return -0.25 * t**2 * 19.9 - 0.05 * t

    grid = np.linspace(1e-3, 1, 200_001)
    log_snr = log_alpha(grid) - 0.5 * np.log1p(-np.exp(2 * log_alpha(grid)))  # decreasing in t
    t = np.interp(np.linspace(log_snr[-1], log_snr[0], count + 1), log_snr[::-1], grid[::-1])
    alpha_bar = np.exp(2 * log_alpha(t))  # from the noise to the data
    x = np.array(1.3)
    chain = s.Schedule(1 - alpha_bar[::-1] / np.append(1.0, alpha_bar[:0:-1]), np.arange(count + 1, dtype=np.int32))
    steps = samplers.ddim(chain)
    for i in range(count):  # without the chain's last step, to alpha_bar = 1
        eps = exact_noise(steps.signal[i], steps.noise[i], x)
        x0 = (x - steps.noise[i] * eps) / steps.signal[i]
        x = steps.on_x0[i] * x0 + steps.on_eps[i] * eps
    np.testing.assert_allclose(abs(x - 0.9491153064990016), error, rtol=2e-3)


@pytest.mark.parametrize("count, known", [(10, 0.784522), (20, 0.862515), (50, 0.913083), (100, 0.930761)])
def test_ddim_on_gaussian_data_ends_where_it_is_known_to(count, known):
    schedule = s.respace(LINEAR, s.spaced(1000, count))
    np.testing.assert_allclose(run(samplers.ddim(schedule), exact(schedule), np.full((1, 1), 1.3)), known, atol=2e-6)


@pytest.mark.parametrize("clip", ["none", "x0", "x0_and_eps"])
def test_ddim_equals_that_of_diffusers_under_each_rule_of_clipping(clip):
    with np.load(GOLDEN) as golden:
        steps = samplers.ddim(s.respace(LINEAR, s.spaced(1000, 10)))
        start = jnp.asarray(golden["start"])
        path = samplers.trajectory(
            steps, lambda x, t: jnp.sin(2 * x + t[:, None] / 300), start, jax.random.key(0), clip
        )
        np.testing.assert_allclose(path, golden[clip], rtol=1e-4, atol=1e-5)
        assert np.abs(golden["none"] - golden["x0"]).max() > 0.1 < np.abs(golden["x0"] - golden["x0_and_eps"]).max()


def test_noisy_ddim_equals_that_of_diffusers():
    with np.load(GOLDEN) as golden:
        c = samplers.ddim(s.respace(LINEAR, s.spaced(1000, 10)), eta=1.0)
        for i, (x, after) in enumerate(zip(golden["noisy"], golden["noisy"][1:])):
            eps = np.sin(2 * x + c.timestep[i] / 300)
            x0 = np.clip((x - c.noise[i] * eps) / c.signal[i], -1, 1)
            ours = c.on_x0[i] * x0 + c.on_x[i] * x + c.on_eps[i] * eps + c.sigma[i] * golden["noise"][i]
            np.testing.assert_allclose(ours, after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["fixed_small", "fixed_large"])
def test_ancestral_noise_equals_that_of_diffusers(kind):
    sigma = samplers.ancestral(LINEAR, kind).sigma
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(sigma[::-1][1:] ** 2, golden[f"variance/{kind}"], rtol=1e-3)  # float32 there
    assert sigma[-1] == 0  # no noise in the last step


def test_ancestral_sampling_of_gaussian_data_has_its_mean_and_deviation():
    schedule = s.respace(LINEAR, s.spaced(1000, 100, "even"))
    start = np.random.RandomState(0).randn(20_000, 1)
    x = run(samplers.ancestral(schedule, "fixed_large"), exact(schedule), start)
    np.testing.assert_allclose([x.mean(), x.std()], [MEAN, STD], atol=0.02)


def test_a_sample_is_the_end_of_its_trajectory():
    schedule = s.respace(LINEAR, s.spaced(1000, 5))
    steps, start = samplers.ancestral(schedule), jnp.ones((2, 3))
    path = samplers.trajectory(steps, exact(schedule), start, jax.random.key(3))
    assert path.shape == (6, 2, 3)
    np.testing.assert_array_equal(path[0], start)
    np.testing.assert_array_equal(path[-1], samplers.sample(steps, exact(schedule), start, jax.random.key(3)))


def conditional(x, t, label):
    """The best network for the mixture of N(-1, STD^2) and N(1, STD^2), with label 2 for "no class"."""
    a = jnp.asarray(LINEAR.alpha_bar)[t][:, None]
    variance = a * STD**2 + 1 - a
    share = jax.nn.sigmoid(2 * jnp.sqrt(a) * x / variance)  # P(label 1 | x)
    mean = jnp.where(label[:, None] == 2, 2 * share - 1, 2.0 * label[:, None] - 1)
    return jnp.sqrt(1 - a) * (x - jnp.sqrt(a) * mean) / variance


def test_guidance_1_is_the_conditional_model_and_0_the_unconditional_one():
    x, t, label = jnp.linspace(-2, 2, 6)[:, None], jnp.full(6, 400), jnp.array([0, 1, 0, 1, 0, 1])
    none = jnp.full(6, 2)
    np.testing.assert_array_equal(samplers.guided(conditional, label, 2, 1.0)(x, t), conditional(x, t, label))
    np.testing.assert_array_equal(samplers.guided(conditional, label, 2, 0.0)(x, t), conditional(x, t, none))


def test_guidance_mixes_the_scores_of_the_mixture_and_of_the_class():
    """-eps / sigma is the score: guided = (1 - s) grad log p(x) + s grad log p(x | y), gradients by autodiff."""
    t, scale = jnp.full(1, 400), 3.0
    a = LINEAR.alpha_bar[400]

    def log_p(x, centres):
        return jax.nn.logsumexp(-((x - np.sqrt(a) * centres) ** 2) / (2 * (a * STD**2 + 1 - a)))

    for x in (-1.5, 0.2, 0.9):
        p, p_class = (jax.grad(log_p)(x, np.array(centres)) for centres in ([-1.0, 1.0], [1.0]))
        guided = samplers.guided(conditional, jnp.array([1]), 2, scale)(jnp.array([[x]]), t)
        np.testing.assert_allclose(-guided[0, 0] / np.sqrt(1 - a), (1 - scale) * p + scale * p_class, rtol=1e-10)
