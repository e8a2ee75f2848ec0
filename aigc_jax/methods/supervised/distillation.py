"""Distillation through a token: a network with two heads learns from labels and from a teacher (DeiT, arXiv:2012.12877).

    hard:  loss = 1/2 CE(z, y) + 1/2 CE(z', argmax_c z_t)                                              eq. (3)
    soft:  loss = (1 - lambda) CE(z, y) + lambda tau^2 KL(softmax(z_t / tau) || softmax(z' / tau))     eq. (2)

z are the logits of the class head, z' those of the distillation head, z_t the teacher's. The targets y are smoothed and mixed
as for any classifier; the teacher sees the very pictures that the student sees, mixed ones too, and its part of the loss
knows neither labels nor smoothing. Both heads answer together: softmax of the mean of z and z'. The paper writes the sum of
their two softmax outputs, its released code takes the mean of the logits, as here.

The KL is a sum over classes and a mean over the batch, as Hinton et al. have it (arXiv:1503.02531); the released code divides
it by the classes as well. Without a teacher both heads learn from the labels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array

from aigc_jax.core import Batch, Memory, Method, TrainState
from aigc_jax.methods.supervised.classification import Features, supervised
from aigc_jax.methods.supervised.mixing import Mix


def distilled(
    net: nn.Module,
    tx: optax.GradientTransformation,
    teacher: Method | None = None,
    *,
    kind: Literal["hard", "soft"] = "hard",
    temperature: float = 3.0,
    weight: float = 0.1,
    smoothing: float = 0.0,
    mix: Mix | None = None,
    ema: float | Callable[[Array], Array] | None = None,
    evaluate_ema: bool = True,
    micro_batches: int = 1,
) -> Method:
    """A classifier whose second head learns from a teacher; what is not named here is that of `classifier`.

    net:         (image, train) -> (logits of the class head, features with `distilled`, the logits of the other).
    teacher:     a method that predicts. Its parameters and memory lie in memory["teacher"], where nothing changes them;
                 an experiment fills them with those of a run by `grafts={"memory.teacher": DIR}`.
    temperature: tau of the soft loss (section 5.2: 3).
    weight:      lambda of the soft loss (section 5.2: 0.1).

    Raises ValueError for a temperature that is not above 0, a weight outside [0, 1], a teacher that predicts nothing, and at
    `init` for one of another number of classes.
    """
    if not temperature > 0 or not 0 <= weight <= 1:
        raise ValueError(f"soft distillation needs tau > 0 and lambda in [0, 1], got {temperature} and {weight}")
    if teacher is not None and teacher.predict is None:
        raise ValueError("a teacher must predict, and this method does not")

    def remember(key: Array, batch: Batch, classes: int) -> Memory:
        return {} if teacher is None else {"teacher": _begun(teacher, key, batch, classes)}

    def objective(logits: Array, features: Features, target: Array, batch: Batch, memory: Memory) -> Array:
        labelled = optax.softmax_cross_entropy(logits, target)  # [B]
        if teacher is None:
            return (labelled + optax.softmax_cross_entropy(features["distilled"], target)) / 2
        told = jax.lax.stop_gradient(_logits(teacher, memory, batch))  # [B, classes]
        if kind == "hard":
            decided = optax.softmax_cross_entropy_with_integer_labels(features["distilled"], jnp.argmax(told, -1))
            return (labelled + decided) / 2
        return (1 - weight) * labelled + weight * temperature**2 * divergence(told, features["distilled"], temperature)

    return supervised(net, tx, objective, lambda logits, features: (logits + features["distilled"]) / 2,
                      smoothing=smoothing, mix=mix, ema=ema, evaluate_ema=evaluate_ema, micro_batches=micro_batches,
                      remember=remember)  # fmt: skip


def divergence(told: Array, learnt: Array, temperature: float) -> Array:
    """KL(softmax(told / temperature) || softmax(learnt / temperature)) of logits [B, classes]: nats [B]."""
    log_p, log_q = (jax.nn.log_softmax(logits / temperature) for logits in (told, learnt))
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), -1)


def _begun(teacher: Method, key: Array, batch: Batch, classes: int) -> dict[str, Any]:
    """The teacher before it is given what its run had learnt; one of other classes is refused."""
    state = teacher.init(key, batch)
    held = {"params": state.params, "memory": state.memory}
    known = jax.eval_shape(lambda: _logits(teacher, {"teacher": held}, batch)).shape[-1]
    if known != classes:
        raise ValueError(f"the teacher tells {known} classes apart, the student {classes}")
    return held


def _logits(teacher: Method, memory: Memory, batch: Batch) -> Array:
    """What the teacher says of a batch; it draws nothing, so its key says nothing."""
    assert teacher.predict is not None
    held = memory["teacher"]
    return teacher.predict(TrainState(jnp.int32(0), held["params"], {}, held["memory"]), batch, jax.random.key(0))
