"""Pre-activation ResNet: identity mappings in deep residual networks (arXiv:1603.05027).

    y = x + F(x)          F: norm, relu, convolution; two of 3x3, or 1x1, 3x3, 1x1 with four times as many channels out

nothing stands on the shortcut, so that the signal of any block reaches any later one as it is. Where the shape changes,
the shortcut begins after the first norm and relu of the block and is a strided 1x1 convolution without a norm, or every
second pixel and zeros for the new channels, appended after the old ones. No norm follows the first convolution; one
stands, with relu, before the mean over space.

ImageNet nets have the stem, depths and widths of ResNet, stride in the 3x3 convolution of a bottleneck. CIFAR nets: 3x3
convolution, three stages of widths 16, 32, 64, with 6 n + 2 layers of basic blocks or 9 n + 2 of bottlenecks (164,
1001). Initialisation as in ResNet: He normal by fan-out, the last layer uniform by fan-in.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

from aigc_jax.networks import resnet
from aigc_jax.networks.layers import BatchNorm, Dense, activation, max_pool, mean_over_space
from aigc_jax.networks.resnet import cifar_widths, conv, he_normal, padded

SIZES = resnet.SIZES
"""18 and 34 are timm's, not the paper's."""


def cifar(depth: int, bottleneck: bool, width: float = 1.0) -> dict[str, Any]:
    """The fields of a CIFAR net, section 4. Raises ValueError for a depth that three equal stages do not give."""
    per_block = 9 if bottleneck else 6
    n, rest = divmod(depth - 2, per_block)
    if rest or n < 1:
        raise ValueError(f"a pre-activation CIFAR net of these blocks has {per_block} n + 2 layers, not {depth}")
    return dict(depths=(n,) * 3, widths=cifar_widths(width), bottleneck=bottleneck, stem="cifar",
                shortcut="projection" if bottleneck else "pad")  # fmt: skip


class PreActivation(nn.Module):
    """One block: [B, H, W, C] -> [B, H / stride, W / stride, out]; `width` is that of the layers before its last.

    shortcut: None is the identity.
    """

    width: int
    out: int
    stride: int
    bottleneck: bool
    shortcut: Literal["projection", "pad"] | None
    zero_last: bool
    activation: str
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        layers = [(3, self.stride, self.width), (3, 1, self.out)]  # kernel, stride, channels
        if self.bottleneck:
            layers = [(1, 1, self.width), (3, self.stride, self.width), (1, 1, self.out)]
        y = x
        for index, (kernel, stride, width) in enumerate(layers, start=1):
            y = activation(self.activation)(BatchNorm(dtype=self.dtype, name=f"norm_{index}")(y, train))
            if index == 1 and self.shortcut:
                x = self._shortcut(y)
            init = initializers.zeros if self.zero_last and index == len(layers) else he_normal
            y = conv(width, kernel, stride, self.dtype, f"conv_{index}", init)(y)
        return x + y

    def _shortcut(self, x: Array) -> Array:
        if self.shortcut == "projection":
            return conv(self.out, 1, self.stride, self.dtype, "conv_shortcut")(x)
        return padded(x, self.stride, self.out)


class PreActivationResNet(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:  0 leaves the last layer out: the logits are then the pooled features.
    depths:   blocks in each stage.
    widths:   channels of each stage, inside its blocks.
    outs:     channels that the blocks of each stage give; None is widths, four times as many for bottlenecks.
    stem:     "imagenet", a quarter of the size, or "cifar", the whole.
    stem_width: channels of the first convolution; None is those of the first stage's widths.
    shortcut: where the shape changes, and in the first bottleneck of each stage even if it does not there.
    zero_last: whether every block starts as its shortcut (arXiv:1706.02677, section 5.1).
    activation: after every norm, a name of `layers.ACTIVATIONS`.
    dtype:    of the computation; parameters and statistics stay float32, logits come out float32.

    Features: `stem` and `stage_1`, `stage_2`, ... [B, H', W', C'], before any norm, and `pooled` [B, D], the mean over
    space after the last norm. Statistics lie in the collection "batch_stats".
    """

    classes: int = 1000
    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    outs: tuple[int, ...] | None = None
    bottleneck: bool = True
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_width: int | None = None
    shortcut: Literal["projection", "pad"] = "projection"
    zero_last: bool = False
    activation: str = "relu"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        large = self.stem == "imagenet"
        width = self.stem_width or self.widths[0]
        x = conv(width, 7 if large else 3, 2 if large else 1, self.dtype, "conv_stem")(x)
        if large:
            x = max_pool(x, window=3, stride=2, padding=1)
        features = {"stem": x}
        outs = self.outs or tuple(width * (4 if self.bottleneck else 1) for width in self.widths)
        for stage, (depth, width, out) in enumerate(zip(self.depths, self.widths, outs, strict=True), start=1):
            for index in range(depth):
                stride = 2 if index == 0 and stage > 1 else 1
                changes = index == 0 and (self.bottleneck or stride > 1 or x.shape[-1] != out)
                x = PreActivation(width, out, stride, self.bottleneck, self.shortcut if changes else None, self.zero_last,
                                  self.activation, self.dtype, name=f"stage_{stage}_block_{index}")(x, train)  # fmt: skip
            features[f"stage_{stage}"] = x
        x = activation(self.activation)(BatchNorm(dtype=self.dtype, name="norm_last")(x, train))
        features["pooled"] = x = mean_over_space(x)  # [B, D]
        if self.classes:
            init = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
            x = Dense(self.classes, kernel_init=init, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)), features
