"""DenseNet: densely connected convolutional networks (arXiv:1608.06993).

    x_l = H_l([x_0, x_1, ..., x_{l-1}])

every layer of a block reads all feature maps before it and adds k new ones, the growth rate. H is norm, relu, 3x3
convolution; in the B form norm, relu, 1x1 convolution of 4 k channels, norm, relu, 3x3 convolution. Between blocks
norm, relu, a 1x1 convolution to a share theta of the channels (the C form: one half), 2x2 average pooling. After the
last block norm, relu, the mean over space, a linear layer.

ImageNet nets, table 1: 7x7/2 convolution, norm, relu, 3x3/2 max pooling, four blocks of the BC form. CIFAR nets of L
layers, section 3.4: one 3x3 convolution without a norm, three blocks of (L - 4) / 3 layers, or of (L - 4) / 6 in the BC
form.

The concatenations and norms of a block make memory grow with the square of its depth; `remat` computes all but the 3x3
convolution again in the backward pass, which makes it linear (arXiv:1707.06990). Dropout falls on the output of every
convolution but the first, as in the released code. Initialisation: He normal by fan-out, the last layer uniform by
fan-in.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

from aigc_jax.networks.layers import BatchNorm, Dense, activation, avg_pool, max_pool, mean_over_space
from aigc_jax.networks.resnet import conv

SIZES = {
    "121": dict(growth=32, blocks=(6, 12, 24, 16), initial=64),
    "169": dict(growth=32, blocks=(6, 12, 32, 32), initial=64),
    "201": dict(growth=32, blocks=(6, 12, 48, 32), initial=64),
    "264": dict(growth=32, blocks=(6, 12, 64, 48), initial=64),
    "161": dict(growth=48, blocks=(6, 12, 36, 24), initial=96),
}
"""Table 1; 161 is of the released code."""


def cifar(depth: int, growth: int, compressed: bool) -> dict[str, Any]:
    """The fields of a CIFAR net of `depth` layers, section 3.4; `compressed` is the BC form.

    Raises ValueError for a depth that three equal blocks do not give.
    """
    per_layer = 6 if compressed else 3
    layers, rest = divmod(depth - 4, per_layer)
    if rest or layers < 1:
        raise ValueError(f"a CIFAR DenseNet of this form has {per_layer} n + 4 layers, not {depth}")
    return dict(growth=growth, blocks=(layers,) * 3, initial=2 * growth if compressed else 16, bottleneck=compressed,
                compression=0.5 if compressed else 1.0, stem="cifar")  # fmt: skip


class DenseLayer(nn.Module):
    """One layer: [B, H, W, C] -> [B, H, W, C + growth], its input first."""

    growth: int
    bottleneck: bool
    inner: int
    activation: str
    dropout: float
    remat: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        before = DenseLayer._before_the_last
        if self.remat:
            before = nn.remat(before, static_argnums=(2,))
        y = before(self, x, train)
        y = conv(self.growth, 3, 1, self.dtype, "conv_2" if self.bottleneck else "conv_1")(y)
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        return jnp.concatenate([x, y], -1)

    def _before_the_last(self, x: Array, train: bool) -> Array:
        """All but the 3x3 convolution: cheap to compute again, and large to keep."""
        nonlinear = activation(self.activation)
        x = nonlinear(BatchNorm(dtype=self.dtype, name="norm_1")(x, train))
        if not self.bottleneck:
            return x
        x = conv(self.inner * self.growth, 1, 1, self.dtype, "conv_1")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nonlinear(BatchNorm(dtype=self.dtype, name="norm_2")(x, train))


class DenseNet(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:     0 leaves the last layer out: the logits are then the pooled features.
    growth:      k, the channels that a layer adds.
    blocks:      layers in each block.
    initial:     channels of the stem.
    bottleneck:  the B form.
    inner:       channels of its 1x1 convolution, in growth rates.
    compression: theta.
    activation:  after every norm, a name of `layers.ACTIVATIONS`.
    stem:        "imagenet", a quarter of the size, or "cifar", the whole.
    dropout, remat: see the module.
    dtype:       of the computation; parameters and statistics stay float32, logits come out float32.

    Features: `stem` and `block_1`, `block_2`, ... [B, H', W', C'], and `pooled` [B, D], the mean over space after the
    last norm. Statistics lie in the collection "batch_stats".
    """

    classes: int = 1000
    growth: int = 32
    blocks: tuple[int, ...] = (6, 12, 24, 16)
    initial: int = 64
    bottleneck: bool = True
    inner: int = 4
    compression: float = 0.5
    activation: str = "relu"
    stem: Literal["imagenet", "cifar"] = "imagenet"
    dropout: float = 0.0
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        x = self._stem(x, train)
        features = {"stem": x}
        for block, layers in enumerate(self.blocks, start=1):
            if block > 1:
                x = self._transition(x, train, block - 1)
            for index in range(layers):
                x = DenseLayer(self.growth, self.bottleneck, self.inner, self.activation, self.dropout, self.remat, self.dtype,
                               name=f"block_{block}_layer_{index}")(x, train)  # fmt: skip
            features[f"block_{block}"] = x
        x = self._norm("norm_last", x, train)
        features["pooled"] = x = mean_over_space(x)  # [B, D]
        if self.classes:
            init = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
            x = Dense(self.classes, kernel_init=init, dtype=self.dtype, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)), features

    def _stem(self, x: Array, train: bool) -> Array:
        if self.stem == "cifar":
            return conv(self.initial, 3, 1, self.dtype, "conv_stem")(x)
        x = conv(self.initial, 7, 2, self.dtype, "conv_stem")(x)
        return max_pool(self._norm("norm_stem", x, train), window=3, stride=2, padding=1)

    def _transition(self, x: Array, train: bool, index: int) -> Array:
        width = int(self.compression * x.shape[-1])
        x = self._norm(f"transition_{index}_norm", x, train)
        x = conv(width, 1, 1, self.dtype, f"transition_{index}_conv")(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return avg_pool(x, window=2, stride=2)

    def _norm(self, name: str, x: Array, train: bool) -> Array:
        return activation(self.activation)(BatchNorm(dtype=self.dtype, name=name)(x, train))
