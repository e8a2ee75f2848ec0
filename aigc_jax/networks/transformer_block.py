"""The pre-norm transformer block that the vision transformers share, and how a stack of it is run.

    x = x + d(g a(norm x))          a: attention or another mixer of tokens
    x = x + d(g' m(norm x))         m: W_down gelu(W_up x)

g and g' are LayerScale (arXiv:2103.17239, eq. 4), d is stochastic depth; both may be absent. Stacks can be scanned (one
compiled block for any depth, parameters stacked) and rematerialised (activations computed again in the backward pass);
neither changes a number.

Attention weights are computed for their own sake only if the collection "intermediates" is mutable: `attention_maps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn.initializers import Initializer, constant, normal, zeros

from aigc_jax.networks.layers import Dense, LayerNorm, activation, attention, attention_weights, drop_path

SMALL = normal(0.02)
"""The "truncated normal" of DeiT and those after it: it is cut at -2 and 2, a hundred deviations out."""


def patch_map(width: int, fan_in: int, dtype: Any, use_bias: bool = True) -> Dense:
    """The map "patches" of [..., fan_in] pixels to tokens [..., width], starting as torch's convolution does.

    The bias must not start at zero where a norm follows: it would leave the sign of a patch of one pixel alone.
    """
    reach = fan_in**-0.5

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -reach, reach)

    return Dense(width, use_bias, kernel_init=init, bias_init=init, dtype=dtype, name="patches")


class SelfAttention(nn.Module):
    """Multi-head attention among tokens, [B, T, D] -> the same.

    Raises ValueError if the heads do not divide the width.
    """

    heads: int
    qkv_bias: bool = True
    dropout: float = 0.0
    kernel_init: Initializer = SMALL
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        q, k, v = split_heads(self.heads, qkv(x, self.qkv_bias, self.kernel_init, self.dtype))
        keep_weights(self, lambda: attention_weights(q, k))
        y = attention(q, k, v).reshape(x.shape)
        y = Dense(x.shape[-1], kernel_init=self.kernel_init, dtype=self.dtype, name="out")(y)
        return nn.Dropout(self.dropout, deterministic=not train)(y)


def qkv(x: Array, use_bias: bool, kernel_init: Initializer, dtype: Any) -> Array:
    """Queries, keys and values side by side by one map "qkv" of the module that calls: [..., D] -> [..., 3 D].

    Each third of the kernel is initialised by itself: rules that look at the fan-out mean that of one.
    """

    def thirds(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        part = (shape[0], shape[1] // 3)
        return jnp.concatenate([kernel_init(one, part, dtype) for one in jax.random.split(key, 3)], 1)

    return Dense(3 * x.shape[-1], use_bias=use_bias, kernel_init=thirds, dtype=dtype, name="qkv")(x)


def split_heads(heads: int, x: Array, parts: int = 3) -> list[Array]:
    """[B, T, parts * D] -> as many [B, T, H, K]. Raises ValueError if the heads do not divide D."""
    width = x.shape[-1] // parts
    if width % heads:
        raise ValueError(f"{heads} heads do not divide a width of {width}")
    return [part.reshape(*x.shape[:-1], heads, width // heads) for part in jnp.split(x, parts, axis=-1)]


class FeedForward(nn.Module):
    """W_down gelu(W_up x), [..., D] -> the same, `hidden` wide inside, with dropout after both maps.

    activation: a name of `layers.ACTIVATIONS`; "gelu" is the exact form, "gelu_new" the one by tanh.
    """

    hidden: int
    activation: str = "gelu"
    dropout: float = 0.0
    kernel_init: Initializer = SMALL
    bias_init: Initializer = zeros
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        drop = nn.Dropout(self.dropout, deterministic=not train)
        for width, name in ((self.hidden, "up"), (x.shape[-1], "down")):
            y = Dense(width, kernel_init=self.kernel_init, bias_init=self.bias_init, dtype=self.dtype, name=name)(x)
            x = drop(activation(self.activation)(y) if name == "up" else y)
        return x


class Block(nn.Module):
    """One block, x [B, ..., D] -> the same.

    mixer:       makes the module (x, train) -> the same shape that mixes tokens.
    hidden:      width inside the second branch.
    layer_scale: what g and g' begin with; None is a block without them.
    """

    mixer: Callable[..., nn.Module]
    hidden: int
    eps: float = 1e-6
    activation: str = "gelu"
    layer_scale: float | None = None
    dropout: float = 0.0
    kernel_init: Initializer = SMALL
    bias_init: Initializer = zeros
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, drop: Array | float | None, train: bool) -> Array:
        """drop: rate of stochastic depth; None is none."""
        y = LayerNorm(self.eps, dtype=self.dtype, name="norm_attention")(x)
        x = x + self._branch(self.mixer(name="attention")(y, train), drop, "attention")
        y = LayerNorm(self.eps, dtype=self.dtype, name="norm_mlp")(x)
        mlp = FeedForward(self.hidden, self.activation, self.dropout, self.kernel_init, self.bias_init, self.dtype,
                          name="mlp")  # fmt: skip
        return x + self._branch(mlp(y, train), drop, "mlp")

    def _branch(self, y: Array, drop: Array | float | None, name: str) -> Array:
        if self.layer_scale is not None:
            gamma = self.param(f"gamma_{name}", constant(self.layer_scale), y.shape[-1:], jnp.float32)
            y = y * gamma.astype(y.dtype)
        return y if drop is None else drop_path(y, drop, self.make_rng("dropout"))


def run_blocks(
    make: Callable[..., nn.Module], x: Array, rates: Sequence[float], train: bool, scan: bool, remat: bool
) -> Array:
    """x through as many blocks as there are rates of stochastic depth.

    make: (name) -> a block (x, rate or None, train) -> x; called in the module whose children they are: `block_0`,
          `block_1`, ..., or one `blocks` with parameters [L, ...] if scanned.
    """
    drops = np.asarray(rates, np.float32) if train and any(rates) else None

    def run(block: nn.Module, x: Array, drop: Any) -> Array:
        return block(x, drop, train)

    step = nn.remat(run, prevent_cse=not scan) if remat else run
    if scan:
        kinds: Any = {"params": 0, "intermediates": 0}
        stack = nn.scan(lambda block, x, drop: (step(block, x, drop), None), variable_axes=kinds,
                        split_rngs={"params": True, "dropout": True}, length=len(rates))  # fmt: skip
        return stack(make(name="blocks"), x, drops)[0]
    for index in range(len(rates)):
        x = step(make(name=f"block_{index}"), x, None if drops is None else drops[index])
    return x


def unrolled(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by path, those of scanned stacks [L, ...] cut into those of the blocks: `x.blocks.y` is `x.block_0.y`, ..."""
    found = {}
    for path, array in arrays.items():
        before, scanned, after = path.partition(".blocks.")
        if scanned:
            found |= {f"{before}.block_{index}.{after}": array[index] for index in range(len(array))}
        else:
            found[path] = array
    return found


