"""NADE: neural autoregressive distribution estimator (arXiv:1605.02226; Larochelle and Murray 2011).

a_1 = c;   h_d = sigmoid(a_d);   p(x_d = 1 | x_<d) = sigmoid(b_d + V_d h_d);   a_{d+1} = a_d + W_d x_d         (section 2)

One network for all conditionals, at the cost O(D H) of one, since a_d is a running sum. EoNADE (section 3; arXiv:1310.1757)
is trained for all orders at once: the network is told which variables are known, a_1 = c and each known variable adds
W_d x_d + M_d; several hidden layers are DeepNADE.

Departures. The sum is run in blocks of K variables: inside a block it is a product with a strictly triangular mask, so that
an accelerator has D / K steps to wait for instead of D (on a CPU K is 1). The reverse pass is written by hand: it goes back
through the blocks, takes W_d x_d off again instead of having stored a_d, and so needs O(B H + D H) memory beside the inputs.
Rows of W and V are those of variables: [D, H] both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.networks.layers import activation, linear
from aigc_jax.networks.layers.activations import sigmoid
from aigc_jax.networks.layers.orders import in_places, ordering, permute


class NADE(nn.Module):
    """Bits x [B, ...] of D values -> logits [B, D] of p(x_d = 1 | the variables before d), in the places of x.

    dimensions: D.
    hidden:     H, width of the hidden layer.
    order:      None, variables in their own order; a number, that of a random permutation.
    activation: a name of `layers.ACTIVATIONS`.

    `draw` costs one column for a dimension, O(H): the running sum is carried along.
    """

    dimensions: int
    hidden: int = 500
    order: int | None = None
    activation: str = "sigmoid"

    def setup(self) -> None:
        d, h = self.dimensions, self.hidden
        self.w = self.param("w", nn.initializers.normal(d**-0.5), (d, h), jnp.float32)
        self.v = self.param("v", nn.initializers.normal(h**-0.5), (d, h), jnp.float32)
        self.b = self.param("b", nn.initializers.zeros, (d,), jnp.float32)
        self.c = self.param("c", nn.initializers.zeros, (h,), jnp.float32)

    def __call__(self, x: Array, member: Array | int = 0) -> Array:
        order = ordering(self.dimensions, self.order)
        x = permute(x.reshape(x.shape[0], -1).astype(self.w.dtype), order)
        logits = recursion(x, self.w, self.v, self.b, self.c, activation(self.activation))
        return permute(logits, np.argsort(order))

    def draw(self, key: Array, n: int, member: Array | int = 0) -> tuple[Array, Array]:
        """n draws, and the logits they were drawn by: [n, D] each."""
        nonlinear = activation(self.activation)

        def step(a: Array, known: tuple[Array, Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            w, v, b, key = known
            logit = b + nonlinear(a) @ v
            bit = jax.random.bernoulli(key, jax.nn.sigmoid(logit)).astype(a.dtype)
            return a + bit[:, None] * w, (bit, logit)  # a [n, H]

        known = self.w, self.v, self.b, jax.random.split(key, self.dimensions)
        _, drawn = jax.lax.scan(step, jnp.broadcast_to(self.c, (n, self.hidden)), known)  # [D, n] each
        return in_places(drawn, ordering(self.dimensions, self.order))


class EoNADE(nn.Module):
    """Bits x [B, ...] of D values -> logits [B, D] of p(x_d = 1 | the variables before d), in the places of x.

    dimensions: D.
    hidden:     width of each hidden layer.
    members:    how many fixed random orders there are; which one is asked for by its number.
    seed:       of these orders.
    activation: a name of `layers.ACTIVATIONS`.

    `given` is what is trained: the logits of all variables where any of them are known. Along an order the first hidden layer
    is a running sum; those after it cost their products again for each variable, and so does `draw`.
    """

    dimensions: int
    hidden: Sequence[int] = (500,)
    members: int = 1
    seed: int = 0
    activation: str = "relu"

    def setup(self) -> None:
        if not self.hidden or self.members < 1:
            raise ValueError(
                f"EoNADE has a hidden layer and an order at least, not {len(self.hidden)} and {self.members}"
            )
        d, (first, *more) = self.dimensions, self.hidden
        self.w = self.param("w", nn.initializers.normal(d**-0.5), (2, d, first), jnp.float32)  # of values, of masks
        self.c = self.param("c", nn.initializers.zeros, (first,), jnp.float32)
        lecun, zeros = nn.initializers.lecun_normal(), nn.initializers.zeros
        pairs = enumerate(zip(self.hidden, more))
        self.deeper = [
            (self.param(f"w_{i}", lecun, shape, jnp.float32), self.param(f"c_{i}", zeros, shape[1:], jnp.float32))
            for i, shape in pairs
        ]
        self.v = self.param("v", nn.initializers.normal(self.hidden[-1] ** -0.5), (d, self.hidden[-1]), jnp.float32)
        self.b = self.param("b", nn.initializers.zeros, (d,), jnp.float32)

    def given(self, x: Array, known: Array) -> Array:
        """Logits of all D variables from those that are known: x [B, D], known [B, D] of 0 and 1 -> [B, D]."""
        a = linear(x * known, self.w[0]) + linear(known, self.w[1]) + self.c
        return linear(self.top(a), self.v.T) + self.b

    def __call__(self, x: Array, member: Array | int = 0) -> Array:
        order = self.orders[member]
        x = x.reshape(x.shape[0], -1).astype(self.w.dtype)
        size = block_size()

        def step(a: Array, block: tuple[Array, ...]) -> tuple[Array, Array]:
            x, w, m, v, b = block  # x [K, B], w, m [K, H], v [K, H'], b [K]
            own = within(x.T, w) + below(size, x.dtype) @ m  # [B, K, H]
            logits = jnp.sum(self.top(a[:, None] + own) * v, -1) + b
            return a + x.T @ w + jnp.sum(m, 0), logits.T

        blocks = [cut(each[order], size) for each in (x.T, *self.w, self.v, self.b)]
        a = jnp.broadcast_to(self.c, (x.shape[0], self.hidden[0]))
        _, logits = jax.lax.scan(step, a, tuple(blocks))
        return joined(logits, self.dimensions).T[:, jnp.argsort(order)]

    def draw(self, key: Array, n: int, member: Array | int = 0) -> tuple[Array, Array]:
        """n draws, and the logits they were drawn by: [n, D] each."""

        def step(a: Array, known: tuple[Array, ...]) -> tuple[Array, tuple[Array, Array]]:
            w, m, v, b, key = known
            logit = b + self.top(a) @ v
            bit = jax.random.bernoulli(key, jax.nn.sigmoid(logit)).astype(a.dtype)
            return a + bit[:, None] * w + m, (bit, logit)  # a [n, H]

        order = self.orders[member]
        known = *(each[order] for each in (*self.w, self.v, self.b)), jax.random.split(key, self.dimensions)
        _, drawn = jax.lax.scan(step, jnp.broadcast_to(self.c, (n, self.hidden[0])), known)  # [D, n] each
        return in_places(drawn, order)

    def top(self, a: Array) -> Array:
        """The hidden layers from the sum of the first on: [..., H] -> [..., H']."""
        nonlinear = activation(self.activation)
        h = nonlinear(a)
        for w, c in self.deeper:
            h = nonlinear(linear(h, w) + c)
        return h

    @property
    def orders(self) -> Array:
        """The fixed orders, [members, D]."""
        return jnp.asarray([ordering(self.dimensions, self.seed + i) for i in range(self.members)])


def recursion(
    x: Array,
    w: Array,
    v: Array,
    b: Array,
    c: Array,
    nonlinear: Callable[[Array], Array] = sigmoid,
    block: int | None = None,
) -> Array:
    """Logits [B, D] of the recursion above, for x [B, D] in its order; w, v [D, H], b [D], c [H].

    block: K, variables in a block; None takes `block_size`. Memory beside the inputs is that of one block, [B, K, H], in both
           directions. Reverse derivatives only.
    """
    batch, dimensions = x.shape
    size = block or block_size()

    def hidden(a: Array, x: Array, w: Array) -> Array:
        return nonlinear(a[:, None] + within(x, w))  # [B, K, H]

    @jax.custom_vjp
    def run(x: Array, w: Array, v: Array, b: Array, c: Array) -> Array:
        return forward(x, w, v, b, c)[0]

    def forward(x: Array, w: Array, v: Array, b: Array, c: Array) -> tuple[Array, Any]:
        def step(a: Array, known: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
            x, w, v, b = known  # x [K, B], w, v [K, H], b [K]
            logits = jnp.einsum("bkh,kh->kb", hidden(a, x.T, w), v)
            return a + x.T @ w, logits + b[:, None]

        known = cut(x.T, size), cut(w, size), cut(v, size), cut(b, size)
        a, logits = jax.lax.scan(step, jnp.broadcast_to(c, (len(x), w.shape[1])), known)
        return joined(logits, dimensions).T, (a, x, w, v)

    def backward(kept: tuple[Array, Array, Array, Array], g: Array) -> tuple[Array, ...]:
        def step(carry: tuple[Array, Array], known: tuple[Array, Array, Array, Array]):
            after, d_after = carry  # the sum behind this block, and the gradient to it
            x, w, v, g = known
            x, g = x.T, g.T  # [B, K]
            a = after - x @ w
            h, pull = jax.vjp(hidden, a, x, w)
            d_a, d_x, d_w = pull(g[..., None] * v)
            d_v = jnp.einsum("bk,bkh->kh", g, h)
            return (a, d_after + d_a), ((d_x + d_after @ w.T).T, d_w + x.T @ d_after, d_v)

        a, x, w, v = kept
        known = cut(x.T, size), cut(w, size), cut(v, size), cut(g.T, size)
        (_, d_c), gradients = jax.lax.scan(step, (a, jnp.zeros_like(a)), known, reverse=True)
        d_x, d_w, d_v = (joined(each, dimensions) for each in gradients)
        return d_x.T, d_w, d_v, jnp.sum(g, 0), jnp.sum(d_c, 0)

    run.defvjp(forward, backward)
    rows = rows_at_once(batch)
    if rows == batch:
        return run(x, w, v, b, c)
    return jax.lax.map(lambda part: run(part, w, v, b, c), x.reshape(-1, rows, dimensions)).reshape(x.shape)


def block_size() -> int:
    """Variables in a block. A CPU does not wait for D steps, and is fastest without the products inside of blocks.

    Measured by `benchmarks/nade.py`; the 16 of accelerators are not.
    """
    return 1 if jax.default_backend() == "cpu" else 16


def rows_at_once(batch: int, most: int = 64) -> int:
    """Examples that go through the recursion together.

    On a CPU the products of a step are small, and above some 64 rows XLA shares them among threads, which costs more than
    they do: a larger batch goes in equal parts, if there are such of a quarter of that at least.
    """
    if jax.default_backend() != "cpu" or batch <= most:
        return batch
    rows = max(n for n in range(1, most + 1) if batch % n == 0)
    return rows if 4 * rows >= most else batch


def within(x: Array, w: Array) -> Array:
    """sum_{j<k} x_j w_j for every k of a block, a product with a strictly triangular mask: x [B, K], w [K, H] -> [B, K, H]."""
    size = len(w)
    if size == 1:
        return jnp.zeros((len(x), 1, w.shape[1]), w.dtype)
    seen = below(size, x.dtype) * x[:, None, :]  # [B, K, K], what each variable sees of its block
    return (seen.reshape(-1, size) @ w).reshape(*x.shape, w.shape[1])


def below(size: int, dtype: Any) -> Array:
    """[K, K], one where the column comes before the row."""
    return jnp.tri(size, k=-1, dtype=dtype)


def cut(rows: Array, size: int) -> Array:
    """[D, ...] -> [ceil(D / K), K, ...], the last block filled up with zeros: variables that add nothing."""
    pad = -len(rows) % size
    padded = jnp.pad(rows, ((0, pad), *((0, 0),) * (rows.ndim - 1)))
    return padded.reshape(-1, size, *rows.shape[1:])


def joined(blocks: Array, dimensions: int) -> Array:
    """The inverse of `cut`."""
    return blocks.reshape(-1, *blocks.shape[2:])[:dimensions]
