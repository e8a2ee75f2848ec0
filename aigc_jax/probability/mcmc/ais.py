"""Annealed importance sampling (Neal 2001; Salakhutdinov and Murray 2008): log Z of an unnormalised density.

From exact draws of p_0, whose log Z_0 is known, along p*_0, ..., p*_K at inverse temperatures 0 = b_0 < ... < b_K = 1:

    log w = sum_k log p*_k(x_k) - log p*_{k-1}(x_k),      x_1 ~ p_0,   x_{k+1} ~ T_k(x_k), which leaves p_k invariant

E[w] = Z_K / Z_0 whatever the ladder. So Z is estimated without bias, and log Z from below on average (Jensen). The
weight of a rung is taken before its transition, at both temperatures: after it, the estimate is of nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from aigc_jax.probability.distributions import log_mean_exp


class AIS(NamedTuple):
    """An estimate of log Z from n chains.

    log_z:          log Z_0 + log mean w.
    relative_error: standard error of the estimate of Z over Z, by the spread of the weights; to first order the
                    standard error of log_z. Too small where the chains have missed a mode.
    log_weights:    [n].
    x:              the chains after the last transition, about draws of p_K.
    """

    log_z: Array
    relative_error: Array
    log_weights: Array
    x: Any

    def interval(self, width: float = 3.0) -> tuple[Array, Array]:
        """log(Z -+ `width` standard errors); the lower end is -inf where that many errors reach below zero."""
        low = jnp.log(jnp.maximum(1 - width * self.relative_error, 0))
        return self.log_z + low, self.log_z + jnp.log1p(width * self.relative_error)


def ais(
    key: Array,
    x: Any,
    betas: ArrayLike,
    log_density: Callable[[Any, Array], Array],
    transition: Callable[[Array, Any, Array], Any],
    log_z0: ArrayLike,
) -> AIS:
    """Anneals n chains from p_0 to p_K.

    x:           n exact draws of p_0, a tree of [n, ...].
    betas:       [K + 1], rising from 0 to 1.
    log_density: (x, beta) -> log p*_beta, [n]: at 0 that of x, normalised by log_z0; at 1 the density in question.
    transition:  (key, x, beta) -> x, leaving p_beta invariant. Whatever it shares with log_density is computed once.
    """

    betas = jnp.asarray(betas)

    def rung(k: Array, carry: tuple[Any, Array]) -> tuple[Any, Array]:
        x, log_w = carry
        log_w += log_density(x, betas[k]) - log_density(x, betas[k - 1])
        return transition(jax.random.fold_in(key, k), x, betas[k]), log_w

    zero = jnp.zeros_like(log_density(x, betas[0]))
    x, log_w = jax.lax.fori_loop(1, betas.shape[0], rung, (x, zero))
    w = jnp.exp(log_w - jnp.max(log_w))
    relative_error = jnp.std(w, ddof=1) / jnp.mean(w) / jnp.sqrt(w.shape[0])
    return AIS(log_mean_exp(log_w) + log_z0, relative_error, log_w, x)
