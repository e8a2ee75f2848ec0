"""MoCo: momentum contrast for unsupervised visual representation learning (arXiv:1911.05722; v2 arXiv:2003.04297).

An encoder learns to tell, from one view of an image (the query), which of K + 1 keys is another view of the same
image:

    L_q = -log exp(q.k+ / tau) / (exp(q.k+ / tau) + sum_i exp(q.k_i / tau)),   |q| = |k| = 1         (1911.05722, eq. 1)
    theta_k <- m theta_k + (1 - m) theta_q                                                           (eq. 2)

The K negatives are a queue of the keys of former batches, encoded by theta_k, a slow average of the encoder: the
dictionary is large whatever the batch, and consistent because theta_k moves slowly. One step, as in algorithm 1 and
the released code: theta_k follows the encoder; queries and keys are encoded; the loss is taken against the queue as
it was; the keys replace its oldest rows. No gradient reaches a key. The average covers parameters alone: each encoder
has running statistics of its own.

v2 is v1 with a head of two layers (2048-2048-ReLU-128 where v1 has 2048-128), tau 0.2 for 0.07, blur among the
augmentations, and a cosine schedule.

Shuffled batch norm (1911.05722, section 3.3). Of all keys only the positive one stems from the batch of its query, so
a network that recognises whose batch statistics shaped a key has solved the task without looking at the image. The
paper normalises per GPU and permutes the keys over the GPUs, so that query and key lie among other images. Under
`jit` a batch norm takes the global batch, which no permutation changes: the shortcut would stand open. So the batch
is cut into `bn_groups` groups with statistics of their own, as many as the paper had GPUs, and the keys are permuted
over them. What is computed then does not depend on the number of devices. Running statistics follow the mean of the
groups, where the released code keeps those of one GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, Params, TrainState, chain, descend, new_state, track
from aigc_jax.networks.layers import Dense


class Encoder(nn.Module):
    """A trunk, which is kept, and a projection head, which is thrown away after training.

    trunk: (images [B, H, W, C], train) -> (pooled features [B, D], ...): a backbone without its last layer.
    dim:   of the space in which views are compared.
    mlp:   whether the head has a hidden layer as wide as the features (v2), or is linear (v1).

    Returns (features [B, D], unit vectors [B, dim] in float32).
    """

    trunk: nn.Module
    dim: int = 128
    mlp: bool = True

    @nn.compact
    def __call__(self, image: Array, train: bool) -> tuple[Array, Array]:
        features, _ = self.trunk(image, train)
        hidden = nn.relu(Dense(features.shape[-1], name="hidden")(features)) if self.mlp else features
        return features, unit(Dense(self.dim, name="projection")(hidden).astype(jnp.float32))


def moco(
    trunk: nn.Module,
    tx: optax.GradientTransformation,
    *,
    queue: int = 65536,
    momentum: float | Callable[[Array], Array] = 0.999,
    temperature: float = 0.2,
    dim: int = 128,
    mlp: bool = True,
    bn_groups: int = 8,
) -> Method:
    """Momentum contrast, v2 by default; v1 is `mlp=False, temperature=0.07` with the augmentations of v1.

    A batch has two views [B, H, W, C] of each image: "view1", the query, and "view2", the key. Training draws both by
    augmentation; in evaluation "view1" is the plain image, and `encode` gives its pooled features under running
    statistics.

    queue:       K, the number of negatives, a multiple of the batch.
    momentum:    m, a number or a schedule of the step.
    temperature: tau, by which similarities are divided.
    bn_groups:   groups of a batch that are normalised apart, the GPUs of the paper.

    `evaluate` gives the loss of each example against the queue, and 1 where its positive key is the nearest
    ("accuracy"). Raises ValueError for a temperature that is not above 0; so does `init` if the batch does not divide the
    queue, or the groups not the batch.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature is above 0, not {temperature}")
    encoder = Encoder(trunk, dim, mlp)

    def init(key: Array, batch: Batch) -> TrainState:
        _check(batch["view1"].shape[0], queue, bn_groups)
        key_encoder, key_queue = jax.random.split(key)
        variables = encoder.init(key_encoder, jnp.zeros((1, *batch["view1"].shape[1:]), batch["view1"].dtype), False)
        params, statistics = variables["params"], variables.get("batch_stats", {})
        memory = {
            "key_encoder": params,
            "queue": unit(jax.random.normal(key_queue, (queue, dim))),
            "cursor": jnp.int32(0),
            "batch_stats": {"encoder": statistics, "key_encoder": statistics},
        }
        return new_state({"encoder": params}, tx, memory)

    def embed(params: Any, statistics: Any, image: Array) -> tuple[Array, Any]:
        """Unit vectors [B, dim] of images [B, H, W, C] normalised by groups, and the statistics after them."""

        def of_group(image: Array):
            variables = {"params": params, "batch_stats": statistics}
            (_, z), updated = encoder.apply(variables, image, True, mutable=["batch_stats"])
            return z, updated.get("batch_stats", {})

        z, statistics = jax.vmap(of_group)(image.reshape(bn_groups, -1, *image.shape[1:]))  # [G, B / G, dim]
        return z.reshape(-1, dim), jax.tree.map(lambda s: jnp.mean(s, 0), statistics)

    def loss(params: Params, memory: Memory, batch: Batch, key: Array):
        statistics = memory["batch_stats"]
        q, of_encoder = embed(params["encoder"], statistics["encoder"], batch["view1"])
        shuffle = jax.random.permutation(key, q.shape[0])
        k, of_key_encoder = embed(memory["key_encoder"], statistics["key_encoder"], batch["view2"][shuffle])
        k = jax.lax.stop_gradient(k[jnp.argsort(shuffle)])  # none anyway: memory has no gradient; the method's claim
        losses, hits = contrast(q, k, memory["queue"], temperature)
        memory = {
            **memory,
            **enqueue(memory["queue"], memory["cursor"], k),
            "batch_stats": {"encoder": of_encoder, "key_encoder": of_key_encoder},
        }
        return jnp.mean(losses), (memory, {"accuracy": jnp.mean(hits)})

    def infer(state: TrainState, image: Array, name: str = "encoder") -> Any:
        params = state.memory["key_encoder"] if name == "key_encoder" else state.params["encoder"]
        return encoder.apply({"params": params, "batch_stats": state.memory["batch_stats"][name]}, image, False)

    def evaluate(state: TrainState, batch: Batch, key: Array) -> dict[str, Array]:
        q, k = infer(state, batch["view1"])[1], infer(state, batch["view2"], "key_encoder")[1]
        losses, hits = contrast(q, k, state.memory["queue"], temperature)
        return {"contrastive_loss": losses, "accuracy": hits}

    def encode(state: TrainState, batch: Batch, key: Array) -> Array:
        return infer(state, batch["view1"])[0]

    follow = track("key_encoder", lambda params: params["encoder"], momentum)
    return Method(init, chain(follow, descend(loss, tx)), evaluate, encode=encode)


