"""EfficientNet: rethinking model scaling for convolutional neural networks (arXiv:1905.11946).

    depth d = alpha^phi,  width w = beta^phi,  resolution r = gamma^phi,  alpha beta^2 gamma^2 = 2 about     (3)

Seven stages of inverted bottlenecks (MBConv) with squeeze-and-excitation, table 1, scaled by one rule: channels times
w, rounded to a multiple of 8 that is not below nine tenths of the product; repeats times d, rounded up. B1 to B7 follow
(3) with alpha = 1.2, beta = 1.1, gamma = 1.15 by the coefficients of the released code: `SIZES`, `RESOLUTIONS`.

    MBConv:  1x1 expansion, norm, swish - depthwise k x k, norm, swish - gate - 1x1 projection, norm - + x

The gate is sigmoid(W2 swish(W1 mean(x))), with a quarter of the channels that the *block* takes in (arXiv:1709.01507).
In training a whole branch is dropped for an image with a rate that grows by block from 0 to `drop_connect`
(arXiv:1603.09382).

Strided convolutions pad as TensorFlow does ("SAME": the odd zero after), which is what the published weights want, or
both sides alike ("symmetric", k // 2: torchvision and timm's own weights, with eps 1e-5), or as transformers does
("even": k // 2 - 1 before and k // 2 after, which is "SAME" where the size is even; its blocks that expect an odd size pad
both sides alike). Initialisation: normal of variance 2 / fan-out, the last layer uniform in +-1 / sqrt(classes).
"""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

from aigc_jax.networks.layers import BatchNorm, Conv, Dense, DropPath, activation, mean_over_space

Padding = Literal["SAME", "symmetric", "even"]


