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
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float | None = None,
    clip: float = 0.0,
) -> optax.GradientTransformation:
    """An optimizer by its name in papers.

    kind: "sgd", "nesterov"  with decay added to the gradient
          "lars"             arXiv:1708.03888, trust coefficient 0.001; kernels alone are scaled by it
          "adamw"            arXiv:1711.05101
          "lamb"             arXiv:1904.00962
          "rmsprop"          as TensorFlow has it, for EfficientNet and Inception v3: decay 0.9, the mean square begins at 1,
                             eps stands inside the root, the momentum runs over steps of the rate

    weight_decay: on kernels alone, or `everywhere`.
    momentum:     of "sgd", "nesterov", "lars" and "rmsprop"; `betas` of "adamw" and "lamb".
    eps:          None is 1e-8 for "adamw", 1e-6 for "lamb", 1e-3 for "rmsprop".
    clip:         largest global norm of the gradient, before all else; 0 leaves it.

    Raises ValueError for another kind.
    """
    mask = None if everywhere else are_kernels
    b1, b2 = betas
    if kind in ("sgd", "nesterov"):
        tx = optax.sgd(rate, momentum, nesterov=kind == "nesterov")
    elif kind == "rmsprop":
        tx = optax.rmsprop(rate, 0.9, eps or 1e-3, initial_scale=1.0, momentum=momentum)
    elif kind == "lars":
        tx = optax.lars(rate, weight_decay, mask, trust_ratio_mask=are_kernels, momentum=momentum)
    elif kind == "adamw":
        tx = optax.adamw(rate, b1, b2, eps or 1e-8, weight_decay=weight_decay, mask=mask)
    elif kind == "lamb":
        tx = optax.lamb(rate, b1, b2, eps or 1e-6, weight_decay=weight_decay, mask=mask)
    else:
        raise ValueError(f"optimizer {kind!r}: there are sgd, nesterov, lars, adamw, lamb and rmsprop")
    if kind in ("sgd", "nesterov", "rmsprop"):
        tx = optax.chain(optax.add_decayed_weights(weight_decay, mask), tx)
    return optax.chain(optax.clip_by_global_norm(clip), tx) if clip else tx


def are_kernels(params: Any) -> Any:
    """True for leaves named `kernel`; False for biases, norms, scales, tokens, and tables of embeddings and positions."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)


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


def falling_by_thirds(lr: float, steps: int, stages: int) -> optax.Schedule:
    """lr * 10 ** (-i / (stages - 1)) in stage i = 0, 1, ..., each stage three times as long as the one before (IWAE).

    Of 8 stages and passes over the data: 3^i passes at 10^(-i / 7), as the paper has it. Raises ValueError below one stage.
    """
    if stages < 1:
        raise ValueError(f"a rate falls in at least 1 stage, not {stages}")
    ends = [round(steps * (3**i - 1) / (3**stages - 1)) for i in range(1, stages)]
    return optax.piecewise_constant_schedule(lr, {end: 10 ** (-1 / (stages - 1)) for end in ends})


def rising(decay: float) -> Callable[[Array], Array]:
    """The decay of an average, min(decay, (1 + step) / (10 + step)): the first parameters are soon forgotten.

    So TensorFlow's `ExponentialMovingAverage` has it where it is told the step, as for EfficientNet and Inception v3.
    """
    return lambda step: jnp.minimum(decay, (1 + step) / (10 + step))
