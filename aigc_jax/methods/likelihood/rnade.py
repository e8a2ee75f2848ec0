"""RNADE's method: the exact density of real values, -log p(x) = -sum_d log p(x_d | x_<d), minimised.

Two things of the paper (arXiv:1306.0186) beside that:

    The gradient to the mean of each component is multiplied by its scale, so that tight components are not blown up by steps
    that are large beside them (`rescale`).
    Values are standardised. Densities are of the data as they are given nevertheless: the network sees x / unit, and D log unit
    is added to its -log p. Data that are standardised already have unit 1, and a figure of the original values would have
    another sum_d log std_d.
"""

from __future__ import annotations

import math
from typing import Any, cast

import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Method, TrainState, descend, examples, new_state
from aigc_jax.networks.rnade import RNADE
from aigc_jax.probability.distributions import sum_trailing
from aigc_jax.probability.mixtures import Mixture, log_mixture, rescaled


def rnade(net: RNADE, tx: optax.GradientTransformation, *, unit: float = 1.0, rescale: bool = True) -> Method:
    """The method over tables {"x": [B, D]}.

    unit:    what the values are divided by before the network sees them: about their deviation.
    rescale: multiply the gradient to each mean by its scale, as the paper does; False is the gradient itself.

    `evaluate`: -log p(x) (`nll`) in nats per example, of x as given. `sample`: draws, in the shape of the examples. Raises
    ValueError for a unit that is not above 0.
    """
    if not unit > 0:
        raise ValueError(f"values are divided by a unit above 0, not {unit}")

    def init(key: Array, batch: Batch) -> TrainState:
        return new_state({"net": net.init(key, examples(batch))["params"]}, tx)

    def nll(params: Any, x: Array, rescale: bool) -> Array:
        x = x.reshape(x.shape[0], -1) / unit
        of = cast(Mixture, net.apply({"params": params}, x))
        log_p = sum_trailing(log_mixture(x, rescaled(of) if rescale else of, net.family))
        return x.shape[1] * math.log(unit) - log_p

    def loss(params, memory, batch, key):
        value = jnp.mean(nll(params["net"], examples(batch), rescale))
        return value, (memory, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        return {"nll": nll(state.params["net"], examples(batch), False)}

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        like = examples(batch)
        x, _ = draw(net, state.params["net"], key, len(like))
        return unit * x.reshape(like.shape)

    return Method(init, descend(loss, tx), evaluate, sample, protocol="nll: -log p(x) in nats of x as given, exact")


def draw(net: RNADE, params: Any, key: Array, n: int) -> tuple[Array, Mixture]:
    """n draws [n, D] in units, and the mixtures they were drawn from."""
    return cast(tuple[Array, Mixture], net.apply({"params": params}, key, n, method="draw"))
