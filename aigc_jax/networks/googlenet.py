"""GoogLeNet, the first Inception network: going deeper with convolutions (arXiv:1409.4842).

An inception module looks at its input at several scales side by side and concatenates what it finds,

    1x1  |  1x1, 3x3  |  1x1, 5x5  |  3x3 max pooling, 1x1

the narrow 1x1 convolutions before the larger ones keep it cheap. Nine modules, table 1, pooling after 3b and 4e, the
mean over space, one linear layer. In training two auxiliary heads classify the outputs of 4a and 4d; the loss adds 0.3
of theirs, and at test time they are gone.

`batch_norm` is the net that torchvision publishes under this name: batch normalisation instead of biases and response
normalisation, 3x3 kernels in the "5x5" branch, 2x2 windows in the pooling after 4e, auxiliary heads that pool to 4 x 4
whatever the size, dropout 0.2 before the last layer.

Pooling windows may reach over the far edge ("ceil"): 224 pixels become 112, 56, 28, 14, 7. Response normalisation as in
Caffe, k = 1 and alpha = 1e-4 over 5 channels. The paper names no initialisation: He normal by fan-in.
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn import initializers

from aigc_jax.networks.layers import (
    BatchNorm,
    Conv,
    Dense,
    activation,
    adaptive_avg_pool,
    avg_pool,
    local_response_norm,
    max_pool,
    mean_over_space,
)

MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
"""Table 1: channels of 1x1; of 3x3 and its reduction; of 5x5 and its reduction; after pooling."""
STAGES = (("3a", "3b"), ("4a", "4b", "4c", "4d", "4e"), ("5a", "5b"))

_he_normal = initializers.variance_scaling(2.0, "fan_in", "normal")


def centred(x: Array) -> Array:
    """Images [B, H, W, 3] less the mean of ImageNet's colours and over their deviation -> 2 x - 1 of the colours in [0, 1]."""
    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    return x * jnp.asarray(2 * deviation, x.dtype) + jnp.asarray(2 * mean - 1, x.dtype)


