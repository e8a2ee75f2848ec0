"""The noising process of diffusion models as a value with formulas: it knows no network.

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)                                        eq. (2)
    q(x_t | x_0)     = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I),   alpha_bar_t = prod_s (1 - beta_s)    eq. (4)
    q(x_{t-1} | x_t, x_0) = N(posterior_mean, beta_tilde_t I)                                    eqs. (6), (7)

of Ho et al. 2020 (arXiv:2006.11239). Row i of every table stands for the paper's t = i + 1, as in the released code.
Tables are NumPy float64 and are rounded once, when they meet an array: products of a thousand factors, and 1 -
alpha_bar near t = 1, lose digits in float32.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

Variance = Literal["fixed_large", "fixed_small"]


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """N steps of Gaussian noise.

    beta:     [N] float64, the variance that each step adds.
    timestep: [N] int32, the time that the network is told: 0 .. N - 1, or, of a respaced chain, times of the chain it
              was trained on.
    """

    beta: np.ndarray
    timestep: np.ndarray

    @property
    def steps(self) -> int:
        return len(self.beta)

    @cached_property
    def alpha_bar(self) -> np.ndarray:
        """[N] the share of the variance of x_t that is still signal."""
        return np.cumprod(1 - self.beta)

    @cached_property
    def alpha_bar_previous(self) -> np.ndarray:
        """[N] alpha_bar one step earlier; 1 before the first."""
        return np.append(1.0, self.alpha_bar[:-1])

    @cached_property
    def posterior_variance(self) -> np.ndarray:
        """[N] beta_tilde_t, eq. (7); 0 in the first row, where x_0 is given."""
        return self.beta * (1 - self.alpha_bar_previous) / (1 - self.alpha_bar)

    @cached_property
    def posterior_log_variance(self) -> np.ndarray:
        """[N] log beta_tilde_t; the first row, which would be -inf, repeats the second."""
        return np.log(np.append(self.posterior_variance[1], self.posterior_variance[1:]))

    @cached_property
    def posterior_on_x0(self) -> np.ndarray:
        """[N] the weight of x_0 in the posterior mean, eq. (7)."""
        return np.sqrt(self.alpha_bar_previous) * self.beta / (1 - self.alpha_bar)

    @cached_property
    def posterior_on_x_t(self) -> np.ndarray:
        """[N] the weight of x_t in the posterior mean, eq. (7)."""
        return np.sqrt(1 - self.beta) * (1 - self.alpha_bar_previous) / (1 - self.alpha_bar)

    def model_log_variance(self, kind: Variance) -> np.ndarray:
        """[N] log variance of the reverse step p(x_{t-1} | x_t), section 3.2.

        "fixed_small" is beta_tilde_t, right for data that is one point; "fixed_large" is beta_t, right for data that is
        N(0, I). Both have beta_tilde_2 in the first row.
        """
        if kind == "fixed_small":
            return self.posterior_log_variance
        return np.log(np.append(self.posterior_variance[1], self.beta[1:]))


def linear(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Schedule:
    """beta from `first` to `last` in equal steps (section 4; made for 1000 steps: fewer leave signal at the end)."""
    return Schedule(np.linspace(first, last, steps, dtype=np.float64), np.arange(steps, dtype=np.int32))


def cosine(steps: int = 1000, offset: float = 0.008, largest: float = 0.999) -> Schedule:
    """alpha_bar(u) = cos^2((u + offset) / (1 + offset) pi / 2), beta at most `largest` (arXiv:2102.09672, eq. 17)."""
    u = np.arange(steps + 1, dtype=np.float64) / steps
    alpha_bar = np.cos((u + offset) / (1 + offset) * np.pi / 2) ** 2
    return Schedule(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], largest), np.arange(steps, dtype=np.int32))


def respace(schedule: Schedule, rows: np.ndarray) -> Schedule:
    """The chain that visits only some rows of another (arXiv:2102.09672, eq. 19): same q(x_t | x_0) at each.

    rows: increasing row numbers. The network goes on being told the times of the original chain.
    """
    rows = np.asarray(rows)
    if rows.ndim != 1 or len(rows) < 2 or rows[0] < 0 or rows[-1] >= schedule.steps or np.any(np.diff(rows) < 1):
        raise ValueError(f"respacing needs at least two increasing rows of 0 .. {schedule.steps - 1}, got {rows}")
    alpha_bar = schedule.alpha_bar[rows]
    return Schedule(1 - alpha_bar / np.append(1.0, alpha_bar[:-1]), schedule.timestep[rows])


def spaced(steps: int, count: int, kind: Literal["stride", "even", "quadratic"] = "stride") -> np.ndarray:
    """`count` rows of a chain of `steps`, increasing.

    "stride":    0, s, 2s, ... with s = steps // count: DDIM (arXiv:2010.02502, appendix D.2), never the last row.
    "even":      from the first row to the last, rounded (arXiv:2102.09672).
    "quadratic": squares of equal steps up to 0.8 `steps`: DDIM on CIFAR-10, dense where there is little noise.

    Raises ValueError where there are not `count` such rows.
    """
    if not 2 <= count <= steps:
        raise ValueError(f"{count} steps asked of a chain of {steps}: at least 2, at most {steps}")
    if kind == "stride":
        return np.arange(count) * (steps // count)
    if kind == "even":
        return np.round(np.arange(count) * ((steps - 1) / (count - 1))).astype(int)
    rows = (np.linspace(0, np.sqrt(0.8 * steps), count) ** 2).astype(int)
    if np.any(np.diff(rows) < 1):
        raise ValueError(f"{count} quadratic steps of {steps} fall on the same rows: ask for fewer")
    return rows


def q_sample(schedule: Schedule, x0: Array, t: Array, noise: Array) -> Array:
    """x_t given x_0, eq. (4). x0, noise [B, ...]; t [B] rows."""
    return at(np.sqrt(schedule.alpha_bar), t, x0) * x0 + at(np.sqrt(1 - schedule.alpha_bar), t, x0) * noise


def predict_x0(schedule: Schedule, x_t: Array, t: Array, eps: Array) -> Array:
    """The x_0 that x_t and its noise imply: eq. (4) solved for x_0."""
    return at(1 / np.sqrt(schedule.alpha_bar), t, x_t) * x_t - at(np.sqrt(1 / schedule.alpha_bar - 1), t, x_t) * eps


def posterior_mean(schedule: Schedule, x0: Array, x_t: Array, t: Array) -> Array:
    """The mean of q(x_{t-1} | x_t, x_0), eq. (7)."""
    return at(schedule.posterior_on_x0, t, x_t) * x0 + at(schedule.posterior_on_x_t, t, x_t) * x_t


def at(table: np.ndarray, t: Array, x: Array) -> Array:
    """Rows t [B] of a table [N], in the dtype of x [B, ...] and with the axes to multiply it."""
    return jnp.asarray(table, x.dtype)[t].reshape(-1, *[1] * (x.ndim - 1))