def contrast(q: Array, k: Array, queue: Array, temperature: float) -> tuple[Array, Array]:
    """Equation 1 for each query, and 1 where its positive key is nearer than every negative.

    q, k:  unit vectors [B, D], row i of k the positive of row i of q.
    queue: unit vectors [K, D], the negatives of all.

    Returns ([B], [B]).
    """
    positive = jnp.sum(q * k, -1, keepdims=True)  # [B, 1]
    logits = jnp.concatenate([positive, q @ queue.T], -1) / temperature  # [B, 1 + K]
    losses = jax.nn.logsumexp(logits, -1) - logits[:, 0]
    return losses, (logits[:, 0] > jnp.max(logits[:, 1:], -1)).astype(jnp.float32)


def enqueue(queue: Array, cursor: Array, keys: Array) -> dict[str, Array]:
    """{"queue", "cursor"} after the keys [B, D] have replaced the B oldest rows of the queue [K, D]; B divides K."""
    queue = jax.lax.dynamic_update_slice_in_dim(queue, keys, cursor, 0)
    return {"queue": queue, "cursor": (cursor + keys.shape[0]) % queue.shape[0]}


def unit(x: Array) -> Array:
    """Rows of length 1, [..., D]; a row of zeros stays."""
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), -1, keepdims=True), 1e-24))


def _check(batch: int, queue: int, groups: int) -> None:
    if queue % batch:
        raise ValueError(f"queue length {queue} must be a multiple of the batch size {batch}: rows are replaced whole")
    if batch % groups:
        raise ValueError(f"{groups} groups of batch norm do not divide a batch of {batch}")