class Stage(NamedTuple):
    """A row of table 1."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    repeats: int


STAGES = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
SIZES = {
    "b0": dict(width=1.0, depth=1.0, dropout=0.2),
    "b1": dict(width=1.0, depth=1.1, dropout=0.2),
    "b2": dict(width=1.1, depth=1.2, dropout=0.3),
    "b3": dict(width=1.2, depth=1.4, dropout=0.3),
    "b4": dict(width=1.4, depth=1.8, dropout=0.4),
    "b5": dict(width=1.6, depth=2.2, dropout=0.4),
    "b6": dict(width=1.8, depth=2.6, dropout=0.5),
    "b7": dict(width=2.0, depth=3.1, dropout=0.5),
}
RESOLUTIONS = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528, "b7": 600}


def scaled_channels(channels: int, width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to channels * width, at least one; one more where that took away over a tenth."""
    wanted = channels * width
    nearest = max(divisor, int(wanted + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * wanted else nearest


def scaled_repeats(repeats: int, depth: float) -> int:
    """repeats * depth, rounded up."""
    return math.ceil(depth * repeats)


class SqueezeExcite(nn.Module):
    """x [B, H, W, C] times a gate in (0, 1) for each image and channel, made of the means of all channels over space."""

    hidden: int
    activation: str = "swish"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mean = mean_over_space(x).astype(x.dtype)  # [B, C]
        init = initializers.variance_scaling(2.0, "fan_out", "normal")
        hidden = Dense(self.hidden, kernel_init=init, dtype=self.dtype, name="reduce")(mean)
        hidden = activation(self.activation)(hidden)
        gate = jax.nn.sigmoid(Dense(x.shape[-1], kernel_init=init, dtype=self.dtype, name="expand")(hidden))
        return x * gate[:, None, None]


class MBConv(nn.Module):
    """One block: [B, H, W, C] -> [B, H / stride, W / stride, channels].

    drop: the rate at which its branch is dropped.
    skip: whether its input is added where the shape stays.
    """

    expansion: int
    kernel: int
    stride: int
    channels: int
    drop: float
    skip: bool
    padding: Padding
    squeeze: float
    activation: str
    momentum: float
    eps: float
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        width = x.shape[-1]
        y = x
        if self.expansion != 1:
            y = self._norm("norm_expand", self._conv(self.expansion * width, 1, name="conv_expand")(y), train)
            y = activation(self.activation)(y)
        depthwise = self._conv(y.shape[-1], self.kernel, self.stride, y.shape[-1], name="conv_depthwise")
        y = activation(self.activation)(self._norm("norm_depthwise", depthwise(y), train))
        y = SqueezeExcite(max(1, int(width * self.squeeze)), self.activation, self.dtype, name="gate")(y)
        y = self._norm("norm_project", self._conv(self.channels, 1, name="conv_project")(y), train)
        if not self.skip or self.stride > 1 or width != self.channels:
            return y
        return x + DropPath(self.drop)(y, train)

    def _conv(self, features: int, kernel: int, stride: int = 1, groups: int = 1, *, name: str) -> Conv:
        return conv(features, kernel, stride, groups, self.padding, self.dtype, name)

    def _norm(self, name: str, x: Array, train: bool) -> Array:
        return BatchNorm(momentum=self.momentum, eps=self.eps, dtype=self.dtype, name=name)(x, train)


class EfficientNet(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:      0 leaves the last layer out: the logits are then the pooled features.
    width, depth: factors on channels and repeats.
    dropout:      share of the pooled features dropped in training.
    drop_connect: the rate at which the branch after the last is dropped; linear from 0 in the first.
    stages:       table 1.
    stem, head:   channels of the first and the last convolution, before scaling.
    stem_stride:  2; 1 for images as small as those of CIFAR-10.
    padding, eps: see the module.
    odd_blocks:   numbers, through all stages from 0, of the blocks whose strided convolution pads both sides alike.
    divisor:      of all scaled channels.
    squeeze:      channels inside a gate, as a share of those that its block takes in.
    skip_first:   whether the first block of a stage adds its input too where the shape stays; transformers' do not.
    activation:   after every norm but a block's last, and inside the gates; a name of `layers.ACTIVATIONS`.
    pooling:      over space, of the last convolution.
    momentum:     weight of the old running statistics in all norms.
    dtype:        of the computation; parameters and statistics stay float32, logits come out float32.

    Features: `stem`, `stage_1` ... and `last`, after the last convolution, [B, H', W', C'], and `pooled` [B, head].
    """

    classes: int = 1000
    width: float = 1.0
    depth: float = 1.0
    dropout: float = 0.2
    drop_connect: float = 0.2
    stages: tuple[Stage, ...] = STAGES
    stem: int = 32
    head: int = 1280
    stem_stride: int = 2
    padding: Padding = "SAME"
    odd_blocks: tuple[int, ...] = ()
    divisor: int = 8
    squeeze: float = 0.25
    skip_first: bool = True
    activation: str = "swish"
    pooling: Literal["mean", "max"] = "mean"
    momentum: float = 0.99
    eps: float = 1e-3
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        x = self._unit("stem", self.stem, 3, self.stem_stride, x, train)
        features = {"stem": x}
        repeats = [scaled_repeats(stage.repeats, self.depth) for stage in self.stages]
        numbers = itertools.count()
        for name, (stage, blocks) in enumerate(zip(self.stages, repeats), start=1):
            for index in range(blocks):
                number = next(numbers)
                drop = self.drop_connect * number / sum(repeats)
                x = self._block(f"stage_{name}_block_{index}", stage, index, number, drop)(x, train)
            features[f"stage_{name}"] = x
        features["last"] = x = self._unit("head", self.head, 1, 1, x, train)
        features["pooled"] = x = mean_over_space(x) if self.pooling == "mean" else jnp.max(x, axis=(1, 2))  # [B, D]
        if self.classes:
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            init = initializers.variance_scaling(1 / 3, "fan_out", "uniform")
            x = Dense(self.classes, kernel_init=init, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)), features

    def _block(self, name: str, stage: Stage, index: int, number: int, drop: float) -> MBConv:
        """Block `index` of its stage, `number` of the network."""
        stride = 1 if index else stage.stride
        padding = "symmetric" if stride > 1 and number in self.odd_blocks else self.padding
        channels = scaled_channels(stage.channels, self.width, self.divisor)
        return MBConv(stage.expansion, stage.kernel, stride, channels, drop, index > 0 or self.skip_first,
                      padding, self.squeeze, self.activation, self.momentum, self.eps, self.dtype, name=name)  # fmt: skip

    def _unit(self, name: str, channels: int, kernel: int, stride: int, x: Array, train: bool) -> Array:
        channels = scaled_channels(channels, self.width, self.divisor)
        x = conv(channels, kernel, stride, 1, self.padding, self.dtype, f"conv_{name}")(x)
        norm = BatchNorm(momentum=self.momentum, eps=self.eps, dtype=self.dtype, name=f"norm_{name}")
        return activation(self.activation)(norm(x, train))


def conv(features: int, kernel: int, stride: int, groups: int, padding: Padding, dtype: Any, name: str) -> Conv:
    """A convolution without bias, padded and initialised as the module says."""
    half = kernel // 2
    uneven = "SAME" if padding == "SAME" or stride == 1 else [(half - 1, half)] * 2
    init = initializers.variance_scaling(2.0, "fan_in" if groups > 1 else "fan_out", "normal")  # depthwise: k * k
    return Conv(features, (kernel, kernel), stride, half if padding == "symmetric" else uneven, groups,
                use_bias=False, kernel_init=init, dtype=dtype, name=name)  # fmt: skip
