"""RealNVP: density estimation using real-valued non-volume preserving transformations (Dinh et al. 2016, arXiv:1605.08803).

A coupling maps the part that a mask does not keep, as the released code has it (the paper scales first, eq. 7):

    y_b = (x_b + t) exp(s),    s = c tanh(r),   (t, r) = NN(mask x),   c one learned number, 0 at first
    then y_b is normalised over the batch, which counts in the density                              (section 3.7)

Per scale: 3 couplings by checkerboard, a squeeze, 3 by channel; half of the channels leave, taken so that the halves are two
checkerboards of pixels; at the last scale 4 couplings by checkerboard (section 3.6). Widths double from scale to scale, and
for couplings by channel. NN is a ResNet with weight-normalised convolutions whose output is a sum of skips from every block
(section 4.1).

Couplings of a kind at a scale are a loop over stacked parameters, so that compiling does not grow with their number: between
two of them the columns of pictures, or the channels, are put in reverse order, which changes places of what stays and what is
mapped as another mask would.

Departures: every convolution has a learned gain, where the released code leaves it out before a batch norm; the statistics of
the norm after a coupling are those of the mapped half alone, where the released ones count zeros for the other; the bias of
what NN sees is not 0 at first but of deviation 0.01.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.glow import check_shape
from aigc_jax.networks.layers import BatchNorm, conv
from aigc_jax.networks.layers.weight_norm import normalized
from aigc_jax.probability import bijectors as bij
from aigc_jax.probability.bijectors import (
    Bijector,
    Chain,
    Checkerboard,
    Coupling,
    Halves,
    Logit,
    MaskedCoupling,
    MultiScale,
    Repeated,
    Reverse,
)
from aigc_jax.probability.bijectors.compose import COLLECTIONS, RNGS
from aigc_jax.probability.bijectors.squeeze import DIAGONALS

EPS, MOMENTUM = 1e-4, 0.9


def realnvp(
    shape: Sequence[int],
    downscales: int = 1,
    width: int = 64,
    blocks: int = 8,
    *,
    couplings: int = 3,
    margin: float = 0.05,
    dtype: Any = None,
) -> Bijector:
    """x [B, *shape] in [0, 1] -> noise [B, D].

    downscales: how often half of the variables leave: once for CIFAR-10, else until the last scale is 4 x 4 (section 4.1).
    width:      of the residual blocks at the first scale.
    blocks:     in a coupling; 0 leaves the first convolution, its skip, and the last.
    couplings:  of each kind at a scale; the last scale has one more.
    margin:     of the logit that pictures pass first.

    Raises ValueError unless 2^(downscales + 1) divides height and width: a checkerboard of the last scale has even sides.
    """
    height, side, channels = check_shape(shape, downscales + 1, "RealNVP")
    levels: list[Bijector] = []
    for _ in range(downscales):
        # what an ordered squeeze of the same picture would give
        order = tuple(4 * channel + pixel for pixel in DIAGONALS for channel in range(channels))
        pixels = by_checkerboard(couplings, width, blocks, dtype)
        halves = by_channel(couplings, 2 * width, blocks, dtype)
        levels.append(Chain([pixels, bij.Squeeze(), halves, bij.Permutation(order)]))
        channels, width = 2 * channels, 2 * width
    levels.append(by_checkerboard(couplings + 1, width, blocks, dtype))
    return Chain([Logit(margin), MultiScale((height, side, shape[2]), levels)])


def by_checkerboard(times: int, width: int, blocks: int, dtype: Any = None) -> Bijector:
    """Couplings in which the pixels of one colour give the numbers of the other's, in turn, and a norm after each."""
    mask = Checkerboard()
    coupling = MaskedCoupling(CouplingNet(width, blocks, mask, dtype), bij.affine(), mask)
    return _in_turn([coupling, bij.BatchNorm(MOMENTUM, EPS, mask=mask)], times, axis=-2)


def by_channel(times: int, width: int, blocks: int, dtype: Any = None) -> Bijector:
    """Couplings in which one half of the channels gives the numbers of the other's, in turn, and a norm after each."""
    coupling = Coupling(CouplingNet(width, blocks, None, dtype), bij.affine(), second=False)
    return _in_turn([coupling, bij.BatchNorm(MOMENTUM, EPS, mask=Halves(second=False))], times, axis=-1)