def stacked(arrays: Mapping[str, Any], path: str) -> Any | None:
    """The array [L, ...] of a scanned stack from those of its blocks; None if there are none, or the path is of no stack."""
    before, scanned, after = path.partition(".blocks.")
    found = []
    while scanned and (name := f"{before}.block_{len(found)}.{after}") in arrays:
        found.append(arrays[name])
    return np.stack(found) if found else None


def keep_weights(module: nn.Module, weights: Callable[[], Array]) -> None:
    """Leaves attention weights where `attention_maps` finds them, if someone asks for them."""
    if module.is_mutable_collection("intermediates"):
        module.sow("intermediates", "weights", weights())


def attention_maps(net: nn.Module, variables: Mapping[str, Any], image: Array, stack: str = "block") -> Array:
    """The attention weights [L, B, H, T, S] of the blocks `stack`_0, `stack`_1, ... of a network, scanned or not."""
    found: Any = net.apply(variables, image, mutable=["intermediates"])[1]
    seen = found["intermediates"]
    if f"{stack}s" in seen:
        return seen[f"{stack}s"]["attention"]["weights"][0]
    names = sorted((name for name in seen if name.startswith(f"{stack}_")), key=lambda name: int(name.split("_")[-1]))
    return jnp.stack([seen[name]["attention"]["weights"][0] for name in names])
