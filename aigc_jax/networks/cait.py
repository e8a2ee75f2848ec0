"""CaiT: going deeper with image transformers (arXiv:2103.17239).

    x'_l  = x_l  + diag(gamma_l)  attention(norm(x_l))              eq. (4), LayerScale; x holds patches alone
    x_l+1 = x'_l + diag(gamma'_l) W_down gelu(W_up norm(x'_l))

then, with the patches x frozen, a class token c that alone is written to (section 3, class attention):

    u  = [c; x]
    c' = c  + diag(gamma)  W_o softmax(W_q norm(c) (W_k norm(u))^T / sqrt(K)) W_v norm(u)      eqs. (5) to (8)
    c  = c' + diag(gamma') W_down gelu(W_up norm(c'))

Attention among patches has talking heads (arXiv:2003.02436): the scores of all heads pass a linear map across heads
before the softmax, the weights another after it, both with biases, so that no fused kernel can hold it. Stochastic depth
is the same in every block of the trunk and absent in the class stage, unlike ViT's.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import constant, zeros

from aigc_jax.networks.layers import Dense, LayerNorm, attention, attention_weights, patchify
from aigc_jax.networks.transformer_block import (
    SMALL,
    Block,
    FeedForward,
    keep_weights,
    patch_map,
    qkv,
    run_blocks,
    split_heads,
)

SIZES = {
    "XXS-24": dict(width=192, depth=24, heads=4, layer_scale=1e-5, drop_path=0.05),
    "XXS-36": dict(width=192, depth=36, heads=4, layer_scale=1e-5, drop_path=0.1),
    "XS-24": dict(width=288, depth=24, heads=6, layer_scale=1e-5, drop_path=0.05),
    "XS-36": dict(width=288, depth=36, heads=6, layer_scale=1e-6, drop_path=0.1),
    "S-24": dict(width=384, depth=24, heads=8, layer_scale=1e-5, drop_path=0.1),
    "S-36": dict(width=384, depth=36, heads=8, layer_scale=1e-6, drop_path=0.2),
    "M-24": dict(width=768, depth=24, heads=16, layer_scale=1e-5, drop_path=0.2),
    "M-36": dict(width=768, depth=36, heads=16, layer_scale=1e-6, drop_path=0.3),
    "M-48": dict(width=768, depth=48, heads=16, layer_scale=1e-6, drop_path=0.3),
}
"""Table 3, with the first gammas of the released code and, from section 5.1, the rates of stochastic depth."""


class CaiT(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:     0 leaves the last layer out: the logits are then the pooled features.
    patch:       pixels of a side, or (rows, columns).
    depth:       blocks among patches; `class_depth` blocks of class attention follow.
    hidden:      width inside the MLPs, four times the width if None; `class_hidden` in the class stage, None is the same.
    pool:        what the head reads after the last norm, "token" the class token, "mean" the mean of the patches.
    qkv_bias:    whether the maps to queries, keys and values have one.
    layer_scale: what every gamma begins with.
    drop_path:   stochastic depth of every block of the trunk.
    scan, remat: of the trunk, see `transformer_block`; a scanned one is `blocks`, else `block_0`, `block_1`, ...
    dtype:       of the computation; parameters stay float32, logits come out float32.

    Features: `trunk` [B, N, D], the patches before the class stage, and `pooled` [B, D], what the head reads.
    The table of positions is as long as the images it is made with need: `resample_positions` brings it to others.
    Raises ValueError for images that patches do not fill and heads that do not divide the width.
    """

    classes: int = 1000
    patch: int | tuple[int, int] = 16
    width: int = 192
    depth: int = 24
    class_depth: int = 2
    heads: int = 4
    hidden: int | None = None
    class_hidden: int | None = None
    pool: Literal["token", "mean"] = "token"
    qkv_bias: bool = True
    layer_scale: float = 1e-5
    drop_path: float = 0.0
    eps: float = 1e-6
    scan: bool = False
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        x = patchify(x, self.patch)
        x = patch_map(self.width, x.shape[-1], self.dtype)(x)
        x = x.reshape(x.shape[0], -1, self.width)  # [B, N, D]
        x = x + self.param("positions", SMALL, x.shape[1:], jnp.float32).astype(x.dtype)
        mixer = partial(TalkingHeads, self.heads, self.qkv_bias, self.dtype)
        hidden = self.hidden or 4 * self.width
        make = partial(Block, mixer, hidden, self.eps, layer_scale=self.layer_scale, dtype=self.dtype)
        x = run_blocks(make, x, [self.drop_path] * self.depth, train, self.scan, self.remat)
        token = self.param("class_token", SMALL, (self.width,), jnp.float32).astype(x.dtype)
        token = jnp.broadcast_to(token, (x.shape[0], 1, self.width))
        for index in range(self.class_depth):
            token = ClassBlock(self.heads, self.class_hidden or hidden, self.layer_scale, self.eps, self.qkv_bias,
                               self.dtype, name=f"class_block_{index}")(token, x)  # fmt: skip
        read = LayerNorm(self.eps, dtype=self.dtype, name="norm")(token if self.pool == "token" else x)
        pooled = jnp.mean(read, 1)
        features = {"trunk": x, "pooled": pooled}
        if not self.classes:
            return pooled, features
        logits = Dense(self.classes, kernel_init=SMALL, dtype=self.dtype, name="head")(pooled)
        return logits.astype(jnp.float32), features


