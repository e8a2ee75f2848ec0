"""Scaled dot-product attention (arXiv:1706.03762, eq. 1): softmax(q k^T / sqrt(K)) v, for every head.

One function, three forms:

    batched  plain batched products over B * H; the form of a CPU, where products over transposed axes are slow
    einsum   the formula as it stands, for the compiler to lay out; the form of a TPU
    cudnn    flash attention, scores never stored: bfloat16 or float16 on an NVIDIA GPU, without mask or bias

`local_attention` is the same over a part of the keys, by blocks of queries, and costs what that part is.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Form = Literal["batched", "einsum", "cudnn"]


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = False,
    mask: Array | None = None,
    bias: Array | None = None,
    form: Form | None = None,
) -> Array:
    """Every query takes the mean of the values, weighted by softmax of its scaled products with the keys.

    q:      [B, T, H, K].
    k, v:   [B, S, H, K]; v may have a width of its own.
    causal: query t sees keys 0 ... t + S - T: the last query sees all, so that the newest tokens can be asked against a
            cache that ends with them.
    mask:   bool, broadcasts to [B, H, T, S]; True = attend. A query with no key left gets the mean of all values, not NaN.
    bias:   broadcasts to [B, H, T, S]; added to the scaled products.
    form:   None picks by backend.

    Softmax is float32 whatever the inputs are. Returns [B, T, H, K] in the dtype of v. Raises ValueError for shapes that do
    not fit, or for a cudnn form that cannot hold what is asked.
    """
    (batch, targets, heads, width), sources = q.shape, k.shape[1]
    if k.shape != (batch, sources, heads, width) or v.shape[:3] != k.shape[:3]:
        raise ValueError(
            f"attention: q {q.shape}, k {k.shape}, v {v.shape} do not fit: [B,T,H,K], [B,S,H,K], [B,S,H,K]"
        )
    if causal and targets > sources:
        raise ValueError(f"causal attention of {targets} queries over {sources} keys leaves the first without a key")
    flash = mask is None and bias is None and (targets == sources or not causal)
    form = form or _choose(q, v, flash)
    if form == "cudnn":
        if not flash:
            raise ValueError("the cudnn form takes no mask, no bias, and is causal only for as many queries as keys")
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="cudnn")
    if causal:
        order = jnp.arange(sources) <= jnp.arange(targets)[:, None] + (sources - targets)  # [T, S]
        mask = order if mask is None else order & mask
    return (_batched if form == "batched" else _einsum)(q * width**-0.5, k, v, mask, bias)


def local_attention(q: Array, k: Array, v: Array, *, block: int, memory: int, near: Array | None = None) -> Array:
    """Causal attention within blocks and a memory before each ("local 1D", arXiv:1802.05751, section 3.3).

    Query t of block n = floor(t / block) sees keys max(0, n block - memory) ... t: as many as its block and memory hold, so
    that work and memory are O(T (block + memory)), not O(T^2).

    q, k, v: [B, T, H, K]; T need not be a multiple of the block.
    near:    [H, block + memory], added to the scaled product of a query and the key that lies so far before it.

    Returns [B, T, H, K]. Raises ValueError for a block below 1 or a memory below 0.
    """
    if block < 1 or memory < 0:
        raise ValueError(f"attention in blocks of {block} with a memory of {memory}: they are at least 1 and 0")
    length = q.shape[1]
    block, memory = min(block, length), min(memory, length)
    count, back = -(-length // block), -(-memory // block)
    fill = count * block - length

    def blocks(x: Array, back: int) -> Array:  # [B, n, block, H, K], those `back` blocks before
        x = jnp.pad(x, ((0, 0), (back * block, fill), (0, 0), (0, 0)))[:, : count * block]
        return x.reshape(x.shape[0], count, block, *x.shape[2:])

    def seen(x: Array) -> Array:  # [B, n, memory + block, H, K]
        return jnp.concatenate([blocks(x, i) for i in range(back, -1, -1)], axis=2)[:, :, back * block - memory :]

    start, key, query = np.arange(count)[:, None, None] * block, np.arange(memory + block), np.arange(block)[:, None]
    # [n, block, memory + block]; before the first key there is none
    mask = (key <= query + memory) & (start + key >= memory)
    bias = None if near is None else near[:, (query + memory - key).clip(0)]  # [H, block, memory + block]

    def one(q: Array, k: Array, v: Array, mask: Array) -> Array:
        return attention(q, k, v, mask=mask, bias=bias)

    y = jax.vmap(one, (1, 1, 1, 0), 1)(blocks(q, 0), seen(k), seen(v), jnp.asarray(mask))
    return y.reshape(y.shape[0], count * block, *y.shape[3:])[:, :length]


def attention_weights(q: Array, k: Array, *, mask: Array | None = None, bias: Array | None = None) -> Array:
    """The weights [B, H, T, S] themselves, float32, that `attention` averages the values by: for maps of what is attended."""
    scores = jnp.einsum("bthk,bshk->bhts", q * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32)
    return _weights(scores, mask, bias)


def _choose(q: Array, v: Array, flash: bool) -> Form:
    backend = jax.default_backend()
    if backend == "cpu":
        return "batched"
    half = q.dtype in (jnp.bfloat16, jnp.float16)
    if backend == "gpu" and flash and half and q.shape[-1] == v.shape[-1] <= 128 and q.shape[-1] % 8 == 0:
        return "cudnn"
    return "einsum"


def _batched(q: Array, k: Array, v: Array, mask: Array | None, bias: Array | None) -> Array:
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))  # [B, H, T, K]
    scores = jnp.matmul(q, k.mT, preferred_element_type=jnp.float32)  # [B, H, T, S]
    weights = _weights(scores, mask, bias).astype(v.dtype)
    return jnp.matmul(weights, v).transpose(0, 2, 1, 3)


def _einsum(q: Array, k: Array, v: Array, mask: Array | None, bias: Array | None) -> Array:
    scores = jnp.einsum("bthk,bshk->bhts", q, k, preferred_element_type=jnp.float32)
    return jnp.einsum("bhts,bshk->bthk", _weights(scores, mask, bias).astype(v.dtype), v)


def _weights(scores: Array, mask: Array | None, bias: Array | None) -> Array:
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        # the lowest finite number instead of -inf: a row without a key stays finite, gradient included
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores)
