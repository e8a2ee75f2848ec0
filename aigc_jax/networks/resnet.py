"""ResNet: deep residual learning for image recognition (arXiv:1512.03385).

    y = relu(F(x) + shortcut(x))          F: two 3x3 convolutions, or 1x1, 3x3, 1x1 with four times as many channels out

every convolution followed by batch normalisation, without a bias. The shortcut is the identity where the shape stays;
where it changes, a strided 1x1 convolution with batch normalisation (option B), or every second pixel and zeros for the
new channels, appended after the old ones (option A, without parameters).

ImageNet nets: 7x7/2 convolution, 3x3/2 max pooling, four stages of widths 64 to 512, table 1. CIFAR nets of 6 n + 2
layers: 3x3 convolution, three stages of n basic blocks of widths 16, 32, 64, option A, section 4.2.

A bottleneck that halves the image does so in its 3x3 convolution ("v1.5", the released PyTorch weights);
`stride_first` puts the stride on the first 1x1 as the paper does ("v1"). Padding is k // 2 on both sides, written out:
"SAME" pads strided convolutions of even sizes on one side only. Initialisation: He normal by fan-out, the last layer
uniform by fan-in; `zero_last` starts every block as its shortcut (arXiv:1706.02677, section 5.1).
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers
from jax.nn.initializers import Initializer

from aigc_jax.networks.layers import BatchNorm, Conv, Dense, activation, max_pool, mean_over_space

SIZES = {
    "18": dict(depths=(2, 2, 2, 2), bottleneck=False),
    "34": dict(depths=(3, 4, 6, 3), bottleneck=False),
    "50": dict(depths=(3, 4, 6, 3), bottleneck=True),
    "101": dict(depths=(3, 4, 23, 3), bottleneck=True),
    "152": dict(depths=(3, 8, 36, 3), bottleneck=True),
}
"""Table 1."""


def cifar(depth: int, width: float = 1.0) -> dict[str, Any]:
    """The fields of a CIFAR net of 6 n + 2 layers, section 4.2; see `cifar_widths`. Raises ValueError for another depth."""
    n, rest = divmod(depth - 2, 6)
    if rest or n < 1:
        raise ValueError(f"a CIFAR ResNet has 6 n + 2 layers (20, 32, 44, 56, 110), not {depth}")
    return dict(depths=(n,) * 3, widths=cifar_widths(width), bottleneck=False, stem="cifar", shortcut="pad")


def cifar_widths(width: float = 1.0) -> tuple[int, ...]:
    """Channels of the three stages of a CIFAR net, times `width`. Raises ValueError where 16 times it is no whole number."""
    if width <= 0 or 16 * width % 1:
        raise ValueError(f"the 16 channels of a CIFAR net times a width of {width} are {16 * width:g}: no whole number")
    return tuple(int(channels * width) for channels in (16, 32, 64))


class Residual(nn.Module):
    """One block: [B, H, W, C] -> [B, H / stride, W / stride, out]; `width` is that of the layers before its last."""

    width: int
    out: int
    stride: int
    bottleneck: bool
    shortcut: Literal["projection", "pad"]
    stride_first: bool
    zero_last: bool
    activation: str
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        first, second = (self.stride, 1) if self.stride_first or not self.bottleneck else (1, self.stride)
        layers = [(1, first, self.width), (3, second, self.width), (1, 1, self.out)]  # kernel, stride, channels
        if not self.bottleneck:
            layers = [(3, first, self.width), (3, second, self.out)]
        y = x
        for index, (kernel, stride, width) in enumerate(layers, start=1):
            last = index == len(layers)
            scale = initializers.zeros if last and self.zero_last else initializers.ones
            y = conv(width, kernel, stride, self.dtype, f"conv_{index}")(y)
            y = BatchNorm(scale_init=scale, dtype=self.dtype, name=f"norm_{index}")(y, train)
            y = y if last else nn.relu(y)
        return activation(self.activation)(y + self._shortcut(x, train))

    def _shortcut(self, x: Array, train: bool) -> Array:
        if self.stride == 1 and x.shape[-1] == self.out:
            return x
        if self.shortcut == "pad":
            return padded(x, self.stride, self.out)
        x = conv(self.out, 1, self.stride, self.dtype, "conv_shortcut")(x)
        return BatchNorm(dtype=self.dtype, name="norm_shortcut")(x, train)


class ResNet(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:      0 leaves the last layer out: the logits are then the pooled features.
    depths:       blocks in each stage.
    widths:       channels of each stage, inside its blocks.
    bottleneck:   blocks of three convolutions, else of two.
    outs:         channels that the blocks of each stage give; None is widths, four times as many for bottlenecks.
    stem_width:   channels of the first convolution; None is those of the first stage.
    first_stride: of the first stage; the others halve the image.
    stem:         "imagenet", a quarter of the size, or "cifar", the whole.
    shortcut:     where the shape changes: "projection" (option B) or "pad" (option A).
    stride_first, zero_last: see the module.
    activation:   after the stem and after each sum, a name of `layers.ACTIVATIONS`; within a branch it is always relu, as in
                  transformers' nets.
    dtype:        of the computation; parameters and statistics stay float32, logits come out float32.

    Features: `stem` and `stage_1`, `stage_2`, ... [B, H', W', C'], and `pooled` [B, D], the last's mean over space.
    Statistics lie in the collection "batch_stats", which training (`train=True`) changes.
    """

    classes: int = 1000
    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    outs: tuple[int, ...] | None = None
    stem_width: int | None = None
    first_stride: int = 1
    bottleneck: bool = True
    stem: Literal["imagenet", "cifar"] = "imagenet"
    shortcut: Literal["projection", "pad"] = "projection"
    stride_first: bool = False
    zero_last: bool = False
    activation: str = "relu"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        features = {"stem": self._stem(x, train)}
        x = features["stem"]
        outs = self.outs or tuple(width * (4 if self.bottleneck else 1) for width in self.widths)
        for stage, (depth, width, out) in enumerate(zip(self.depths, self.widths, outs, strict=True), start=1):
            for index in range(depth):
                stride = (self.first_stride if stage == 1 else 2) if index == 0 else 1
                x = Residual(width, out, stride, self.bottleneck, self.shortcut, self.stride_first, self.zero_last,
                             self.activation, self.dtype, name=f"stage_{stage}_block_{index}")(x, train)  # fmt: skip
            features[f"stage_{stage}"] = x
        features["pooled"] = x = mean_over_space(x)  # [B, D]
        if self.classes:
            init = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
            x = Dense(self.classes, kernel_init=init, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)), features

    def _stem(self, x: Array, train: bool) -> Array:
        large = self.stem == "imagenet"
        width = self.stem_width or self.widths[0]
        x = conv(width, 7 if large else 3, 2 if large else 1, self.dtype, "conv_stem")(x)
        x = activation(self.activation)(BatchNorm(dtype=self.dtype, name="norm_stem")(x, train))
        if not large:
            return x
        return max_pool(x, window=3, stride=2, padding=1)


he_normal = initializers.variance_scaling(2.0, "fan_out", "normal")


def conv(width: int, kernel: int, stride: int, dtype: Any, name: str, init: Initializer = he_normal) -> Conv:
    """A convolution without bias, half its kernel of zeros on every side."""
    return Conv(width, (kernel, kernel), stride, kernel // 2, use_bias=False, kernel_init=init, dtype=dtype, name=name)


def padded(x: Array, stride: int, out: int) -> Array:
    """Option A: every `stride`th pixel of x [B, H, W, C], and zeros for the channels from C to `out`."""
    x = x[:, ::stride, ::stride]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, out - x.shape[-1])))