class TalkingHeads(nn.Module):
    """Attention among patches with maps across heads, [B, N, D] -> the same.

    Scores, maps and softmax are float32 whatever the computation is.
    """

    heads: int
    qkv_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        q, k, v = split_heads(self.heads, qkv(x, self.qkv_bias, SMALL, self.dtype))
        scores = jnp.einsum("bthk,bshk->bhts", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
        scores = AcrossHeads(name="talk_before")(scores)
        weights = AcrossHeads(name="talk_after")(jax.nn.softmax(scores))  # [B, H, N, N]
        keep_weights(self, lambda: weights)
        y = jnp.einsum("bhts,bshk->bthk", weights.astype(v.dtype), v).reshape(x.shape)
        return Dense(x.shape[-1], kernel_init=SMALL, dtype=self.dtype, name="out")(y)


class AcrossHeads(nn.Module):
    """A linear map of the heads, the same at every pair of tokens: [B, H, T, S] -> the same."""

    @nn.compact
    def __call__(self, scores: Array) -> Array:
        heads = scores.shape[1]
        kernel = self.param("kernel", SMALL, (heads, heads), jnp.float32)  # from head, to head
        bias = self.param("bias", zeros, (heads,), jnp.float32)
        return jnp.einsum("bhts,hg->bgts", scores, kernel) + bias[:, None, None]


class ClassBlock(nn.Module):
    """One block of the class stage: token [B, 1, D], patches [B, N, D] -> the next token."""

    heads: int
    hidden: int
    layer_scale: float
    eps: float
    qkv_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, token: Array, patches: Array) -> Array:
        u = LayerNorm(self.eps, dtype=self.dtype, name="norm_attention")(jnp.concatenate([token, patches], 1))
        y = ClassAttention(self.heads, self.qkv_bias, self.dtype, name="attention")(u)
        token = token + self._scale(y, "attention")
        y = LayerNorm(self.eps, dtype=self.dtype, name="norm_mlp")(token)
        y = FeedForward(self.hidden, dtype=self.dtype, name="mlp")(y, train=False)
        return token + self._scale(y, "mlp")

    def _scale(self, y: Array, name: str) -> Array:
        return y * self.param(f"gamma_{name}", constant(self.layer_scale), y.shape[-1:], jnp.float32).astype(y.dtype)


class ClassAttention(nn.Module):
    """What the first of the tokens u [B, 1 + N, D] reads from all of them, [B, 1, D]."""

    heads: int
    qkv_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, u: Array) -> Array:
        dense = partial(Dense, u.shape[-1], kernel_init=SMALL, dtype=self.dtype)
        inputs = {"query": u[:, :1], "key": u, "value": u}
        q, k, v = (split_heads(self.heads, dense(use_bias=self.qkv_bias, name=name)(x), parts=1)[0]
                   for name, x in inputs.items())  # fmt: skip
        keep_weights(self, lambda: attention_weights(q, k))
        return dense(name="out")(attention(q, k, v).reshape(u.shape[0], 1, -1))
