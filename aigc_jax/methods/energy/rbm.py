"""Restricted Boltzmann machine: binary units in two layers, no connection within a layer (Smolensky 1986; Hinton 2002).

    E(v, h) = -b.v - c.h - v'Wh               F(v) = -b.v - sum_j softplus(c_j + (W'v)_j)         p(v) = exp(-F(v)) / Z
    p(h_j = 1|v) = sigmoid(c_j + (W'v)_j)     p(v_i = 1|h) = sigmoid(b_i + (Wh)_i)

Parameters are {"kernel": W [D, H], "visible_bias": b [D], "hidden_bias": c [H]}. States are rows of 0. and 1., v [n, D]
and h [n, H]. Z is exact for small machines by enumeration, else estimated by annealing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from aigc_jax.probability.distributions import sample_bernoulli
from aigc_jax.probability.enumeration import log_sum_over_states
from aigc_jax.probability.mcmc import AIS, Kernel, ais, gibbs

RBM = dict[str, Array]


def init_rbm(key: Array, visible: int, hidden: int, scale: float = 0.01) -> RBM:
    """W ~ N(0, scale^2), 0.01 as in Hinton 2010, section 8; biases zero, where he gives the visible ones log-odds."""
    kernel = scale * jax.random.normal(key, (visible, hidden))
    return {"kernel": kernel, "visible_bias": jnp.zeros(visible), "hidden_bias": jnp.zeros(hidden)}


def energy(rbm: RBM, v: Array, h: Array) -> Array:
    """E(v, h), [n]."""
    return -v @ rbm["visible_bias"] - h @ rbm["hidden_bias"] - jnp.einsum("nd,dh,nh->n", v, rbm["kernel"], h)


def free_energy(rbm: RBM, v: Array) -> Array:
    """F(v) = -log sum_h exp(-E(v, h)), [n]."""
    return -v @ rbm["visible_bias"] - jnp.sum(jax.nn.softplus(hidden_logits(rbm, v)), axis=-1)


def hidden_logits(rbm: RBM, v: Array) -> Array:
    """Logits of p(h|v): [n, D] -> [n, H]."""
    return v @ rbm["kernel"] + rbm["hidden_bias"]


def visible_logits(rbm: RBM, h: Array) -> Array:
    """Logits of p(v|h): [n, H] -> [n, D]."""
    return h @ rbm["kernel"].T + rbm["visible_bias"]


def gibbs_kernel(rbm: RBM, beta: Array | float = 1.0, base: Array | float = 0.0) -> Kernel:
    """v -> v: one sweep, the hidden layer given the visible one and back. Leaves p(v) invariant.

    beta, base: of the machine that `annealed_log_z` passes through at inverse temperature beta.
    """

    def hidden(key: Array, x: Any) -> Array:
        return sample_bernoulli(key, beta * hidden_logits(rbm, x["visible"]))

    def visible(key: Array, x: Any) -> Array:
        return sample_bernoulli(key, (1 - beta) * base + beta * visible_logits(rbm, x["hidden"]))

    sweep = gibbs({"hidden": hidden, "visible": visible})
    return lambda key, v: sweep(key, {"visible": v})["visible"]


def pseudo_log_likelihood(rbm: RBM, v: Array, key: Array) -> Array:
    """An unbiased estimate of sum_i log p(v_i|v_-i): D times the term of one unit i, drawn for each row; [n].

    log p(v_i|v_-i) = log sigmoid(F(v with unit i flipped) - F(v)): no Z in it.
    """
    n, units = v.shape
    site = jax.nn.one_hot(jax.random.randint(key, (n,), 0, units), units)
    flipped = jnp.where(site > 0, 1 - v, v)
    return units * jax.nn.log_sigmoid(free_energy(rbm, flipped) - free_energy(rbm, v))


def exact_log_z(rbm: RBM) -> Array:
    """log Z = log sum exp(-F) over every state of the smaller layer.

    Raises ValueError if that layer has more than 20 units.
    """
    if rbm["kernel"].shape[0] > rbm["kernel"].shape[1]:
        rbm = transposed(rbm)
    return log_sum_over_states(lambda v: -free_energy(rbm, v), rbm["kernel"].shape[0])


def transposed(rbm: RBM) -> RBM:
    """The same machine with its layers exchanged: its F is that of h."""
    return {"kernel": rbm["kernel"].T, "visible_bias": rbm["hidden_bias"], "hidden_bias": rbm["visible_bias"]}


def annealed_log_z(rbm: RBM, key: Array, betas: ArrayLike, chains: int = 100, base: ArrayLike = 0.0) -> AIS:
    """log Z by annealing from independent units (Salakhutdinov and Murray 2008).

    log p*_beta(v) = ((1 - beta) base + beta b).v + sum_j softplus(beta (c_j + (W'v)_j))
    log Z_0          = sum softplus(base) + H log 2

    betas: [K + 1], rising from 0 to 1.
    base:  visible logits at beta = 0. The log-odds of the data's means start the chains near the data; 0 is uniform.
    """
    units, hidden = rbm["kernel"].shape
    base = jnp.broadcast_to(jnp.asarray(base, rbm["kernel"].dtype), (units,))

    def log_density(v: Array, beta: Array) -> Array:
        visible = v @ ((1 - beta) * base + beta * rbm["visible_bias"])
        return visible + jnp.sum(jax.nn.softplus(beta * hidden_logits(rbm, v)), axis=-1)

    key_start, key_anneal = jax.random.split(key)
    start = sample_bernoulli(key_start, jnp.broadcast_to(base, (chains, units)))
    log_z0 = jnp.sum(jax.nn.softplus(base)) + hidden * jnp.log(2.0)
    return ais(key_anneal, start, betas, log_density, lambda k, v, beta: gibbs_kernel(rbm, beta, base)(k, v), log_z0)


def ladder(rungs: Sequence[int], ends: Sequence[float] = (0.5, 0.9, 1.0)) -> np.ndarray:
    """Inverse temperatures from 0 to 1 in even steps, `rungs[i]` of them up to `ends[i]`: [sum(rungs) + 1].

    (500, 4000, 10000) is the ladder of Salakhutdinov and Murray (2008). Raises ValueError unless there are
    as many positive numbers of rungs as ends.
    """
    if len(rungs) != len(ends) or min(rungs) < 1:
        raise ValueError(f"a ladder to {tuple(ends)} takes {len(ends)} positive numbers of rungs, not {tuple(rungs)}")
    starts = (0.0, *ends[:-1])
    pieces = [np.linspace(a, b, n + 1)[1:] for n, a, b in zip(rungs, starts, ends)]
    return np.concatenate([[0.0], *pieces]).astype(np.float32)
