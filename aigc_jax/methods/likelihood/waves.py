"""Autoregressive models of sound: log p(x | h) = sum_t log p(x_t | x_<t, h) of the mu-law codes of a wave, exact.

For any network over samples: `net(codes [B, T], label, features) -> logits [B, T, levels]`, those at t of the code at t from
the codes before it, which draws by `draw(key, n, T, label, features, temperature) -> codes, logits`
(`aigc_jax.networks.wavenet`). A likelihood is that of codes, not of amplitudes: bits per sample of 256 codes compare with each
other, and with the 8 bits of even codes.

Short recordings are padded, and a batch may say by `length` [B] how many samples of each are real. Those after them are read by
nobody, as the network is causal, and cost nothing.
"""

from __future__ import annotations

from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Method, TrainState, descend, new_state
from aigc_jax.probability import mu_law
from aigc_jax.probability.distributions import bits_per_dimension, check_temperature, log_categorical


def waves(net: nn.Module, tx: optax.GradientTransformation, *, levels: int = 256, temperature: float = 1.0) -> Method:
    """The method over batches {"wave": [B, T] in [-1, 1]} with, where there are such, `length`, `label` and `features`.

    levels:      of mu-law, those of the network. A network with classes or features reads the column `label` or `features`;
                 one with a field `dropout` above 0 is told when it is trained, and draws from the rng `dropout`.
    temperature: divides the logits that samples are drawn by; 0 takes the likeliest code.

    The loss is the mean over real samples. `evaluate`: -log p of the real samples of each recording in nats (`nll`), and
    `bits_per_sample`, nll over their number; the mean of the latter counts recordings, not samples, alike.
    `sample`: waves [B, T], drawn code by code.

    Raises ValueError for a negative temperature, and where the network has other levels.
    """
    check_temperature(temperature)
    if getattr(net, "levels", levels) != levels:
        raise ValueError(f"the network reads {getattr(net, 'levels', None)} codes, not {levels}")

    def init(key: Array, batch: Batch) -> TrainState:
        few = {name: x[:1] for name, x in conditions(net, batch).items()}
        return new_state({"net": net.init(key, codes(batch, levels)[:1], **few)["params"]}, tx)

    def loss(params, memory, batch, key):
        training = {"train": True, "rngs": {"dropout": key}} if getattr(net, "dropout", 0) else {}
        nats, real = sample_nats(net, params["net"], batch, levels, **training)
        return jnp.sum(nats * real) / jnp.maximum(jnp.sum(real), 1), (memory, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        nats, real = sample_nats(net, state.params["net"], batch, levels)
        nll = jnp.sum(nats * real, axis=1)
        return {"nll": nll, "bits_per_sample": bits_per_dimension(nll, jnp.maximum(jnp.sum(real, axis=1), 1))}

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        n, length = batch["wave"].shape
        drawn, _ = draw(net, state.params["net"], key, n, length, conditions(net, batch), temperature)
        return mu_law.decode(drawn, levels)

    protocol = (
        f"nll: nats of the {levels} mu-law codes of a recording; bits_per_sample: over its length, each recording alike"
    )
    return Method(init, descend(loss, tx), evaluate, sample, protocol=protocol)


def codes(batch: Batch, levels: int = 256) -> Array:
    """The mu-law codes of the waves of a batch, int32 [B, T]."""
    return mu_law.encode(jnp.asarray(batch["wave"]), levels)


def conditions(net: nn.Module, batch: Batch) -> dict[str, Any]:
    """What the network reads besides the codes. Raises ValueError where the batch lacks it."""
    wanted = [name for name, field in (("label", "classes"), ("features", "features")) if getattr(net, field, 0)]
    if missing := [name for name in wanted if name not in batch]:
        raise ValueError(f"the network reads {' and '.join(missing)}: the batch has {', '.join(batch)}")
    return {name: jnp.asarray(batch[name]) for name in wanted}


def sample_nats(net: nn.Module, params: Any, batch: Batch, levels: int = 256, **training: Any) -> tuple[Array, Array]:
    """-log p(x_t | x_<t) of every sample, and 1 for those that are real, 0 for padding; [B, T] each.

    training: what `net.apply` takes besides where the network is trained.
    """
    x = codes(batch, levels)
    logits = cast(Array, net.apply({"params": params}, x, **conditions(net, batch), **training))
    if "length" not in batch:
        return -log_categorical(x, logits), jnp.ones(x.shape)
    return -log_categorical(x, logits), (jnp.arange(x.shape[1]) < batch["length"][:, None]).astype(jnp.float32)


def draw(net: nn.Module, params: Any, key: Array, n: int, length: int, given: dict[str, Any] | None = None,
         temperature: float = 1.0) -> tuple[Array, Array]:  # fmt: skip
    """n draws of codes, and the logits they were drawn by: [n, length] and [n, length, levels]."""
    drawn = net.apply({"params": params}, key, n, length, **(given or {}), temperature=temperature, method="draw")
    return cast(tuple[Array, Array], drawn)
