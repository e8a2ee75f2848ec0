"""ViT: an image is worth 16x16 words (arXiv:2010.11929), and DeiT with its distillation token (arXiv:2012.12877).

    z_0  = [class; x_1 E; ...; x_N E] + E_pos                       eq. (1), patches x_i row by row
    z'_l = z_{l-1} + attention(norm(z_{l-1}))                       eq. (2)
    z_l  = z'_l    + W_down gelu(W_up norm(z'_l))                   eq. (3)
    y    = norm(z_L^0), logits = W y + b                            eq. (4)

For ImageNet-21k the paper puts tanh(W' y + b') before the head (`representation`); fine-tuning takes it off. Instead of a
class token the mean of the patches may be read (arXiv:2205.01580).

DeiT is the same network, trained otherwise, and may carry a second token after the first, with a head of its own that
learns from a teacher; the two logits are averaged at test time.

`initializer`: "vit" as the published code has it (Xavier uniform, MLP biases near zero, head zero), "deit" normal of deviation
0.02. GELU is the tanh form in the published ViT, the exact one in DeiT and most ports: `approximate`.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import lecun_normal, normal, xavier_uniform, zeros

from aigc_jax.networks.layers import Dense, LayerNorm, linear_rates, patchify
from aigc_jax.networks.transformer_block import SMALL, Block, SelfAttention, patch_map, run_blocks

SIZES = {
    "Ti": dict(width=192, depth=12, heads=3),
    "S": dict(width=384, depth=12, heads=6),
    "B": dict(width=768, depth=12, heads=12),
    "L": dict(width=1024, depth=24, heads=16),
    "H": dict(width=1280, depth=32, heads=16),
}
"""Table 1; Ti and S are those of DeiT, table 1 there."""


class ViT(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:        0 leaves the last layer out: the logits are then the pooled features.
    hidden:         width inside the MLPs; None is four times the width.
    pool:           "token" reads a class token, "mean" the mean of the patches, without one.
    representation: width of the tanh layer before the head; 0 is none.
    distilled:      a second token and head, the logits of which are the feature `distilled`.
    dropout:        after the positions, after attention, and after both maps of the MLPs.
    drop_path:      stochastic depth of the last block; it grows linearly from 0 at the first.
    approximate:    the tanh form of GELU.
    scan, remat:    see `transformer_block`; a scanned stack is `blocks`, else `block_0`, `block_1`, ...
    dtype:          of the computation; parameters stay float32, logits come out float32.

    Features: `tokens` [B, T, D] after the last norm, first those that are no patches; `pooled` [B, D], what the head
    reads. The table of positions is as long as the images it is made with need: `resample_positions` brings it to
    others. Raises ValueError for images that patches do not fill, heads that do not divide the width, and a
    distillation token beside a mean.
    """

    classes: int = 1000
    patch: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int | None = None
    pool: Literal["token", "mean"] = "token"
    representation: int = 0
    distilled: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0
    eps: float = 1e-6
    approximate: bool = True
    initializer: Literal["vit", "deit"] = "vit"
    scan: bool = False
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        if self.distilled and self.pool == "mean":
            raise ValueError("a distillation token stands beside a class token: it needs pool='token'")
        x = self._embed(x, train)
        official = self.initializer == "vit"
        init = xavier_uniform() if official else SMALL
        mixer = partial(SelfAttention, self.heads, dropout=self.dropout, kernel_init=init, dtype=self.dtype)
        make = partial(Block, mixer, self.hidden or 4 * self.width, self.eps, self.approximate, dropout=self.dropout,
                       kernel_init=init, bias_init=normal(1e-6) if official else zeros, dtype=self.dtype)  # fmt: skip
        x = run_blocks(make, x, linear_rates(self.drop_path, self.depth), train, self.scan, self.remat)
        x = LayerNorm(self.eps, dtype=self.dtype, name="norm")(x)
        features = {"tokens": x, "pooled": x[:, 0] if self.pool == "token" else jnp.mean(x, 1)}
        if self.representation:
            dense = Dense(self.representation, kernel_init=lecun_normal(), dtype=self.dtype, name="representation")
            features["pooled"] = jnp.tanh(dense(features["pooled"]))
        if self.distilled and self.classes:
            features["distilled"] = self._head(x[:, 1], "head_distilled")
        return self._head(features["pooled"], "head") if self.classes else features["pooled"], features

    def _embed(self, x: Array, train: bool) -> Array:
        """z_0, [B, H, W, C] -> [B, T, D]."""
        official = self.initializer == "vit"
        x = patchify(x, self.patch)
        if official:
            x = Dense(self.width, kernel_init=lecun_normal(), dtype=self.dtype, name="patches")(x)
        else:
            x = patch_map(self.width, x.shape[-1], self.dtype)(x)
        x = x.reshape(x.shape[0], -1, self.width)  # [B, N, D]
        names = ["class_token"] if self.pool == "token" else []
        names += ["distillation_token"] if self.distilled else []
        for name in reversed(names):
            token = self.param(name, zeros if official else SMALL, (self.width,), jnp.float32)
            token = jnp.broadcast_to(token.astype(x.dtype), (x.shape[0], 1, self.width))
            x = jnp.concatenate([token, x], 1)
        x = x + self.param("positions", SMALL, x.shape[1:], jnp.float32).astype(x.dtype)
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    def _head(self, x: Array, name: str) -> Array:
        init = zeros if self.initializer == "vit" else SMALL
        return Dense(self.classes, kernel_init=init, dtype=self.dtype, name=name)(x).astype(jnp.float32)
