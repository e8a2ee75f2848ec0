"""Two stages: pictures as grids of numbers of codes, and a prior over the grids (arXiv:1711.00937, section 3.3).

    first  x -> k [h, w] -> x,  a VQ-VAE        prior  p(k),  any model of pictures of integers, such as a PixelCNN
    a sample is the picture of k ~ p(k)

The paper fits the prior once the first stage is done: here the first is that of a finished run and stays as it is. Or both are
learnt in one run, the prior on the numbers as they are now: no gradient passes from it to the first stage, which trains as it
would by itself.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.core import Batch, Method, Metrics, TrainState
from aigc_jax.probability.quantize import nearest


def two_stage(first: Method, prior: Method, learn: bool = False) -> Method:
    """The method over the batches of the first stage; the prior sees {**batch, "image": k [B, h, w, 1] as float32}.

    first: with `encode`, the codes of an example, flat, and `sample`, which makes pictures of a batch's `codes` (`vqvae`).
    prior: with `sample`. Its `evaluate` is reported under codes_...: `codes_nll`, nats for all numbers of an example.
    learn: train the first stage as well; its metrics begin with vqvae/, those of the prior with prior/. Without, it lies in
           memory["vqvae"], and an experiment fills it with that of a run by `grafts={"memory.vqvae": DIR}`.

    Raises ValueError for stages that do not sample or encode, and at `init` where the codes are no square.
    """
    if first.sample is None or first.encode is None or prior.sample is None:
        raise ValueError("the first stage encodes and samples, the prior samples")

    def init(key: Array, batch: Batch) -> TrainState:
        key_first, key_prior = jax.random.split(key)
        begun = first.init(key_first, batch)
        over = prior.init(key_prior, grids(begun, batch))
        if not learn:
            held = {"params": begun.params, "memory": begun.memory}
            return over._replace(memory={**over.memory, "vqvae": held})
        return TrainState(over.step, *({"vqvae": a, "prior": b} for a, b in zip(begun[1:], over[1:])))

    def stages(state: TrainState) -> tuple[TrainState, TrainState]:
        """The states of the first stage and of the prior."""
        if learn:
            one, other = (TrainState(state.step, *(part[name] for part in state[1:])) for name in ("vqvae", "prior"))
            return one, other
        held = state.memory["vqvae"]
        return TrainState(state.step, held["params"], {}, held["memory"]), state

    def grids(begun: TrainState, batch: Batch) -> dict[str, Any]:
        codes = begun.memory["codebook"]["codes"]
        assert first.encode is not None
        vectors = first.encode(begun, batch, jax.random.key(0))  # [B, h w D]
        side = math.isqrt(vectors.shape[1] // codes.shape[1])
        if side * side * codes.shape[1] != vectors.shape[1]:
            raise ValueError(f"{vectors.shape[1] // codes.shape[1]} codes an example are no square")
        index = nearest(codes, vectors.reshape(len(vectors), side, side, -1))
        return {**batch, "image": index[..., None].astype(jnp.float32)}

    def step(state: TrainState, batch: Batch, key: Array) -> tuple[TrainState, Metrics]:
        begun, over = stages(state)
        if not learn:
            return prior.step(over, grids(begun, batch), key)
        key_first, key_prior = jax.random.split(key)
        over, of_prior = prior.step(over, grids(begun, batch), key_prior)
        begun, of_first = first.step(begun, batch, key_first)
        named = {f"vqvae/{name}": value for name, value in of_first.items()}
        named |= {f"prior/{name}": value for name, value in of_prior.items()}
        return TrainState(state.step, *({"vqvae": a, "prior": b} for a, b in zip(begun[1:], over[1:]))), named

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        begun, over = stages(state)
        of_prior = prior.evaluate(over, grids(begun, batch), key)
        return {**first.evaluate(begun, batch, key), **{f"codes_{name}": value for name, value in of_prior.items()}}

    def sample(state: TrainState, batch: Batch, key: Array) -> Array:
        begun, over = stages(state)
        assert first.sample is not None and prior.sample is not None
        drawn = prior.sample(over, grids(begun, batch), key)[..., 0]
        return first.sample(begun, {**batch, "codes": drawn.astype(jnp.int32)}, key)

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        assert first.encode is not None
        return first.encode(stages(state)[0], batch, key)

    protocol = f"{first.protocol}; codes_*: of the numbers of the code, {prior.protocol}"
    return Method(init, step, evaluate, sample, encode, protocol=protocol)
