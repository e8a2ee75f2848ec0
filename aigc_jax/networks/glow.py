"""Glow: generative flow with invertible 1 x 1 convolutions (Kingma and Dhariwal 2018, arXiv:1807.03039).

One step of flow (table 1), on x [B, H, W, C]:

    actnorm              y = (x + b) exp(3 s) by channel
    1 x 1 convolution    y = x W
    coupling             y_a = x_a,   y_b = (x_b + t) sigmoid(r + 2),   (t, r) = NN(x_a)

K steps a level, a squeeze before each level, and half of the channels leave after each level but the last, under a normal
distribution whose mean and deviation a convolution takes from the half that stays (figure 2b). As in the released code every
3 x 3 convolution sees one more channel that is 1 on the padding and 0 inside, the last convolution of NN is zero at first
with its output times exp(3 s), and the prior at the top is learned by such a convolution of zeros: of its kernel only the
edge channel and the bias can matter, yet all of it is counted, so that CIFAR-10 (L = 3, K = 32, width 512) has the 44,603,604
parameters of the release; 44,135,856 without edge channels.

The steps of a level are a loop over stacked parameters, so that compiling does not grow with K.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.layers import Conv
from aigc_jax.probability.bijectors import (
    ActNorm,
    Affine,
    Bijector,
    Chain,
    Coupling,
    Linear,
    LinearLU,
    MultiScale,
    Repeated,
    Squeeze,
    additive,
    affine,
    standardize,
)
from aigc_jax.probability.distributions import sum_trailing


def glow(
    shape: Sequence[int],
    levels: int = 3,
    steps: int = 32,
    width: int = 512,
    *,
    coupling: Literal["affine", "additive"] = "affine",
    convolution: Literal["dense", "lu"] = "dense",
    edge: bool = True,
    learn_top: bool = True,
    remat: bool = False,
    dtype: Any = None,
) -> Bijector:
    """x [B, *shape] in [0, 1] -> noise [B, D].

    levels, steps, width: L, K and the channels inside the coupling's network.
    edge:                 whether 3 x 3 convolutions see where the padding is.
    learn_top:            whether the prior at the top is learned, or N(0, I).
    remat:                activations are computed again for the gradient: memory of one step instead of K.

    Raises ValueError unless 2^levels divides height and width, and for another coupling or convolution.
    """
    height, side, channels = check_shape(shape, levels, "Glow")
    if coupling not in ("affine", "additive") or convolution not in ("dense", "lu"):
        raise ValueError(
            f"a coupling is affine or additive, a convolution dense or lu, not {coupling!r} and {convolution!r}"
        )
    map = affine(shrink) if coupling == "affine" else additive()

    def stage(*last: Bijector) -> Bijector:
        mix = Linear() if convolution == "dense" else LinearLU()
        step = Chain([ActNorm(), mix, Coupling(CouplingNet(width, map.numbers, edge, dtype), map)])
        return Chain([Squeeze(), Repeated(step, steps, remat), *last])

    stages = [*(stage() for _ in range(levels - 1)), stage(TopPrior(edge)) if learn_top else stage()]
    priors = [Prior(edge) for _ in range(levels - 1)]
    return Chain([Affine(shift=-0.5), MultiScale((height, side, channels), stages, priors)])


def check_shape(shape: Sequence[int], levels: int, name: str) -> tuple[int, int, int]:
    """The shape of a picture. Raises ValueError unless it halves `levels` times."""
    height, width, channels = shape
    if levels < 1 or height % 2**levels or width % 2**levels:
        raise ValueError(
            f"{name} of {levels} scales takes pictures whose sides {2**levels} divides, not {height} x {width}"
        )
    return height, width, channels


def shrink(h: Array) -> Array:
    """log sigmoid(h + 2), the logarithm of a scale in (0, 1) that begins at 0.88."""
    return jax.nn.log_sigmoid(h + 2)


def mark_edge(x: Array) -> Array:
    """x [B, H, W, C] -> [B, H + 2, W + 2, C + 1]: padded by zeros, with a channel that is 1 on them."""
    marked = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 1)))
    padding = jnp.pad(jnp.zeros(x.shape[1:3], x.dtype), 1, constant_values=1)  # [H + 2, W + 2]
    return marked.at[..., -1].set(padding)


class EdgeConv(nn.Module):
    """A 3 x 3 convolution that keeps the size; with `edge` it sees where the padding is."""

    features: int
    edge: bool = True
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.05)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        conv = Conv(self.features, (3, 3), padding="VALID" if self.edge else "SAME", use_bias=self.use_bias,
                    kernel_init=self.kernel_init, dtype=self.dtype, name="conv")  # fmt: skip
        return conv(mark_edge(x) if self.edge else x)


class ZeroConv(nn.Module):
    """A 3 x 3 convolution that is zero at first, its output times exp(3 s)."""

    features: int
    edge: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        y = EdgeConv(self.features, self.edge, kernel_init=nn.initializers.zeros, name="zero")(x)
        return y * jnp.exp(3 * self.param("log_scale", nn.initializers.zeros, (self.features,), jnp.float32))


class CouplingNet(nn.Module):
    """NN(x_a): 3 x 3 and 1 x 1 convolutions with actnorm and ReLU, then one that is zero at first (appendix B).

    width:   channels inside.
    numbers: outputs for each channel of x_a.
    """

    width: int
    numbers: int
    edge: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, context: Array | None = None, train: bool = False) -> Array:
        features = self.numbers * x.shape[-1]
        h = x if context is None else jnp.concatenate([x, context], axis=-1)
        h = EdgeConv(self.width, self.edge, use_bias=False, dtype=self.dtype, name="first")(h)
        h = nn.relu(ActNorm(name="norm_first")(h)[0])
        h = Conv(
            self.width,
            (1, 1),
            use_bias=False,
            kernel_init=nn.initializers.normal(0.05),
            dtype=self.dtype,
            name="second",
        )(h)
        h = nn.relu(ActNorm(name="norm_second")(h)[0])
        return ZeroConv(features, self.edge, name="last")(h.astype(jnp.promote_types(h.dtype, jnp.float32)))


class Prior(nn.Module):
    """Mean and logarithm of the deviation of the half that leaves, from the half that stays."""

    edge: bool = True

    @nn.compact
    def __call__(self, x: Array, context: Array | None = None, train: bool = False) -> Array:
        return ZeroConv(2 * x.shape[-1], self.edge, name="last")(x)


class TopPrior(Bijector):
    """Standardizes x [B, H, W, C] by mean and deviation that a convolution of 2 C channels of zeros gives for each place."""

    edge: bool = True

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        y, log_slopes = PRIOR.forward(x, self._numbers(x))
        return y, sum_trailing(jnp.broadcast_to(log_slopes, x.shape))

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        x, log_slopes = PRIOR.inverse(y, self._numbers(y))
        return x, sum_trailing(jnp.broadcast_to(log_slopes, x.shape))

    @nn.compact
    def _numbers(self, x: Array) -> Array:
        nothing = jnp.zeros((1, *x.shape[1:-1], 2 * x.shape[-1]), x.dtype)
        h = ZeroConv(2 * x.shape[-1], self.edge, name="last")(nothing)
        mean, log_std = jnp.split(h, 2, axis=-1)  # in halves, as released, where those of `Prior` lie side by side
        return jnp.stack([mean, log_std], axis=-1)  # [1, H, W, C, 2]


PRIOR = standardize()
