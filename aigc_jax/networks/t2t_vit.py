"""T2T-ViT: tokens-to-token ViT, training vision transformers from scratch on ImageNet (arXiv:2101.11986).

    tokens -> token attention -> image of them -> soft split -> fewer, wider tokens            eqs. (1) to (5)

The soft split unfolds an image into overlapping windows: 7 x 7 by 4, then twice 3 x 3 by 2, so that 224 x 224 pixels become
56 x 56, 28 x 28 and 14 x 14 tokens. After the first two a token attention of one narrow head (K = 64) mixes them. A linear
map then leads to a deep and narrow ViT with fixed sinusoidal positions, class token at position 0.

Token attention is one of two, both with the skip from the values, since widths differ on either side:

    transformer   y = v + W softmax(q k^T / sqrt(D)) v              D the width that came in, not K
    performer     y = v + W phi(q) (phi(k)^T v) / (phi(q) sum_s phi(k_s) + 1e-8)               (arXiv:2009.14794)
                  phi(x) = exp(w x - |x|^2 / 2) / sqrt(m),  E phi(q).phi(k) = exp(q.k) for normal w

then x = y + W_2 gelu(W_1 norm(y)). The performer costs O(N), w [m, K] are orthogonal rows of length sqrt(m), drawn once
and never trained: they are no parameters. Following the released code its products are not scaled by K^-1/2 and its map
yields keys, queries, values in this order.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.networks.layers import Dense, LayerNorm, attention, linear_rates, sinusoidal, unfold
from aigc_jax.networks.transformer_block import SMALL, Block, FeedForward, SelfAttention, run_blocks

SIZES = {
    "7": dict(width=256, depth=7, heads=4, ratio=2.0),
    "10": dict(width=256, depth=10, heads=4, ratio=2.0),
    "12": dict(width=256, depth=12, heads=4, ratio=2.0),
    "14": dict(width=384, depth=14, heads=6),
    "19": dict(width=448, depth=19, heads=7),
    "24": dict(width=512, depth=24, heads=8),
    "t-14": dict(width=384, depth=14, heads=6, mixer="transformer"),
    "t-19": dict(width=448, depth=19, heads=7, mixer="transformer"),
    "t-24": dict(width=512, depth=24, heads=8, mixer="transformer"),
}
"""Table 1 and the released code; "t" are those with softmax attention among the early tokens."""

SPLITS = ((7, 4, 2), (3, 2, 1), (3, 2, 1))
"""Window, stride and padding of each soft split, section 3.1."""


class T2TViT(nn.Module):
    """Images [B, H, W, C] -> (logits [B, classes], features by name).

    classes:     0 leaves the last layer out: the logits are then the pooled features.
    ratio:       width inside the MLPs of the backbone by its width.
    mixer:       attention among early tokens.
    early:       K, the width between soft splits.
    splits:      window, stride and padding of each soft split.
    drop_path:   stochastic depth of the last block of the backbone; it grows linearly from 0 at the first.
    seed:        of the performer's w, where the collection "constants" does not give them.
    scan, remat: of the backbone, see `transformer_block`.
    dtype:       of the computation; the performer stays float32, as parameters and logits do.

    Features: `split_1`, `split_2`, ... [B, H', W', C'] out of each soft split, `tokens` [B, 1 + N, D] after the last norm,
    and `pooled` [B, D], the first of them. Images may be of any size that the windows fit. Raises ValueError for others,
    and for heads that do not divide the width.
    """

    classes: int = 1000
    width: int = 384
    depth: int = 14
    heads: int = 6
    ratio: float = 3.0
    mixer: Literal["performer", "transformer"] = "performer"
    early: int = 64
    splits: tuple[tuple[int, int, int], ...] = SPLITS
    drop_path: float = 0.0
    eps: float = 1e-5
    seed: int = 0
    scan: bool = False
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> tuple[Array, dict[str, Array]]:
        features = {}
        for index, split in enumerate(self.splits, start=1):
            x = features[f"split_{index}"] = unfold(x, *split)
            if index < len(self.splits):
                x = self._mix(x, index, train)
        x = Dense(self.width, kernel_init=SMALL, dtype=self.dtype, name="project")(x)
        x = x.reshape(x.shape[0], -1, self.width)  # [B, N, D]
        token = self.param("class_token", SMALL, (self.width,), jnp.float32).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)), x], 1)
        x = x + sinusoidal(x.shape[1], self.width).astype(x.dtype)
        mixer = partial(SelfAttention, self.heads, qkv_bias=False, dtype=self.dtype)
        make = partial(Block, mixer, int(self.ratio * self.width), self.eps, dtype=self.dtype)
        x = run_blocks(make, x, linear_rates(self.drop_path, self.depth), train, self.scan, self.remat)
        features["tokens"] = x = LayerNorm(self.eps, dtype=self.dtype, name="norm")(x)
        features["pooled"] = x[:, 0]
        if not self.classes:
            return x[:, 0], features
        logits = Dense(self.classes, kernel_init=SMALL, dtype=self.dtype, name="head")(x[:, 0])
        return logits.astype(jnp.float32), features

    def _mix(self, x: Array, index: int, train: bool) -> Array:
        """Token attention, [B, H, W, C] -> [B, H, W, early]."""
        name = f"mix_{index}"
        if self.mixer == "transformer":
            mix = TokenTransformer(self.early, self.eps, dtype=self.dtype, name=name)
        else:
            mix = TokenPerformer(self.early, self.eps, (self.seed, index), dtype=self.dtype, name=name)
        y = mix(x.reshape(x.shape[0], -1, x.shape[-1]), train)
        return y.reshape(*x.shape[:-1], self.early)


class TokenTransformer(nn.Module):
    """Softmax attention of one head, [B, N, D] -> [B, N, width], and an MLP as wide."""

    width: int
    eps: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        dense = partial(Dense, kernel_init=SMALL, dtype=self.dtype)
        y = LayerNorm(self.eps, dtype=self.dtype, name="norm_attention")(x)
        q, k, v = jnp.split(dense(3 * self.width, use_bias=False, name="qkv")(y)[:, :, None], 3, -1)  # [B, N, 1, K]
        q = q * (self.width / x.shape[-1]) ** 0.5  # attention divides by sqrt(K)
        v = v[:, :, 0]
        y = v + dense(self.width, name="out")(attention(q, k, v[:, :, None])[:, :, 0])
        z = LayerNorm(self.eps, dtype=self.dtype, name="norm_mlp")(y)
        return y + FeedForward(self.width, dtype=self.dtype, name="mlp")(z, train)


class TokenPerformer(nn.Module):
    """Attention by random features, [B, N, D] -> [B, N, width], and an MLP as wide.

    w [width / 2, width] is the entry `features` of the collection "constants" if that is given, else drawn from `seed`.
    """

    width: int
    eps: float = 1e-5
    seed: tuple[int, ...] = (0,)
    dropout: float = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        drop = nn.Dropout(self.dropout, deterministic=not train)
        dense = partial(Dense, kernel_init=SMALL, dtype=self.dtype)
        y = LayerNorm(self.eps, dtype=self.dtype, name="norm_attention")(x)
        k, q, v = jnp.split(dense(3 * self.width, name="kqv")(y), 3, -1)  # [B, N, K]
        w = self.get_variable("constants", "features")
        w = orthogonal_rows(self.width // 2, self.width, self.seed) if w is None else w
        y = v + drop(dense(self.width, name="out")(linear_attention(random_features(q, w), random_features(k, w), v)))
        z = LayerNorm(self.eps, dtype=self.dtype, name="norm_mlp")(y)
        return y + drop(FeedForward(self.width, dtype=self.dtype, name="mlp")(z, train))


def random_features(x: Array, w: Any) -> Array:
    """phi(x), [..., K] -> [..., m], float32: nothing is subtracted before exp, which half precision would not survive."""
    x = x.astype(jnp.float32)
    return jnp.exp(x @ w.T - jnp.sum(x * x, -1, keepdims=True) / 2) / w.shape[0] ** 0.5


def linear_attention(q: Array, k: Array, v: Array) -> Array:
    """Means of v [B, N, K] weighted by products of features q and k [B, N, m], in O(N). In the dtype of v."""
    total = jnp.einsum("btm,bm->bt", q, jnp.sum(k, 1))[..., None]  # [B, N, 1]
    y = jnp.einsum("btm,bmk->btk", q, jnp.einsum("bsm,bsk->bmk", k, v.astype(jnp.float32)))
    return (y / (total + 1e-8)).astype(v.dtype)


def orthogonal_rows(rows: int, width: int, seed: tuple[int, ...]) -> np.ndarray:
    """float32 [rows, width]: orthogonal rows of length sqrt(rows), in directions that are uniform on the sphere.

    Raises ValueError for more rows than the width has directions.
    """
    if rows > width:
        raise ValueError(f"there are no {rows} orthogonal rows of {width} numbers")
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, rows)))
    return (np.sqrt(rows) * (q * np.sign(np.diag(r))).T).astype(np.float32)
