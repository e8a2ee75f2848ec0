"""Autoregressive models of whole pictures, pixel by pixel in raster order: the exact likelihood, draws and completions.

    log p(x) = sum_i log p(x_i | x_<i)        i over pixels, or over the colours of pixels one after another

A network gives the parameters of all conditionals at once, `net(x [B, H, W, C], label) -> params`, and draws with a cache,
`net.draw(key, pick, known, keep, label) -> x, params`. What a pixel is distributed as is a `PixelOutput`
(`aigc_jax.probability.pixel_outputs`). The likelihood is that of the integers: nothing is dequantised.

Models of bits in another order, or in several, are in `autoregressive`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aigc_jax.core import Batch, Method, TrainState, chain, descend, new_state, track
from aigc_jax.evals.pictures import spread, tiles, titled
from aigc_jax.probability.distributions import bits_per_dimension, sum_trailing
from aigc_jax.probability.pixel_outputs import PixelOutput

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pixels(
    net: nn.Module,
    output: PixelOutput,
    tx: optax.GradientTransformation,
    *,
    classes: int = 0,
    ema: float | Callable[[Array], Array] | None = None,
    temperature: float = 1.0,
    palette: bool = False,
) -> Method:
    """The method over batches {"image": [B, H, W, C]} of 0 .. levels - 1, and {"label": [B]} where there are classes.

    output:      what a pixel is distributed as, given what the network puts out for it.
    classes:     of the labels that the network takes; 0 gives it none.
    ema:         decay of an average of the parameters, a number or a schedule of the step; by it is then evaluated and drawn.
    temperature: of draws: probabilities of a value are raised to its inverse.
    palette:     values are indices of colours. Their likelihood is not that of the picture, which lost its colours before.

    A network with a field `dropout` above 0 is told when it is trained, and draws from the rng `dropout`. `init` runs it on the
    batch as in training, for networks that begin by data.

    `evaluate`: -log p(x) in nats (`nll`), and for more than two levels in bits per dimension (`bpd`), or, of a palette, in
    nats per index (`nats_per_index`), which compare under the same palette alone. `sample`: draws, of the
    batch's classes; a batch with `keep` [B, H, W, 1 or C] is completed: where `keep` is not 0, its pixels stay. What is drawn
    follows from those before it in raster order, not from later ones.

    Raises ValueError for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature is above 0, not {temperature}")

    def pick(key: Array, params: Array) -> Array:
        return output.pick(key, params, temperature)

    def init(key: Array, batch: Batch) -> TrainState:
        training = {"train": True} if getattr(net, "dropout", 0) else {}
        given: dict[str, Any] = {**_label(batch, classes), **training}
        params = {"net": net.init({"params": key, "dropout": key}, batch["image"], **given)["params"]}
        return new_state(params, tx, {"ema": params["net"]} if ema is not None else {})

    def loss(params, memory, batch, key):
        training = {"train": True, "rngs": {"dropout": key}} if getattr(net, "dropout", 0) else {}
        cost = nll(net, output, params["net"], batch["image"], **_label(batch, classes), **training)
        return jnp.mean(cost), (memory, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        nats = nll(net, output, averaged(state), batch["image"], **_label(batch, classes))
        if output.levels == 2:
            return {"nll": nats}
        size = batch["image"][0].size
        return {"nll": nats} | ({"nats_per_index": nats / size} if palette else {"bpd": bits_per_dimension(nats, size)})

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        given = {"keep": batch["keep"]} if "keep" in batch else {}
        x, _ = draw(net, pick, averaged(state), key, batch["image"], **given, **_label(batch, classes))
        return x

    step = descend(loss, tx)
    if ema is not None:
        step = chain(step, track("ema", lambda params: params["net"], ema))
    protocol = "nll: -log p(x) in nats, exact"
    if output.levels > 2:
        each = "nats_per_index: nll / D, of indices" if palette else "bpd: that of whole numbers, nll / (D ln 2)"
        protocol = f"{protocol}; {each}"
    return Method(init, step, evaluate, sample, protocol=protocol)


def averaged(state: TrainState) -> Any:
    """The parameters of the network, or their average where the state keeps one."""
    return state.memory.get("ema", state.params["net"])


def nll(net: nn.Module, output: PixelOutput, params: Any, x: Array, **given: Any) -> Array:
    """-log p(x), [B]; `given` what `net.apply` takes besides: a label, if the network takes one."""
    return -sum_trailing(output.log_prob(cast(Array, net.apply({"params": params}, x, **given)), x))


def draw(
    net: nn.Module, pick: Callable[[Array, Array], Array], params: Any, key: Array, like: Array, **given: Any
) -> tuple[Array, Array]:
    """Draws in the shape of `like`, and the parameters that they were drawn by; `given` what the network's `draw` takes."""
    return cast(tuple[Array, Array], net.apply({"params": params}, key, pick, like, **given, method="draw"))


def completions(n: int = 8, draws: int = 6) -> Callable[[Any], Figure]:
    """A panel of a run: n evaluation examples, one a row; the whole, then its upper half alone, then completions of that."""

    def panel(run: Any) -> Figure:
        batch = {name: x.repeat(draws, axis=0) for name, x in spread(run, n).items()}
        image = batch["image"]  # [n draws, H, W, C]
        keep = np.zeros((*image.shape[:3], 1), np.float32)
        keep[:, : image.shape[1] // 2] = 1
        whole = run.data.decode(image)[::draws]  # [n, H, W, 1 or 3]; indices of a palette are colours now
        drawn = run.data.decode(run.sample({**batch, "keep": keep})).reshape(n, draws, *whole.shape[1:])
        upper = np.where(keep[::draws] > 0, whole, 128).astype(np.uint8)
        picture = tiles(np.concatenate([whole[:, None], upper[:, None], drawn], axis=1))
        return titled(picture, ["test", "kept", *(["drawn"] * draws)])

    return panel


def _label(batch: Batch, classes: int) -> dict[str, Any]:
    return {"label": batch["label"]} if classes else {}
