"""What training recipes share: optimizers by name, learning rates, and what weight decay falls on.

Optimizers are optax's own; what published recipes mean by their names is written out here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import Array

Kind = Literal["sgd", "nesterov", "lars", "adamw", "lamb", "rmsprop"]


def optimizer(
    kind: Kind,
    rate: optax.Schedule | float,
    *,
    weight_decay: float = 0.0,
    everywhere: bool = False,
    momentum: float = 0.9,
    clip: float = 0.0,
    eps: float | None = None,
) -> optax.GradientTransformation:
    """An optimizer by its name in papers.

    kind: "sgd", "nesterov" momentum with decay added to the gradient
          "lars"            arXiv:1708.03888, trust coefficient 0.001, for kernels alone as their decay
          "adamw"           arXiv:1711.05101, betas 0.9 and 0.999
          "lamb"            arXiv:1904.00962, the same betas
          "rmsprop"         as TensorFlow's, EfficientNet's and Inception v3's: decay 0.9, the mean square begins at 1, eps
                            (0.001; Inception v3: 1) stands inside the root, momentum runs over steps of the rate
    weight_decay: on kernels alone, or `everywhere`.
    momentum:     of "sgd", "nesterov", "lars" and "rmsprop".
    clip:         largest global norm of the gradient, before all else; 0 leaves it.
    eps:          of the adaptive ones, instead of their own.

    Raises ValueError for another kind.
    """
    mask = None if everywhere else kernels
    own: dict[str, Any] = {} if eps is None else {"eps": eps}
    decayed = optax.add_decayed_weights(weight_decay, mask)
    if kind in ("sgd", "nesterov"):
        tx = optax.chain(decayed, optax.sgd(rate, momentum, nesterov=kind == "nesterov"))
    elif kind == "lars":
        tx = optax.lars(rate, weight_decay, mask or True, trust_ratio_mask=kernels, momentum=momentum, **own)
    elif kind == "adamw":
        tx = optax.adamw(rate, weight_decay=weight_decay, mask=mask, **own)
    elif kind == "lamb":
        tx = optax.lamb(rate, weight_decay=weight_decay, mask=mask, **own)
    elif kind == "rmsprop":
        tx = optax.chain(
            decayed, optax.rmsprop(rate, 0.9, **{"eps": 1e-3, **own}, initial_scale=1.0, momentum=momentum)
        )
    else:
        raise ValueError(f"optimizer {kind!r}: there are sgd, nesterov, lars, adamw, lamb and rmsprop")
    return optax.chain(optax.clip_by_global_norm(clip), tx) if clip else tx


def kernels(params: Any) -> Any:
    """Which leaves weight decay falls on: arrays named `kernel`; no biases, norms, positions, tokens or scales of layers."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: path[-1].key == "kernel", params)


def cosine(lr: float, steps: int, warmup: int = 0, start: float = 0.0, end: float = 0.0) -> optax.Schedule:
    """Linear from `start` to `lr` in `warmup` steps, then half a cosine to `end` at the last of `steps`.

    timm lets the cosine run from step 0 under the warm-up, so that its rate is a little lower right after it.
    """
    if not warmup:
        return optax.cosine_decay_schedule(lr, steps, end / lr)
    return optax.warmup_cosine_decay_schedule(start, lr, warmup, steps, end)


def linear(lr: float, steps: int, warmup: int = 0, end: float = 0.0) -> optax.Schedule:
    """Linear from 0 to `lr` in `warmup` steps, then linear to `end` at the last of `steps`."""
    fall = optax.linear_schedule(lr, end, steps - warmup)
    return optax.join_schedules([optax.linear_schedule(0.0, lr, warmup), fall], [warmup]) if warmup else fall


def stairs(lr: float, factor: float, every: float, warmup: int = 0) -> optax.Schedule:
    """lr * factor ** floor(step / every), after a linear warm-up from 0 (EfficientNet, Inception v3, GoogLeNet)."""

    def rate(step: Any) -> Array:
        return lr * jnp.where(jnp.less(step, warmup), step / max(warmup, 1), factor ** jnp.floor(step / every))

    return rate


def falling(lr: float, steps: int, falls: tuple[float, ...], warmup: int = 0) -> optax.Schedule:
    """A tenth of the rate for `warmup` steps, then the rate, falling to a tenth at each of `falls`, or by a cosine.

    falls: shares of the steps; () is a cosine to 0.
    """
    places = {int(share * steps): 0.1 for share in falls}
    main = optax.piecewise_constant_schedule(lr, places) if falls else optax.cosine_decay_schedule(lr, steps)
    return lambda step: main(step) * jnp.where(jnp.less(step, warmup), 0.1, 1.0)


def rising(decay: float) -> Callable[[Array], Array]:
    """The decay of an average, min(decay, (1 + step) / (10 + step)): the first parameters are soon forgotten.

    So TensorFlow's `ExponentialMovingAverage` has it where it is told the step, as for EfficientNet and Inception v3.
    """
    return lambda step: jnp.minimum(decay, (1 + step) / (10 + step))
