"""Autoregressive models of bits: log p(x) = sum_d log p(x_d | x_<d), exact, for any network that gives the conditionals.

The networks (`aigc_jax.networks`: FVSBN, NADE, EoNADE, MADE) are called as `net(x [B, ...], member) -> logits [B, D]`, all
conditionals along the order of this member, and draw by `draw(key, n, member) -> bits, logits`. A network of several members
(orders, or masks) is their mixture,

    p(x) = 1/M sum_i p_i(x)      evaluated as the logarithm of a mean of probabilities, not as a mean of logarithms.

It is trained by one member a step in turn (MADE, arXiv:1502.03509, section 4.3), or for all orders at once
(`order_agnostic`, EoNADE, arXiv:1310.1757, eq. 7): a number of variables and which ones are known is drawn for each example,

    loss = D / (D - d + 1) sum_{unknown k} -log p(x_k | the d - 1 known ones),     d uniform in 1 .. D,

the mean of which over draws is the mean of -log p(x) over all orders.
"""

from __future__ import annotations

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Method, TrainState, descend, examples, new_state
from aigc_jax.probability.distributions import log_bernoulli, log_mean_exp, sum_trailing


def autoregressive(
    net: nn.Module, tx: optax.GradientTransformation, *, members: int = 1, order_agnostic: bool = False
) -> Method:
    """The method over batches {"image": [B, ...]}, or tables {"x": [B, D]}, of bits.

    members:        how many members the network has; one without a field of this name has 1.
    order_agnostic: train by `net.given(x, known)` for all orders; False trains the members in turn.

    `evaluate`: -log p(x) (`nll`) in nats per example. `sample`: draws, in the shape of the examples, along the order of one
    member, itself drawn: all of one call have the same.

    Raises ValueError where the network has another number of members: those it has not would be its last, counted again.
    """
    if members != getattr(net, "members", 1):
        raise ValueError(f"the network has {getattr(net, 'members', 1)} members, not {members}")

    def init(key: Array, batch: Batch) -> TrainState:
        params = {"net": net.init(key, examples(batch))["params"]}
        return new_state(params, tx, {"turn": jnp.int32(0)} if in_turn else {})

    def loss(params, memory, batch, key):
        x = examples(batch)
        x = x.reshape(x.shape[0], -1)
        if order_agnostic:
            return jnp.mean(order_agnostic_nll(net, params["net"], x, key)), (memory, {})
        if not in_turn:
            return jnp.mean(nll(net, params["net"], x)), (memory, {})
        turn = memory["turn"]
        return jnp.mean(nll(net, params["net"], x, turn)), ({**memory, "turn": (turn + 1) % members}, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        return {"nll": mixture_nll(net, state.params["net"], examples(batch), members)}

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        like = examples(batch)
        key_member, key_draw = jax.random.split(key)
        member = jax.random.randint(key_member, (), 0, members) if members > 1 else 0
        x, _ = draw(net, state.params["net"], key_draw, len(like), member)
        return x.reshape(like.shape)

    in_turn = members > 1 and not order_agnostic
    mixed = f", p the mean of those of {members} orders or masks" if members > 1 else ""
    return Method(init, descend(loss, tx), evaluate, sample, protocol=f"nll: -log p(x) in nats, exact{mixed}")


def nll(net: nn.Module, params: Any, x: Array, member: Array | int = 0) -> Array:
    """-log p_i(x) along the order of one member, [B]."""
    logits = cast(Array, net.apply({"params": params}, x, member))
    return -log_bernoulli(x.reshape(logits.shape), logits)


def mixture_nll(net: nn.Module, params: Any, x: Array, members: int) -> Array:
    """-log 1/M sum_i p_i(x), [B]; one member after another."""
    if members == 1:
        return nll(net, params, x)
    return -log_mean_exp(jax.lax.map(lambda member: -nll(net, params, x, member), jnp.arange(members)))


def order_agnostic_nll(net: nn.Module, params: Any, x: Array, key: Array) -> Array:
    """An unbiased estimate of the mean of -log p(x) over all orders, [B], for x [B, D] (arXiv:1310.1757, eq. 7)."""
    key_cut, key_order = jax.random.split(key)
    batch, dimensions = x.shape
    count = jax.random.randint(key_cut, (batch, 1), 0, dimensions)  # d - 1, how many are known
    places = jax.random.uniform(key_order, x.shape)
    known = places < jnp.take_along_axis(jnp.sort(places, axis=1), count, axis=1)  # the `count` first of a random order
    logits = cast(Array, net.apply({"params": params}, x, known.astype(x.dtype), method="given"))
    costs = jnp.where(known, 0, jax.nn.softplus(logits) - x * logits)
    return dimensions / (dimensions - count[:, 0]) * sum_trailing(costs)


def draw(net: nn.Module, params: Any, key: Array, n: int, member: Array | int = 0) -> tuple[Array, Array]:
    """n draws along the order of a member, and the logits they were drawn by: [n, D] each."""
    return cast(tuple[Array, Array], net.apply({"params": params}, key, n, member, method="draw"))
