"""GAN: two networks against each other (Goodfellow et al. 2014, arXiv:1406.2661), trained as DCGAN (arXiv:1511.06434).

    min_G max_D V(D, G) = E_x log D(x) + E_z log(1 - D(G(z)))                                            eq. (1)

For a fixed G the best D is p_d / (p_d + p_g), and V is then 2 JSD(p_d, p_g) - log 4. D is trained on -V; G on V, or
with the non-saturating loss, which has the same fixed points but still a gradient where D is sure of itself:

    minimax:         E log(1 - D(G(z)))        gradient in the logit  -D
    non_saturating:  E -log D(G(z))            gradient in the logit  -(1 - D)

Losses are functions of logits, D = sigmoid(logit). A step is one of D and then one of G, each with noise of its own.

Batch statistics: real and fake batches go through D one after the other, as released, and each kind has its own running
statistics, since one average over both describes neither. The released code samples with the statistics of the batch
sampled; here sampling uses running statistics, so that a sample does not depend on those drawn beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, Metrics, Params, TrainState, chain, descend, new_state

Name = Literal["non_saturating", "minimax"]


def discriminator_loss(real: Array, fake: Array) -> Array:
    """-log D(x) - log(1 - D(G(z))): logits [B], [B] -> [B]."""
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)


def minimax_loss(fake: Array) -> Array:
    """log(1 - D(G(z))): logits [B] -> [B]."""
    return -jax.nn.softplus(fake)


def non_saturating_loss(fake: Array) -> Array:
    """-log D(G(z)): logits [B] -> [B]."""
    return jax.nn.softplus(-fake)


GENERATOR_LOSSES: dict[Name, Callable[[Array], Array]] = {
    "non_saturating": non_saturating_loss,
    "minimax": minimax_loss,
}


def gan(
    generator: nn.Module,
    discriminator: nn.Module,
    tx_generator: optax.GradientTransformation,
    tx_discriminator: optax.GradientTransformation,
    *,
    loss: Name = "non_saturating",
    latents: int = 100,
) -> Method:
    """The method over batches {"image": [B, H, W, C] in [-1, 1]}.

    generator:     (z [B, latents], train) -> images, with batch statistics.
    discriminator: (images, train) -> {"logits" [B], "features": list of [B, h, w, c]}, with batch statistics.

    Memory: "generator_stats", and "discriminator_stats" of "real" and "fake" batches. `evaluate` gives the logit of D on
    each example and on a sample beside it, and whether D is right about them; `encode` the features of D, max-pooled to
    at most 4 x 4 at every level, as section 5.1 of DCGAN classifies them.
    """
    generator_loss = GENERATOR_LOSSES[loss]

    def init(key: Array, batch: Batch) -> TrainState:
        key_g, key_d = jax.random.split(key)
        g = generator.init(key_g, jnp.zeros((1, latents)), train=False)
        d = discriminator.init(key_d, jnp.zeros((1, *batch["image"].shape[1:])), train=False)
        params = {"generator": g["params"], "discriminator": d["params"]}
        memory = {
            "generator_stats": g.get("batch_stats", {}),
            "discriminator_stats": {
                kind: jax.tree.map(jnp.copy, d.get("batch_stats", {})) for kind in ("real", "fake")
            },
        }
        return new_state(params, {"generator": tx_generator, "discriminator": tx_discriminator}, memory)

    def fakes(params: Params, memory: Memory, n: int, key: Array, train: bool) -> tuple[Array, Any]:
        return _apply(generator, params["generator"], memory["generator_stats"], draw(key, n, latents), train)

    def judge(params: Params, memory: Memory, x: Array, kind: str, train: bool) -> tuple[dict[str, Any], Any]:
        return _apply(discriminator, params["discriminator"], memory["discriminator_stats"][kind], x, train)

    def d_loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        x = jnp.asarray(batch["image"])
        fake, _ = fakes(params, memory, len(x), key, train=True)
        on_real, real_stats = judge(params, memory, x, "real", train=True)
        on_fake, fake_stats = judge(params, memory, fake, "fake", train=True)
        memory = {**memory, "discriminator_stats": {"real": real_stats, "fake": fake_stats}}
        right = {"real_accuracy": jnp.mean(on_real["logits"] > 0), "fake_accuracy": jnp.mean(on_fake["logits"] < 0)}
        return jnp.mean(discriminator_loss(on_real["logits"], on_fake["logits"])), (memory, right)

    def g_loss(params: Params, memory: Memory, batch: Batch, key: Array) -> tuple[Array, tuple[Memory, Metrics]]:
        fake, stats = fakes(params, memory, len(batch["image"]), key, train=True)
        on_fake, _ = judge(params, memory, fake, "fake", train=True)
        return jnp.mean(generator_loss(on_fake["logits"])), ({**memory, "generator_stats": stats}, {})

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        x = jnp.asarray(batch["image"])
        fake, _ = fakes(state.params, state.memory, len(x), key, train=False)
        real_logit = judge(state.params, state.memory, x, "real", train=False)[0]["logits"]
        fake_logit = judge(state.params, state.memory, fake, "fake", train=False)[0]["logits"]
        return {
            "real_logit": real_logit,
            "fake_logit": fake_logit,
            "real_accuracy": (real_logit > 0).astype(jnp.float32),
            "fake_accuracy": (fake_logit < 0).astype(jnp.float32),
        }

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        return fakes(state.params, state.memory, len(batch["image"]), key, train=False)[0]

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        x = jnp.asarray(batch["image"])
        features = judge(state.params, state.memory, x, "real", train=False)[0]["features"]
        return jnp.concatenate([_pooled(h).reshape(len(x), -1) for h in features], axis=1)

    step = chain(descend(d_loss, tx_discriminator, "discriminator"), descend(g_loss, tx_generator, "generator"))
    return Method(init, step, evaluate, sample, encode)


def draw(key: Array, n: int, latents: int) -> Array:
    """z ~ U[-1, 1], [n, latents]."""
    return jax.random.uniform(key, (n, latents), minval=-1.0, maxval=1.0)


def progress(most: int = 6) -> Callable[[Any], np.ndarray]:
    """A panel: samples over training side by side, from first to last; uint8 [H, W, 3].

    most: pictures shown, evenly spaced over those in the run folder. Raises ValueError where there are none.
    """

    def panel(run: Any) -> np.ndarray:
        from PIL import Image

        files = sorted(Path(run.workdir or ".").glob("samples/*.png"))
        if not files:
            raise ValueError(f"no samples/*.png in the run folder {run.workdir}")
        chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, most).round().astype(int))]
        pictures = [np.asarray(Image.open(file).convert("RGB")) for file in chosen]
        return np.concatenate(pictures, axis=1)

    return panel


def _pooled(x: Array) -> Array:
    """[B, h, w, c], h = w a power of two -> maxima over a grid of at most 4 x 4."""
    side = min(4, x.shape[1])
    cells = x.reshape(len(x), side, x.shape[1] // side, side, x.shape[2] // side, x.shape[3])
    return jnp.max(cells, axis=(2, 4))


def _apply(net: nn.Module, params: Any, stats: Any, x: Array, train: bool) -> tuple[Any, Any]:
    """The output, and the running statistics after it, which only training moves."""
    variables = {"params": params, "batch_stats": stats}
    if not train:
        return net.apply(variables, x, train=False), stats
    out, updated = net.apply(variables, x, train=True, mutable=["batch_stats"])
    return out, updated.get("batch_stats", stats)
