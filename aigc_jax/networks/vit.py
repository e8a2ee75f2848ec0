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
0.02. GELU is the tanh form in the published ViT, the exact one in DeiT and most ports: `activation`.

Published weights also come with what others have added since: LayerScale (arXiv:2103.17239), registers (arXiv:2309.16588), a
norm before the first block as CLIP has it (arXiv:2103.00020), tokens without positions as in DeiT III (arXiv:2204.07118).
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import lecun_normal, normal, xavier_uniform, zeros

from aigc_jax.networks.layers import Dense, LayerNorm, activation, linear_rates, patchify
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

    classes:         0 leaves the last layer out: the logits are then the pooled features.
    patch:           pixels of a side, or (rows, columns).
    hidden:          width inside the MLPs; None is four times the width.
    pool:            "token" reads a class token, "mean" the mean of the patches.
    class_token:     whether there is one; None is where `pool` reads it.
    representation:  width of the layer before the head; 0 is none. Its activation is `representation_activation`.
    distilled:       a second token and, unless `second_head` is False, a head that reads it: the feature `distilled`.
    registers:       more tokens, which no head reads, before the patches.
    token_positions: whether the tokens that are no patches have positions.
    qkv_bias:        whether the map to queries, keys and values has one.
    layer_scale:     what the gammas of LayerScale begin with; None is a net without them.
    norm_first:      a norm before the first block; the map of patches has no bias then.
    pool_first:      whether the last norm follows the pooling; the feature `tokens` is then not normalised.
    dropout:         after the positions, after attention, and after both maps of the MLPs.
    drop_path:       stochastic depth of the last block; it grows linearly from 0 at the first.
    activation:      within the MLPs, a name of `layers.ACTIVATIONS`: "gelu_new" is the tanh form, "gelu" the exact one.
    scan, remat:     see `transformer_block`; a scanned stack is `blocks`, else `block_0`, `block_1`, ...
    dtype:           of the computation; parameters stay float32, logits come out float32.

    Features: `tokens` [B, T, D] after the last norm, first those that are no patches; `pooled` [B, D], what the head
    reads. The table of positions is as long as the images it is made with need: `resample_positions` brings it to
    others. Raises ValueError for images that patches do not fill, heads that do not divide the width, a distillation
    token beside a mean, and a class token that is read but not there.
    """

    classes: int = 1000
    patch: int | tuple[int, int] = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int | None = None
    pool: Literal["token", "mean"] = "token"
    class_token: bool | None = None
    representation: int = 0
    representation_activation: str = "tanh"
    distilled: bool = False
    second_head: bool = True
    registers: int = 0
    token_positions: bool = True
    qkv_bias: bool = True
    layer_scale: float | None = None
    norm_first: bool = False
    pool_first: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0
    eps: float = 1e-6
    activation: str = "gelu_new"
    initializer: Literal["vit", "deit"] = "vit"
    scan: bool = False
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        if self.distilled and self.pool == "mean":
            raise ValueError("a distillation token stands beside a class token: it needs pool='token'")
        if self.pool == "token" and self.class_token is False:
            raise ValueError("pool='token' reads a class token: it needs class_token=True or None")
        x = self._embed(x, train)
        if self.norm_first:
            x = LayerNorm(self.eps, dtype=self.dtype, name="norm_first")(x)
        official = self.initializer == "vit"
        init = xavier_uniform() if official else SMALL
        mixer = partial(SelfAttention, self.heads, self.qkv_bias, self.dropout, init, self.dtype)
        make = partial(Block, mixer, self.hidden or 4 * self.width, self.eps, self.activation, self.layer_scale,
                       self.dropout, kernel_init=init, bias_init=normal(1e-6) if official else zeros,
                       dtype=self.dtype)  # fmt: skip
        x = run_blocks(make, x, linear_rates(self.drop_path, self.depth), train, self.scan, self.remat)
        norm = LayerNorm(self.eps, dtype=self.dtype, name="norm")
        x = x if self.pool_first else norm(x)
        pooled = x[:, 0] if self.pool == "token" else jnp.mean(x[:, sum(self.before().values()) :], 1)
        features = {"tokens": x, "pooled": norm(pooled) if self.pool_first else pooled}
        if self.representation:
            dense = Dense(self.representation, kernel_init=lecun_normal(), dtype=self.dtype, name="representation")
            features["pooled"] = activation(self.representation_activation)(dense(features["pooled"]))
        if self.distilled and self.second_head and self.classes:
            features["distilled"] = self._head(x[:, 1], "head_distilled")
        return self._head(features["pooled"], "head") if self.classes else features["pooled"], features

    def _embed(self, x: Array, train: bool) -> Array:
        """z_0, [B, H, W, C] -> [B, T, D]."""
        official, bias = self.initializer == "vit", not self.norm_first
        x = patchify(x, self.patch)
        if official:
            x = Dense(self.width, bias, kernel_init=lecun_normal(), dtype=self.dtype, name="patches")(x)
        else:
            x = patch_map(self.width, x.shape[-1], self.dtype, bias)(x)
        x = x.reshape(x.shape[0], -1, self.width)  # [B, N, D]
        x = x if self.token_positions else self._place(x)
        for name, count in reversed(self.before().items()):
            shape = (count, self.width) if name == "registers" else (self.width,)
            tokens = self.param(name, zeros if official else SMALL, shape, jnp.float32)
            tokens = jnp.broadcast_to(tokens.astype(x.dtype), (x.shape[0], count, self.width))
            x = jnp.concatenate([tokens, x], 1)
        x = self._place(x) if self.token_positions else x
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    def before(self) -> dict[str, int]:
        """How many tokens of each kind stand before the patches, in their order."""
        class_token = self.pool == "token" if self.class_token is None else self.class_token
        counts = dict(class_token=int(class_token), distillation_token=int(self.distilled), registers=self.registers)
        return {name: count for name, count in counts.items() if count}

    @property
    def places(self) -> int:
        """How many rows of the table of positions come before those of the patches."""
        return sum(self.before().values()) if self.token_positions else 0

    def _place(self, x: Array) -> Array:
        return x + self.param("positions", SMALL, x.shape[1:], jnp.float32).astype(x.dtype)

    def _head(self, x: Array, name: str) -> Array:
        init = zeros if self.initializer == "vit" else SMALL
        return Dense(self.classes, kernel_init=init, dtype=self.dtype, name=name)(x).astype(jnp.float32)