class Unit(nn.Module):
    """Convolution and nonlinearity, with a bias or with batch normalisation between: [B, H, W, C] -> [B, H', W', features].

    valid:      no padding; else k // 2 on every side.
    eps:        of the batch normalisation.
    activation: a name of `layers.ACTIVATIONS`.
    """

    features: int
    kernel: tuple[int, int]
    stride: int = 1
    valid: bool = False
    batch_norm: bool = True
    kernel_init: initializers.Initializer = _he_normal
    eps: float = 1e-3
    activation: str = "relu"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        around = [(0, 0) if self.valid else (k // 2, k // 2) for k in self.kernel]
        x = Conv(self.features, self.kernel, self.stride, around, use_bias=not self.batch_norm,
                 kernel_init=self.kernel_init, dtype=self.dtype, name="conv")(x)  # fmt: skip
        if self.batch_norm:
            x = BatchNorm(eps=self.eps, dtype=self.dtype, name="norm")(x, train)
        return activation(self.activation)(x)


class GoogLeNet(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:    0 leaves the last layer out: the logits are then the pooled features.
    stages:     the modules between two poolings, by their names in table 1.
    width:      factor on every number of channels.
    stem:       "imagenet", an eighth of the size, or "cifar", one 3x3 convolution at the whole size.
    auxiliary:  the heads on 4a and 4d, so far as these modules are there.
    batch_norm: see the module.
    centre:     whether `centred` comes first, as for weights that were trained on images in [-1, 1].
    dropout:    share of the pooled features dropped in training.
    head_dropout: share of the hidden layer of an auxiliary head.
    dtype:      of the computation; parameters and statistics stay float32, logits come out float32.

    Features: `stem` and each module's output under its name [B, H', W', C'], `pooled` [B, D], the last's mean over
    space, and in training, where there are heads, `auxiliary`, a tuple of their logits [B, classes]. Raises ValueError
    for a map too small for the pooling of an auxiliary head.
    """

    classes: int = 1000
    stages: tuple[tuple[str, ...], ...] = STAGES
    width: float = 1.0
    stem: Literal["imagenet", "cifar"] = "imagenet"
    auxiliary: bool = True
    batch_norm: bool = False
    dropout: float = 0.4
    head_dropout: float = 0.7
    centre: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Any]]:
        x = self._stem(centred(x) if self.centre else x, train)
        features: dict[str, Any] = {"stem": x}
        heads = []  # dropout layers have names, so that what one draws does not depend on which others there are
        for index, stage in enumerate(self.stages):
            if index:
                x = max_pool(x, window=2 if self.batch_norm and index == 2 else 3, stride=2, ceil=True)
            for name in stage:
                x = features[name] = self._module(name, x, train)
                # outside of training the heads exist for the sake of their parameters alone
                if self.auxiliary and self.classes and name in ("4a", "4d") and (train or self.is_initializing()):
                    heads.append(self._head(name, x, train))
        if train and heads:
            features["auxiliary"] = tuple(heads)
        features["pooled"] = x = mean_over_space(x)  # [B, D]
        if self.classes:
            x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
            x = self._dense(self.classes, "head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)), features

    def _stem(self, x: Array, train: bool) -> Array:
        if self.stem == "cifar":
            return self._unit(192, 3, "stem")(x, train)
        x = self._unit(64, 7, "stem_1", stride=2)(x, train)
        x = self._response_norm(max_pool(x, window=3, stride=2, ceil=True))
        x = self._unit(64, 1, "stem_2")(x, train)
        x = self._response_norm(self._unit(192, 3, "stem_3")(x, train))
        return max_pool(x, window=3, stride=2, ceil=True)

    def _module(self, name: str, x: Array, train: bool) -> Array:
        one, three_before, three, five_before, five, pool = MODULES[name]
        at = f"inception_{name}"
        branches = [
            self._unit(one, 1, f"{at}_1x1")(x, train),
            self._unit(three, 3, f"{at}_3x3")(self._unit(three_before, 1, f"{at}_3x3_reduce")(x, train), train),
            self._unit(five, 3 if self.batch_norm else 5, f"{at}_5x5")(
                self._unit(five_before, 1, f"{at}_5x5_reduce")(x, train), train
            ),
            self._unit(pool, 1, f"{at}_pool")(max_pool(x, window=3, stride=1, padding=1), train),
        ]
        return jnp.concatenate(branches, -1)

    def _head(self, name: str, x: Array, train: bool) -> Array:
        at = f"auxiliary_{name}"
        if self.batch_norm:
            x = adaptive_avg_pool(x, 4)
        elif min(x.shape[1:3]) < 5:
            raise ValueError(f"auxiliary heads average 5 x 5 positions, but the output of {name} has {x.shape[1:3]}")
        else:
            x = avg_pool(x, window=5, stride=3)  # 14 x 14 -> 4 x 4
        x = self._unit(128, 1, f"{at}_conv")(x, train)
        x = nn.relu(self._dense(self._scaled(1024), f"{at}_dense")(x.reshape(x.shape[0], -1)))
        x = nn.Dropout(self.head_dropout, deterministic=not train, name=f"{at}_dropout")(x)
        x = self._dense(self.classes, f"{at}_head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def _response_norm(self, x: Array) -> Array:
        return x if self.batch_norm else local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=1.0)

    def _unit(self, features: int, kernel: int, name: str, stride: int = 1) -> Unit:
        return Unit(self._scaled(features), (kernel, kernel), stride, batch_norm=self.batch_norm, dtype=self.dtype,
                    name=name)  # fmt: skip

    def _dense(self, features: int, name: str) -> Dense:
        return Dense(features, kernel_init=_he_normal, dtype=self.dtype, name=name)

    def _scaled(self, channels: int) -> int:
        return max(1, round(channels * self.width))
