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
both sides alike ("symmetric", k // 2: torchvision and timm's own weights, with eps 1e-5). Initialisation: normal of
variance 2 / fan-out, the last layer uniform in +-1 / sqrt(classes).
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

from aigc_jax.networks.layers import BatchNorm, Conv, Dense, DropPath


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


def scaled_channels(channels: int, width: float) -> int:
    """The multiple of 8 nearest to channels * width, at least 8; one more where that took away over a tenth."""
    wanted = channels * width
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest


def scaled_repeats(repeats: int, depth: float) -> int:
    """repeats * depth, rounded up."""
    return math.ceil(depth * repeats)


class SqueezeExcite(nn.Module):
    """x [B, H, W, C] times a gate in (0, 1) for each image and channel, made of the means of all channels over space."""

    hidden: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        mean = jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32)).astype(x.dtype)  # [B, C]
        init = initializers.variance_scaling(2.0, "fan_out", "normal")
        hidden = jax.nn.swish(Dense(self.hidden, kernel_init=init, dtype=self.dtype, name="reduce")(mean))
        gate = jax.nn.sigmoid(Dense(x.shape[-1], kernel_init=init, dtype=self.dtype, name="expand")(hidden))
        return x * gate[:, None, None]


class MBConv(nn.Module):
    """One block: [B, H, W, C] -> [B, H / stride, W / stride, channels]; drop is the rate at which its branch is dropped."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    drop: float
    padding: Literal["SAME", "symmetric"]
    momentum: float
    eps: float
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        width = x.shape[-1]
        y = x
        if self.expansion != 1:
            y = self._norm("norm_expand", self._conv(self.expansion * width, 1, name="conv_expand")(y), train)
            y = jax.nn.swish(y)
        depthwise = self._conv(y.shape[-1], self.kernel, self.stride, y.shape[-1], name="conv_depthwise")
        y = jax.nn.swish(self._norm("norm_depthwise", depthwise(y), train))
        y = SqueezeExcite(max(1, width // 4), self.dtype, name="gate")(y)
        y = self._norm("norm_project", self._conv(self.channels, 1, name="conv_project")(y), train)
        if self.stride > 1 or width != self.channels:
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
    momentum:     weight of the old running statistics in all norms.
    dtype:        of the computation; parameters and statistics stay float32, logits come out float32.

    Features: `stem`, `stage_1` ... [B, H', W', C'], and `pooled` [B, head], the mean over space after the last
    convolution.
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
    padding: Literal["SAME", "symmetric"] = "SAME"
    momentum: float = 0.99
    eps: float = 1e-3
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        x = self._unit("stem", self.stem, 3, self.stem_stride, x, train)
        features = {"stem": x}
        repeats = [scaled_repeats(stage.repeats, self.depth) for stage in self.stages]
        rates = iter([self.drop_connect * index / sum(repeats) for index in range(sum(repeats))])
        for number, (stage, blocks) in enumerate(zip(self.stages, repeats), start=1):
            channels = scaled_channels(stage.channels, self.width)
            for index in range(blocks):
                x = MBConv(stage.expansion, stage.kernel, 1 if index else stage.stride, channels, next(rates),
                           self.padding, self.momentum, self.eps, self.dtype,
                           name=f"stage_{number}_block_{index}")(x, train)  # fmt: skip
            features[f"stage_{number}"] = x
        x = self._unit("head", self.head, 1, 1, x, train)
        x = jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))  # [B, D]
        features["pooled"] = x
        if self.classes:
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            init = initializers.variance_scaling(1 / 3, "fan_out", "uniform")
            x = Dense(self.classes, kernel_init=init, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)), features

    def _unit(self, name: str, channels: int, kernel: int, stride: int, x: Array, train: bool) -> Array:
        channels = scaled_channels(channels, self.width)
        x = conv(channels, kernel, stride, 1, self.padding, self.dtype, f"conv_{name}")(x)
        return jax.nn.swish(
            BatchNorm(momentum=self.momentum, eps=self.eps, dtype=self.dtype, name=f"norm_{name}")(x, train)
        )


def conv(features: int, kernel: int, stride: int, groups: int, padding: str, dtype: Any, name: str) -> Conv:
    """A convolution without bias, padded and initialised as the module says."""
    init = initializers.variance_scaling(2.0, "fan_in" if groups > 1 else "fan_out", "normal")  # depthwise: k * k
    return Conv(features, (kernel, kernel), stride, kernel // 2 if padding == "symmetric" else "SAME", groups,
                use_bias=False, kernel_init=init, dtype=dtype, name=name)  # fmt: skip
