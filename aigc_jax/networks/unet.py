"""The U-Net of denoising diffusion (Ho, Jain and Abbeel 2020, arXiv:2006.11239, appendix B).

A residual encoder and decoder with skips at every block, told the noise level by a sinusoid of t that enters each
block as a bias. At its defaults with 3 channels it has the 35,746,307 parameters of the CIFAR-10 model; with
SIZES["256"] the 113,673,219 of the LSUN and CelebA-HQ models.

Kept as released, because published weights depend on it: group norm with eps 1e-6; sines before cosines in the
sinusoid, whose frequencies end at exactly 1 / 10000; down-sampling that pads only below and to the right; nearest
up-sampling before a convolution; skips joined as [h, skip]. We depart in one thing: the last layer of a block, of
attention and of the network starts at exactly 0, where the released code has scale 1e-10.

With `num_classes` a learned vector of the class is added to the embedding of t. The table has one more row, which
stands for "no class": the dropped label of classifier-free guidance (arXiv:2207.12598).
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from aigc_jax.networks.layers import Conv, Dense, GroupNorm, attention, timestep_embedding

SIZES: dict[str, dict[str, Any]] = {
    "32": dict(width=128, multipliers=(1, 2, 2, 2), dropout=0.1),  # CIFAR-10
    "256": dict(width=128, multipliers=(1, 1, 2, 2, 4, 4), dropout=0.0),  # LSUN, CelebA-HQ
}
EPS = 1e-6
INIT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
ZERO = nn.initializers.zeros
CLASSES = nn.initializers.normal(1.0)  # as large as the embedding of t: classes are told apart from the start


class ResBlock(nn.Module):
    """x [B, H, W, C], embedding [B, E] -> [B, H, W, features]; a 1x1 shortcut where the width changes."""

    features: int
    groups: int = 32
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, embedding: Array, train: bool) -> Array:
        h = nn.swish(GroupNorm(self.groups, EPS, dtype=self.dtype, name="norm_0")(x))
        h = Conv(self.features, kernel_init=INIT, dtype=self.dtype, name="conv_0")(h)
        bias = Dense(self.features, kernel_init=INIT, dtype=self.dtype, name="time")(nn.swish(embedding))
        h = h + bias[:, None, None, :]
        h = nn.swish(GroupNorm(self.groups, EPS, dtype=self.dtype, name="norm_1")(h))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = Conv(self.features, kernel_init=ZERO, dtype=self.dtype, name="conv_1")(h)
        if x.shape[-1] != self.features:
            x = Dense(self.features, kernel_init=INIT, dtype=self.dtype, name="shortcut")(x)
        return x + h


class Attention(nn.Module):
    """Self-attention over the H W positions, with a residual: x [B, H, W, C] -> [B, H, W, C]."""

    heads: int = 1
    groups: int = 32
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        batch, height, width, channels = x.shape
        if channels % self.heads:
            raise ValueError(f"{self.heads} heads do not divide {channels} channels")
        h = GroupNorm(self.groups, EPS, dtype=self.dtype, name="norm")(x)
        h = h.reshape(batch, height * width, channels)  # [B, T, C]

        def heads(name: str) -> Array:  # [B, T, H, K]
            y = Dense(channels, kernel_init=INIT, dtype=self.dtype, name=name)(h)
            return y.reshape(batch, height * width, self.heads, channels // self.heads)

        h = attention(heads("query"), heads("key"), heads("value")).reshape(x.shape)
        return x + Dense(channels, kernel_init=ZERO, dtype=self.dtype, name="out")(h)


class UNet(nn.Module):
    """(x [B, H, W, C], t [B], label [B] or None) -> [B, H, W, out_channels].

    width:        channels at full resolution; also the width of the sinusoid, whose embedding has 4 times as many.
    multipliers:  channels of each level over `width`; H and W halve from one level to the next.
    blocks:       residual blocks of a level on the way down; one more on the way up.
    attention:    the heights at which a block is followed by attention. The middle always has it.
    heads, groups: of attention and of group norm.
    dropout:      inside residual blocks, when `train`; needs the key "dropout".
    out_channels: None means those of x.
    num_classes:  None for no label; else labels 0 .. num_classes - 1, and num_classes for "no class", which is also
                  what a label of None means.
    remat:        recompute each residual block in the backward pass instead of keeping what is inside it.
    dtype:        of the computation; parameters are float32 whatever it is.

    Raises ValueError if H and W are not multiples of 2 ** (levels - 1), or for labels without `num_classes`.
    """

    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 2, 2)
    blocks: int = 2
    attention: tuple[int, ...] = (16,)
    heads: int = 1
    groups: int = 32
    dropout: float = 0.1
    out_channels: int | None = None
    num_classes: int | None = None
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, t: Array, label: Array | None = None, train: bool = False) -> Array:
        self._check(x, label)
        embedding = self._embedding(t, label)
        block_type = nn.remat(ResBlock, static_argnums=(3,)) if self.remat else ResBlock

        def block(h: Array, features: int, name: str) -> Array:
            return block_type(features, self.groups, self.dropout, self.dtype, name=name)(h, embedding, train)

        def attend(h: Array, name: str) -> Array:
            return Attention(self.heads, self.groups, self.dtype, name=name)(h)

        channels = [self.width * m for m in self.multipliers]
        h = self._conv(self.width, "conv_in")(x)
        skips = [h]
        for level, features in enumerate(channels):
            for i in range(self.blocks):
                h = block(h, features, f"down_{level}_block_{i}")
                if h.shape[1] in self.attention:
                    h = attend(h, f"down_{level}_attention_{i}")
                skips.append(h)
            if level < len(channels) - 1:
                h = self._conv(features, f"down_{level}_downsample", strides=(2, 2), padding=((0, 1), (0, 1)))(h)
                skips.append(h)

        h = block(h, channels[-1], "middle_block_0")
        h = attend(h, "middle_attention")
        h = block(h, channels[-1], "middle_block_1")

        for level, features in reversed(list(enumerate(channels))):
            for i in range(self.blocks + 1):
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), features, f"up_{level}_block_{i}")
                if h.shape[1] in self.attention:
                    h = attend(h, f"up_{level}_attention_{i}")
            if level > 0:
                h = self._conv(features, f"up_{level}_upsample")(nearest(h))

        h = nn.swish(GroupNorm(self.groups, EPS, dtype=self.dtype, name="norm_out")(h))
        return self._conv(self.out_channels or x.shape[-1], "conv_out", kernel_init=ZERO)(h)

    def _conv(self, features: int, name: str, **options: Any) -> Conv:
        return Conv(features, **{"kernel_init": INIT, "dtype": self.dtype, "name": name, **options})

    def _embedding(self, t: Array, label: Array | None) -> Array:
        """[B, 4 width]: of the time, plus that of the class where there are classes."""
        e = Dense(4 * self.width, kernel_init=INIT, dtype=self.dtype, name="time_0")(timestep_embedding(t, self.width))
        e = Dense(4 * self.width, kernel_init=INIT, dtype=self.dtype, name="time_1")(nn.swish(e))
        if self.num_classes is None:
            return e
        label = jnp.full(t.shape, self.num_classes) if label is None else label
        table = nn.Embed(self.num_classes + 1, 4 * self.width, self.dtype, embedding_init=CLASSES, name="label")
        return e + table(label)

    def _check(self, x: Array, label: Array | None) -> None:
        step = 2 ** (len(self.multipliers) - 1)
        if x.shape[1] % step or x.shape[2] % step:
            raise ValueError(f"{len(self.multipliers)} levels need sides that {step} divides, got {x.shape[1:3]}")
        if label is not None and self.num_classes is None:
            raise ValueError("labels were given to a U-Net without num_classes")


def nearest(x: Array) -> Array:
    """Every pixel twice in both directions: [B, H, W, C] -> [B, 2 H, 2 W, C]."""
    batch, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (batch, height, 2, width, 2, channels))
    return x.reshape(batch, 2 * height, 2 * width, channels)
