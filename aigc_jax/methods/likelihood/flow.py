"""Normalizing flows: an exact log p(x) through an invertible map f from data to noise, for any bijector.

    log p(x) = log p_noise(f(x)) + log |det df / dx|                       (arXiv:1410.8516, eq. 3)

Pictures of n grey levels (256, or 32 for 5 bits) are k / (n - 1), k = 0 .. n - 1. The flow sees y = (k + u) / n in [0, 1)^D,
and

    nll = -log p(y) + D log n      bpd = nll / (D log 2)                     (arXiv:1511.01844, section 3.1)

is in expectation over u ~ U[0, 1)^D an upper bound of -log P(k). It is reported for one u an example. With a `dequantizer` u
comes from a flow q(u|k) of its own, and log q(u|k) is added (Flow++, arXiv:1902.00275, eq. 12). Tables are seen as they are:
their nll is that of a density.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, Params, TrainState, chain, descend, examples, new_state, track
from aigc_jax.probability.bijectors import Bijector
from aigc_jax.probability.distributions import bits_per_dimension, check_temperature, log_normal, log_standard_logistic

Noise = Literal["normal", "logistic"]
KEPT = ("batch_stats", "constants")
"""Collections of a bijector beside its parameters; they lie in memory by network, as parameters do."""


LOG_PROB: dict[str, Callable[[Array], Array]] = {
    "normal": lambda z: log_normal(z, 0.0, 0.0),
    "logistic": log_standard_logistic,
}
DRAW: dict[str, Callable[..., Array]] = {"normal": jax.random.normal, "logistic": jax.random.logistic}


def flow(
    bijector: Bijector,
    tx: optax.GradientTransformation,
    *,
    levels: int = 0,
    noise: Noise = "normal",
    dequantizer: Bijector | None = None,
    temperature: float = 1.0,
    ema: float | None = None,
) -> Method:
    """The method over pictures {"image": [B, H, W, C]} in [0, 1], or tables {"x": [B, D]}.

    bijector:    f, from data to noise.
    levels:      grey levels of a picture; 0 for tables.
    noise:       p_noise, of independent variables.
    dequantizer: from u in (0, 1)^D, given the picture, to logistic noise; None is uniform dequantisation by the step's key.
    temperature: deviation of the noise that is drawn from; 1 samples p.
    ema:         decay of an average of the parameters by which evaluation and sampling go; None has none.

    `init` takes what depends on data (actnorm, batch norm) from the one whole batch it is given. The step reports `bpd` for
    pictures, and minimises it; `nll` for tables. `evaluate`: `nll` in nats, and for pictures `bpd`. `sample`: draws, pictures
    as k / (n - 1). `encode`: the noise f(x), [B, D], of pictures at the middle of their bins. Raises ValueError for a
    temperature below 0, fewer than 2 levels, another noise, and a dequantizer of tables.
    """
    check_temperature(temperature)
    if levels < 0 or levels == 1:
        raise ValueError(f"pictures have 2 grey levels at least, not {levels}")
    if noise not in LOG_PROB:
        raise ValueError(f"noise {noise!r}: there are {' and '.join(LOG_PROB)}")
    if dequantizer is not None and not levels:
        raise ValueError("a dequantizer is for pictures: give their grey levels")
    unit = "bpd" if levels else "nll"

    def init(key: Array, batch: Batch) -> TrainState:
        key_flow, key_dequantizer, key_u = jax.random.split(key, 3)
        x = examples(batch)
        made = {"flow": bijector.init(key_flow, quantized(x, levels, jax.random.uniform(key_u, x.shape)))}
        if dequantizer is not None:
            made["dequantizer"] = dequantizer.init(key_dequantizer, x, x, method="inverse_and_log_det")
        params = {name: variables.get("params", {}) for name, variables in made.items()}
        memory: Memory = {one: {name: v.get(one, {}) for name, v in made.items()} for one in KEPT}
        return new_state(params, tx, memory | ({"ema": params} if ema is not None else {}))

    def measure(params: Params, memory: Memory, batch: Batch, key: Array, train: bool) -> tuple[Array, Memory]:
        """nll [B], and the memory with its statistics moved."""
        x, log_q = examples(batch), 0.0
        size = math.prod(x.shape[1:])
        if dequantizer is None:
            u = jax.random.uniform(key, x.shape)
        else:
            given = variables_of(params, memory, "dequantizer")
            drawn = jax.random.logistic(key, x.shape)
            u, log_det = inverse(dequantizer, given, drawn, x)
            log_q = log_standard_logistic(drawn) - log_det
        y, given = quantized(x, levels, u), variables_of(params, memory, "flow")
        (z, log_det), moved = bijector.apply(given, y, None, train, mutable=["batch_stats"] if train else [])
        nll = -LOG_PROB[noise](z) - log_det + log_q + (size * math.log(levels) if levels else 0.0)
        if train:
            memory = {**memory, "batch_stats": {**memory["batch_stats"], "flow": moved.get("batch_stats", {})}}
        return nll, memory

    def scores(nll: Array, batch: Batch) -> dict[str, Array]:
        size = math.prod(examples(batch).shape[1:])
        return {"nll": nll} | ({"bpd": bits_per_dimension(nll, size)} if levels else {})

    def loss(params, memory, batch, key):
        nll, memory = measure(params, memory, batch, key, train=True)
        value = jnp.mean(scores(nll, batch)[unit])
        return value, (memory, {unit: value})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        return scores(measure(averaged(state), state.memory, batch, key, train=False)[0], batch)

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        x = examples(batch)
        drawn = DRAW[noise](key, (x.shape[0], *bijector.output_shape(x.shape[1:])))
        return decode(bijector, state, temperature * drawn, levels)

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        y = quantized(examples(batch), levels, jnp.float32(0.5))
        z, _ = bijector.apply(variables_of(averaged(state), state.memory, "flow"), y)
        return z.reshape(z.shape[0], -1)

    step = descend(loss, tx)
    update = step if ema is None else chain(step, track("ema", lambda p: p, ema))
    noisy = "uniform" if dequantizer is None else "learned"
    protocol = (
        f"bpd: of {levels} levels, one draw of {noisy} dequantisation, on average an upper bound; nll: it in nats"
    )
    exact = "nll: -log p(x) in nats, exact"
    return Method(init, update, evaluate, sample, encode, protocol=protocol if levels else exact)


def quantized(x: Array, levels: int, u: Array) -> Array:
    """(k + u) / n of a picture k / (n - 1); a table as it is."""
    return (jnp.round(x * (levels - 1)) + u) / levels if levels else x


def averaged(state: TrainState) -> Params:
    """The parameters, or their average where the state keeps one."""
    return state.memory.get("ema", state.params)


def variables_of(params: Params, memory: Memory, name: str) -> Mapping[str, Any]:
    """The variables of a bijector."""
    return {"params": params[name], **{one: memory[one][name] for one in KEPT}}


def inverse(bijector: Bijector, variables: Any, y: Array, context: Array | None = None) -> tuple[Array, Array]:
    """x, and log |det dx / dy| [B]."""
    return cast(tuple[Array, Array], bijector.apply(variables, y, context, method="inverse_and_log_det"))


def decode(bijector: Bijector, state: TrainState, z: Array, levels: int = 0) -> Array:
    """Noise [B, ...] -> examples; pictures of n levels as k / (n - 1)."""
    variables = variables_of(averaged(state), state.memory, "flow")
    y, _ = inverse(bijector, variables, z)
    return jnp.clip(jnp.floor(y * levels), 0, levels - 1) / (levels - 1) if levels else y