def _in_turn(layers: list[Bijector], times: int, axis: int) -> Bijector:
    """Layers, many times over, with the axis in reverse order every second time and in its own at the end."""
    steps = Repeated(Chain([*layers, Reverse(axis)]), times)
    return Chain([steps, Reverse(axis)]) if times % 2 else steps


class CouplingNet(nn.Module):
    """NN: x [B, H, W, C] -> t and s, [B, H, W, 2 C], side by side for each channel.

    mask: of a coupling by checkerboard, seen as a channel of its own; None of one by channel.
    """

    width: int
    blocks: int
    mask: Checkerboard | None
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, context: Array | None = None, train: bool = False) -> Array:
        # Where the mask hides x, h is the bias alone: from 0 on, the sign of a round-off would be the slope of the ReLU there.
        bias = self.param("bias_in", nn.initializers.normal(0.01), x.shape[-1:], jnp.float32)
        h = BatchNorm(MOMENTUM, EPS, use_scale=False, use_bias=False, name="norm_in")(x, train) + bias
        parts = [h, -h]
        if self.mask is not None:  # half of what is normalised is zeros: twice as large, the rest has variance 1 or so
            board = jnp.asarray(self.mask(x.shape[1:]), x.dtype)
            parts = [2 * h, -2 * h, jnp.broadcast_to(board, (*x.shape[:-1], 1))]
        h = nn.relu(jnp.concatenate(parts, axis=-1))
        h = WeightNormConv(self.width, 3, dtype=self.dtype, name="conv_in")(h)
        out = WeightNormConv(self.width, 1, dtype=self.dtype, name="skip_in")(h)

        def body(block: Block, carry: tuple[Array, Array], _: None):
            return block(*carry, train), None

        if self.blocks:
            scan = nn.scan(body, COLLECTIONS, split_rngs=RNGS, length=self.blocks)
            h, out = scan(Block(self.width, self.dtype, name="blocks"), (h, out), None)[0]
        out = nn.relu(BatchNorm(MOMENTUM, EPS, use_scale=False, name="norm_out")(out, train))
        out = WeightNormConv(2 * x.shape[-1], 1, name="conv_out")(out).reshape(*x.shape, 2)
        scale = self.param("scale", nn.initializers.zeros, (), jnp.float32)
        shift, log_scale = out[..., 0], scale * jnp.tanh(out[..., 1])
        return jnp.stack([shift, log_scale], axis=-1).reshape(*x.shape[:-1], -1)


class Block(nn.Module):
    """A residual block before activation, and what it adds to the sum of skips."""

    width: int
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, out: Array, train: bool) -> tuple[Array, Array]:
        r = nn.relu(BatchNorm(MOMENTUM, EPS, use_scale=False, name="norm_1")(h, train))
        r = WeightNormConv(self.width, 3, use_bias=False, dtype=self.dtype, name="conv_1")(r)
        r = nn.relu(BatchNorm(MOMENTUM, EPS, use_scale=False, name="norm_2")(r, train))
        h = h + WeightNormConv(self.width, 3, dtype=self.dtype, name="conv_2")(r)
        return h, out + WeightNormConv(self.width, 1, dtype=self.dtype, name="skip")(h)


class WeightNormConv(nn.Module):
    """A convolution whose kernel is gain * direction / |direction| for each output (arXiv:1602.07868); it keeps the size."""

    features: int
    taps: int
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        shape = (self.taps, self.taps, x.shape[-1], self.features)
        direction = self.param("direction", nn.initializers.he_normal(), shape, jnp.float32)
        gain = self.param("gain", nn.initializers.ones, (self.features,), jnp.float32)
        kernel = normalized(direction, gain)
        dtype = self.dtype or x.dtype
        y = conv(x.astype(dtype), kernel.astype(dtype)).astype(x.dtype)
        return y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else y


def gains(params: Any) -> Any:
    """True for the gains of weight-normalised convolutions, on which weight decay falls (section 4.1)."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "gain", params)
