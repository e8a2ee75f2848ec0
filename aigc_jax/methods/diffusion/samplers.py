"""Samplers of a trained denoiser, as tables of coefficients: ancestral (arXiv:2006.11239) and DDIM (arXiv:2010.02502).

One step of either, from x_t to the next lower x_s, is linear in what the network says. With eps_hat the predicted
noise and x0_hat = (x_t - sqrt(1 - alpha_bar_t) eps_hat) / sqrt(alpha_bar_t) the image it implies,

    x_s = on_x0 x0_hat + on_x x_t + on_eps eps_hat + sigma z,     z ~ N(0, I).

Ancestral sampling has on_eps = 0 (the posterior mean of x_s); DDIM has on_x = 0. The coefficients are computed in
float64 by NumPy; `sample` runs the table as one scan, so a sampler of any number of steps compiles once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.methods.diffusion.schedule import Schedule, Variance

Denoise = Callable[[Array, Array], Array]
"""(x_t [B, ...], the time the network is told [B]) -> the noise in x_t."""

Clip = Literal["none", "x0", "x0_and_eps"]


class Steps(NamedTuple):
    """A sampler: one row a step, from the most noise to none; each field [S].

    timestep:      what the network is told.
    signal, noise: sqrt(alpha_bar_t) and sqrt(1 - alpha_bar_t), to read x0_hat from x_t and eps_hat.
    on_x0, on_x, on_eps, sigma: the step, as in the formula above.
    """

    timestep: np.ndarray
    signal: np.ndarray
    noise: np.ndarray
    on_x0: np.ndarray
    on_x: np.ndarray
    on_eps: np.ndarray
    sigma: np.ndarray


def ancestral(schedule: Schedule, variance: Variance = "fixed_large") -> Steps:
    """Algorithm 2 of DDPM: x_{t-1} ~ p(x_{t-1} | x_t), the last without noise. Fewer steps: respace the schedule."""
    sigma = np.exp(0.5 * schedule.model_log_variance(variance))
    sigma[0] = 0.0
    return _steps(schedule, schedule.posterior_on_x0, schedule.posterior_on_x_t, np.zeros(schedule.steps), sigma)


def ddim(schedule: Schedule, eta: float = 0.0) -> Steps:
    """Eqs. (12) and (16) of DDIM. Fewer steps: respace the schedule.

    eta: 0 is deterministic, an Euler step of the probability flow; 1 has the noise of "fixed_small" ancestral
         sampling, and then each step has the same law.
    """
    a, a_s = schedule.alpha_bar, schedule.alpha_bar_previous
    variance = eta**2 * (1 - a_s) / (1 - a) * (1 - a / a_s)
    on_eps = np.sqrt(np.maximum(1 - a_s - variance, 0.0))  # rounding alone can take the last step below 0
    return _steps(schedule, np.sqrt(a_s), np.zeros(schedule.steps), on_eps, np.sqrt(variance))


def _steps(schedule: Schedule, *step: np.ndarray) -> Steps:
    signal, noise = np.sqrt(schedule.alpha_bar), np.sqrt(1 - schedule.alpha_bar)
    return Steps(*(column[::-1] for column in (schedule.timestep, signal, noise, *step)))


def sample(steps: Steps, denoise: Denoise, x: Array, key: Array, clip: Clip = "x0") -> Array:
    """Runs a sampler: x [B, ...] of pure noise -> samples [B, ...].

    clip: "none" (the released DDIM code); "x0" keeps x0_hat in [-1, 1] (DDPM); "x0_and_eps" also recomputes eps_hat
          from the clipped x0_hat (ADM). The last two are one thing for ancestral sampling. In DDIM without noise "x0"
          leaves x0_hat and eps_hat that do not add up to x_t, an error that nothing corrects: of digits drawn with
          guidance 2 it spoils one in twenty, "x0_and_eps" none.
    """
    step = _step(denoise, key, clip)
    return jax.lax.scan(lambda x, row: (step(x, row), None), x, _rows(steps, x))[0]


def trajectory(steps: Steps, denoise: Denoise, x: Array, key: Array, clip: Clip = "x0") -> Array:
    """As `sample`, but all of the way: [S + 1, B, ...], from the noise given to the samples."""
    step = _step(denoise, key, clip)
    last, path = jax.lax.scan(lambda x, row: (step(x, row), x), x, _rows(steps, x))
    return jnp.concatenate([path, last[None]])


def _rows(steps: Steps, x: Array) -> tuple[Array, Any]:
    """The number of each step, and its row in the dtype of x: the network's time stays an integer."""
    rows = jax.tree.map(lambda column: jnp.asarray(column, x.dtype), steps)
    return jnp.arange(len(steps.timestep)), rows._replace(timestep=jnp.asarray(steps.timestep))


def _step(denoise: Denoise, key: Array, clip: Clip) -> Callable[[Array, tuple[Array, Any]], Array]:
    def step(x: Array, row: tuple[Array, Any]) -> Array:
        index, c = row
        eps = denoise(x, jnp.full(x.shape[0], c.timestep))
        x0 = (x - c.noise * eps) / c.signal
        if clip != "none":
            x0 = jnp.clip(x0, -1, 1)
        if clip == "x0_and_eps":
            eps = (x - c.signal * x0) / c.noise
        z = jax.random.normal(jax.random.fold_in(key, index), x.shape, x.dtype)
        return c.on_x0 * x0 + c.on_x * x + c.on_eps * eps + c.sigma * z

    return step


def guided(denoise: Callable[[Array, Array, Array], Array], label: Array, dropped: int, scale: float) -> Denoise:
    """Classifier-free guidance (arXiv:2207.12598): eps = eps_u + scale (eps_c - eps_u), both from one doubled batch.

    denoise: (x, t, label) -> eps.
    label:   [B] the class asked for.
    dropped: the label that stands for no class.
    scale:   1 is the conditional model and 0 the unconditional one, each at the cost of one. Ho and Salimans write
             scale = 1 + w.
    """
    none = jnp.full_like(label, dropped)
    if scale in (0.0, 1.0):
        only = label if scale else none
        return lambda x, t: denoise(x, t, only)

    def combined(x: Array, t: Array) -> Array:
        both = denoise(jnp.concatenate([x, x]), jnp.concatenate([t, t]), jnp.concatenate([label, none]))
        conditional, unconditional = jnp.split(both, 2)
        return unconditional + scale * (conditional - unconditional)

    return combined
