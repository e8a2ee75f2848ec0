"""AlexNet: ImageNet classification with deep convolutional neural networks (Krizhevsky, Sutskever and Hinton 2012).

    conv - relu - [response norm] - pool, twice; conv - relu, three times; pool; three linear layers, the first two with
    relu and dropout 0.5 after them

    "two-tower"        the paper: 96, 256, 384, 384, 256 channels; the second, fourth and fifth convolution have two groups,
                       for each GPU held one tower and only the third layer saw both
    "one-weird-trick"  the single tower of arXiv:1404.5997 in the form torchvision publishes: 64, 192, 384, 256, 256
                       channels, no response normalisation

Pooling overlaps: 3 x 3 with stride 2. Response normalisation, section 3.3, over 5 channels with k = 2, beta = 0.75 and
alpha = 1e-4 / 5, that of the authors' code; the formula in the paper lacks the division. 55 x 55 positions of the first
layer, as the paper counts them, come of images of 227, or of 224 with two pixels of padding.

Initialisation of the paper, section 5: normal with deviation 0.01, biases 1 in the second, fourth and fifth convolution
and in the hidden linear layers, else 0; that of the single tower: uniform by fan-in, torch's own. Neither keeps the
signal alive in narrow layers: "he_normal" does (arXiv:1502.01852).
"""

from __future__ import annotations

from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

from aigc_jax.networks.layers import Conv, Dense, adaptive_avg_pool, local_response_norm, max_pool

SIZES = {
    "two-tower": dict(widths=(96, 256, 384, 384, 256), groups=2, stem=(11, 4, 0), response_norm=True, weights="normal"),
    "one-weird-trick": dict(widths=(64, 192, 384, 256, 256), groups=1, stem=(11, 4, 2), response_norm=False,
                            weights="fan_in"),
}  # fmt: skip
"""Section 3.5 and figure 2; arXiv:1404.5997, footnote 1."""


class AlexNet(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:       0 leaves the last layer out: the logits are then the last hidden features.
    widths:        channels of the five convolutions.
    groups:        of the second, fourth and fifth.
    stem:          kernel, stride and padding of the first.
    response_norm: after the first and the second.
    grid:          rows and columns that the first linear layer reads: where the last map is of another size, as for images
                   that are not 224 or 227, it is averaged to that many (torchvision).
    hidden:        width of the two hidden linear layers.
    dropout:       share of their outputs dropped in training.
    weights:       how they begin, see the module.
    dtype:         of the computation; parameters stay float32, logits come out float32.

    Features: `conv_1` ... `conv_5` [B, H', W', C'] before pooling, and `pooled` [B, hidden], the second hidden layer.
    Raises ValueError for an image too small for three poolings.
    """

    classes: int = 1000
    widths: tuple[int, ...] = (96, 256, 384, 384, 256)
    groups: int = 2
    stem: tuple[int, int, int] = (11, 4, 0)
    response_norm: bool = True
    grid: int = 6
    hidden: int = 4096
    dropout: float = 0.5
    weights: Literal["normal", "fan_in", "he_normal"] = "normal"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        features = {}
        shape, (first, second, *others) = x.shape, self._convolutions()
        for index, layer in enumerate((first, second), start=1):
            x = features[f"conv_{index}"] = nn.relu(layer(x))
            if self.response_norm:
                x = local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=2.0)
            x = self._pool(x, shape)
        for index, layer in enumerate(others, start=3):
            x = features[f"conv_{index}"] = nn.relu(layer(x))
        x = adaptive_avg_pool(self._pool(x, shape), self.grid)  # [B, grid, grid, C']
        x = x.reshape(x.shape[0], -1)
        for index in (6, 7):
            x = nn.relu(self._dense(self.hidden, 1.0, name=f"dense_{index}")(x))
            features["pooled"] = x
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        if self.classes:
            x = self._dense(self.classes, 0.0, name="head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)), features

    def _convolutions(self) -> list[Conv]:
        kernel, stride, padding = self.stem
        kernel_init, one = self._inits(1.0)
        zero = self._inits(0.0)[1]
        layers = [  # kernel, stride, padding, groups, initial bias
            (kernel, stride, padding, 1, zero),
            (5, 1, 2, self.groups, one),
            (3, 1, 1, 1, zero),
            (3, 1, 1, self.groups, one),
            (3, 1, 1, self.groups, one),
        ]
        return [
            Conv(width, (kernel, kernel), stride, padding, groups, kernel_init=kernel_init, bias_init=bias,
                 dtype=self.dtype, name=f"conv_{index}")
            for index, (width, (kernel, stride, padding, groups, bias)) in enumerate(zip(self.widths, layers, strict=True), 1)
        ]  # fmt: skip

    def _pool(self, x: Array, shape: tuple[int, ...]) -> Array:
        if min(x.shape[1:3]) < 3:
            raise ValueError(
                f"an image of {shape[1]} x {shape[2]} is too small for three poolings of 3 x 3 with stride 2"
            )
        return max_pool(x, window=3, stride=2)

    def _dense(self, features: int, bias: float, name: str) -> Dense:
        kernel_init, bias_init = self._inits(bias)
        return Dense(features, kernel_init=kernel_init, bias_init=bias_init, dtype=self.dtype, name=name)

    def _inits(self, bias: float) -> tuple[initializers.Initializer, initializers.Initializer]:
        if self.weights == "normal":
            return initializers.normal(0.01), initializers.constant(bias)
        factor, form = (2.0, "normal") if self.weights == "he_normal" else (1 / 3, "uniform")
        return initializers.variance_scaling(factor, "fan_in", form), initializers.zeros
