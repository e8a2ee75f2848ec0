"""Inception v3: rethinking the inception architecture for computer vision (arXiv:1512.00567).

Modules of parallel branches as in GoogLeNet, with larger kernels factorised: 5x5 into two of 3x3 (A, figure 5), 7x7
into 1x7 and 7x1 (C, figure 6), 3x3 into 1x3 and 3x1 side by side (E, figure 7). B and D halve the image by convolutions
of stride 2 beside pooling. Every convolution is followed by batch normalisation and relu. One auxiliary head on the
last C, weighed 0.4 in the loss.

    35 x 35 A A A   17 x 17 B C C C C   8 x 8 D E E   mean over space, dropout, linear

The numbers of channels, which the paper does not all give, are those of the released code and, with it, of torchvision
and Keras. Average pooling counts the zeros of its padding in torchvision and not in TensorFlow: `count_padding`. `fid`
is the network of the Frechet distance (the TensorFlow graph of 2015-12-05): zeros not counted, and maximum instead of
average pooling in the last E.

Initialisation: truncated normal of deviation 0.1; 0.01 and 0.001 in the auxiliary head.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

from aigc_jax.networks.googlenet import Unit, centred
from aigc_jax.networks.layers import Dense, avg_pool, max_pool, mean_over_space

Step = tuple[int, tuple[int, int]]  # channels and kernel of one convolution
ONE, THREE, FIVE, WIDE, TALL = (1, 1), (3, 3), (5, 5), (1, 7), (7, 1)


def module_a(pool: int) -> list[list[Step]]:
    """Branches of a module A; the last convolves what was pooled."""
    return [[(64, ONE)], [(48, ONE), (64, FIVE)], [(64, ONE), (96, THREE), (96, THREE)], [(pool, ONE)]]


def module_c(c: int) -> list[list[Step]]:
    """Branches of a module C whose factorised convolutions have c channels."""
    return [
        [(192, ONE)],
        [(c, ONE), (c, WIDE), (192, TALL)],
        [(c, ONE), (c, TALL), (c, WIDE), (c, TALL), (192, WIDE)],
        [(192, ONE)],
    ]


MODULE_B: list[list[Step]] = [[(384, THREE)], [(64, ONE), (96, THREE), (96, THREE)]]
MODULE_D: list[list[Step]] = [[(192, ONE), (320, THREE)], [(192, ONE), (192, WIDE), (192, TALL), (192, THREE)]]
MODULE_E: list[list[Step]] = [[(320, ONE)], [(384, ONE)], [(448, ONE), (384, THREE)], [(192, ONE)]]
SPLIT = (1, 2)  # branches of E that end in 1x3 and 3x1 of 384 channels side by side


class InceptionV3(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:       0 leaves the last layer out: the logits are then the pooled features.
    pools:         channels after pooling in each A.
    factorised:    channels of the 1x7 and 7x1 convolutions in each C.
    last:          modules E.
    width:         factor on every number of channels.
    auxiliary:     the head on the last C.
    count_padding, fid: see the module; `fid` counts no padding.
    auxiliary_always: that head answers outside of training too.
    centre:        whether `centred` comes first, as for weights that were trained on images in [-1, 1].
    eps:           of the batch normalisations.
    activation:    after them, a name of `layers.ACTIVATIONS`.
    dropout:       share of the pooled features dropped in training.
    dtype:         of the computation; parameters and statistics stay float32, logits come out float32.

    Features: what FID code taps, `pool_1` (64 channels), `pool_2` (192), `mixed_6e` (768), all [B, H', W', C'], and
    `pooled` [B, 2048], the mean over space of the last module; in training, with the head, `auxiliary`, a tuple of its
    logits [B, classes], or always with `auxiliary_always`. Raises ValueError for an image below 75 pixels, for which
    nothing is left in the end, and for one below 299 where there is a head.
    """

    classes: int = 1000
    pools: tuple[int, ...] = (32, 64, 64)
    factorised: tuple[int, ...] = (128, 160, 160, 192)
    last: int = 2
    width: float = 1.0
    auxiliary: bool = True
    count_padding: bool = False
    fid: bool = False
    dropout: float = 0.5
    auxiliary_always: bool = False
    centre: bool = False
    eps: float = 1e-3
    activation: str = "relu"
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Any]]:
        if min(x.shape[1:3]) < 75:
            raise ValueError(f"Inception v3 takes images of at least 75 x 75 pixels, not {x.shape[1]} x {x.shape[2]}")
        features: dict[str, Any] = {}
        x = centred(x) if self.centre else x
        for name, width, kernel, stride, valid in (
            ("1a", 32, 3, 2, True),
            ("2a", 32, 3, 1, True),
            ("2b", 64, 3, 1, False),
        ):
            x = self._unit(width, (kernel, kernel), f"conv_{name}", stride, valid)(x, train)
        x = features["pool_1"] = max_pool(x, window=3, stride=2)
        x = self._unit(80, ONE, "conv_3b")(x, train)
        x = self._unit(192, THREE, "conv_4a", valid=True)(x, train)
        x = features["pool_2"] = max_pool(x, window=3, stride=2)

        names = iter("bcdefgh")
        for pool in self.pools:
            x = self._module(f"mixed_5{next(names)}", module_a(pool), x, train)
        names = iter("abcdefgh")
        x = self._module(f"mixed_6{next(names)}", MODULE_B, x, train, halve=True)
        for channels in self.factorised:
            x = self._module(f"mixed_6{next(names)}", module_c(channels), x, train)
        features["mixed_6e"] = x
        # where it does not answer, the head exists for the sake of its parameters alone
        answers = train or self.auxiliary_always
        if self.auxiliary and self.classes and (answers or self.is_initializing()):
            head = self._head(x, train)
            if answers:
                features["auxiliary"] = (head,)
        names = iter("abcdefgh")
        x = self._module(f"mixed_7{next(names)}", MODULE_D, x, train, halve=True)
        for index in range(self.last):
            largest = self.fid and index == self.last - 1
            x = self._module(f"mixed_7{next(names)}", MODULE_E, x, train, split=SPLIT, largest=largest)

        features["pooled"] = x = mean_over_space(x)  # [B, D]
        if self.classes:
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
            x = self._dense(0.1, "head")(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32)), features

    def _module(self, name: str, branches: list[list[Step]], x: Array, train: bool, *, halve: bool = False,
                split: tuple[int, ...] = (), largest: bool = False) -> Array:  # fmt: skip
        """The branches of a module side by side.

        halve:   the last convolution of each has stride 2 and no padding, and what is pooled is not convolved.
        split:   the branches that end in 1x3 and 3x1 side by side.
        largest: pool by the maximum.
        """
        found = []
        for number, branch in enumerate(branches):
            pooled = number == len(branches) - 1 and not halve
            y = self._pool(x, largest) if pooled else x
            for index, (channels, kernel) in enumerate(branch, start=1):
                end = halve and index == len(branch)
                at = f"{name}_pool" if pooled else f"{name}_{number + 1}_{index}"
                y = self._unit(channels, kernel, at, stride=2 if end else 1, valid=end)(y, train)
            if number in split:
                at = f"{name}_{number + 1}_{len(branch) + 1}"
                found += [
                    self._unit(384, kernel, f"{at}{side}")(y, train) for kernel, side in (((1, 3), "a"), ((3, 1), "b"))
                ]
            else:
                found.append(y)
        if halve:
            found.append(max_pool(x, window=3, stride=2))
        return jnp.concatenate(found, -1)

    def _pool(self, x: Array, largest: bool) -> Array:
        if largest:
            return max_pool(x, window=3, stride=1, padding=1)
        return avg_pool(x, window=3, stride=1, padding=1, count_padding=self.count_padding and not self.fid)

    def _head(self, x: Array, train: bool) -> Array:
        if min(x.shape[1:3]) < 17:
            raise ValueError(f"the auxiliary head takes a map of at least 17 x 17 (images of 299), not {x.shape[1:3]}")
        x = avg_pool(x, window=5, stride=3)  # [B, 5, 5, C]
        x = self._unit(128, ONE, "auxiliary_conv_1")(x, train)
        x = self._unit(768, FIVE, "auxiliary_conv_2", valid=True, deviation=0.01)(x, train)
        x = jnp.mean(x, axis=(1, 2))
        return self._dense(0.001, "auxiliary_head")(x).astype(jnp.promote_types(x.dtype, jnp.float32))

    def _unit(self, channels: int, kernel: tuple[int, int], name: str, stride: int = 1, valid: bool = False,
              deviation: float = 0.1) -> Unit:  # fmt: skip
        return Unit(max(1, round(channels * self.width)), kernel, stride, valid,
                    kernel_init=initializers.truncated_normal(deviation), eps=self.eps, activation=self.activation,
                    dtype=self.dtype, name=name)  # fmt: skip

    def _dense(self, deviation: float, name: str) -> Dense:
        init = initializers.truncated_normal(deviation)
        return Dense(self.classes, kernel_init=init, dtype=self.dtype, name=name)
