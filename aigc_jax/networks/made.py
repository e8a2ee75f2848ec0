"""MADE: masked autoencoder for distribution estimation (arXiv:1502.03509): all conditionals by one pass.

A unit of degree m sees the first m variables of the order:

    m^0(d) = place of x_d in the order, 1 .. D           hidden degrees: from the least of the layer before to D - 1
    hidden   M_l[in, out] = 1[m_l(out) >= m_{l-1}(in)]                                                       (eq. 12)
    output   M_V[in, d]   = 1[m^0(d) > m_L(in)]                                                              (eq. 13)

and an optional direct connection from input j to output d has the mask 1[m^0(d) > m^0(j)]. A bank of masks (sections 4.2 and
4.3) is one set of degrees for each of its members, and an order for each where the order is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.networks.layers import activation, linear
from aigc_jax.networks.layers.orders import in_places, ordering


class MADE(nn.Module):
    """Bits x [B, ...] of D values -> logits [B, D] of p(x_d = 1 | the variables before d), in the places of x.

    dimensions: D.
    hidden:     width of each hidden layer.
    order:      None, variables in their own order; a number s, a random one of the seed s + i for member i.
    members:    how many sets of masks there are; which one is asked for by its number.
    degrees:    "random", uniform in what is allowed, or "sequential", every degree in turn: then few units leave no gap.
    direct:     logits also take the inputs themselves.
    outputs:    numbers for each variable; 1 gives logits [B, D] of bits, more give [B, D, outputs] and no draws: the mean and
                scale of MAF (arXiv:1705.07057), the numbers of a spline. A variable's lie side by side in the last layer.
    activation: a name of `layers.ACTIVATIONS`.

    Masks are no parameters; weights that they take out are counted all the same, as in published counts of such nets.
    `draw` costs O(H) for a dimension with one hidden layer, whose sum is carried along, and the products of hidden layers
    with each other besides where there are more.
    """

    dimensions: int
    hidden: Sequence[int] = (500,)
    order: int | None = None
    members: int = 1
    degrees: Literal["random", "sequential"] = "random"
    direct: bool = False
    activation: str = "relu"
    outputs: int = 1

    def setup(self) -> None:
        if not self.hidden or self.members < 1:
            raise ValueError(f"MADE has a hidden layer and a mask at least, not {len(self.hidden)} and {self.members}")
        if self.outputs < 1 or (self.direct and self.outputs > 1):
            raise ValueError(
                f"MADE gives 1 number a variable at least, and 1 with direct connections, not {self.outputs}"
            )
        if self.degrees not in ("random", "sequential"):
            raise ValueError(f"degrees are random or sequential, not {self.degrees!r}")
        sizes = [self.dimensions, *self.hidden, self.dimensions * self.outputs]
        self.layers = [MaskedDense(*pair) for pair in zip(sizes, sizes[1:])]
        square = (self.dimensions, self.dimensions)
        self.skip = self.param("skip", nn.initializers.zeros, square, jnp.float32) if self.direct else None

    def __call__(self, x: Array, member: Array | int = 0) -> Array:
        nonlinear, (*masks, last, strict) = activation(self.activation), self.masks(member)
        x = h = x.reshape(x.shape[0], -1)
        for layer, mask in zip(self.layers, masks):
            h = nonlinear(layer(h, mask))
        logits = self.layers[-1](h, jnp.repeat(last, self.outputs, axis=1))
        if self.outputs > 1:
            return logits.reshape(x.shape[0], self.dimensions, self.outputs)
        return logits if self.skip is None else logits + linear(x, self.skip * strict)

    def draw(self, key: Array, n: int, member: Array | int = 0) -> tuple[Array, Array]:
        """n draws, and the logits they were drawn by: [n, D] each."""
        if self.outputs > 1:
            raise ValueError(
                f"draws are of bits, one logit each, and this network gives {self.outputs} numbers a variable"
            )
        nonlinear, (first, *masks, last, strict) = activation(self.activation), self.masks(member)
        order = jnp.argsort(jnp.asarray(self.degree_tables()[0])[member])

        def step(sums: tuple[Array, Array], known: tuple[Array, ...]):
            a, added = sums  # [n, H] of the first layer; [n, D], what direct connections add to logits
            d, w, v, b, skip, key = known
            h = nonlinear(a)
            for layer, mask in zip(self.layers[1:-1], masks):
                h = nonlinear(layer(h, mask))
            logit = b + h @ v + (added[:, d] if self.direct else 0)
            bit = jax.random.bernoulli(key, jax.nn.sigmoid(logit)).astype(a.dtype)
            return (a + bit[:, None] * w, added + bit[:, None] * skip), (bit, logit)

        below, above = self.layers[0], self.layers[-1]
        skips = jnp.zeros((self.dimensions, 0)) if self.skip is None else self.skip * strict  # [j, d]
        columns = (below.kernel * first)[order], (above.kernel * last).T[order], above.bias[order], skips[order]
        sums = jnp.broadcast_to(below.bias, (n, below.features)), jnp.zeros((n, skips.shape[1]))
        _, drawn = jax.lax.scan(step, sums, (order, *columns, jax.random.split(key, self.dimensions)))  # [D, n] each
        return in_places(drawn, order)

    def masks(self, member: Array | int) -> list[Array]:
        """The masks [in, out] of a member: of every hidden layer, of the output, of the direct connection."""
        inputs, *hidden = (jnp.asarray(table)[member] for table in self.degree_tables())
        between = [out >= below[:, None] for below, out in zip([inputs, *hidden], hidden)]
        return [*between, inputs > hidden[-1][:, None], inputs > inputs[:, None]]

    def degree_tables(self) -> list[np.ndarray]:
        """The degrees of inputs and of every hidden layer, [members, units] each."""
        members = [self.degrees_of(member) for member in range(self.members)]
        return [np.stack(layer) for layer in zip(*members)]

    def degrees_of(self, member: int) -> list[np.ndarray]:
        seed = None if self.order is None else self.order + member
        places = np.argsort(ordering(self.dimensions, seed)) + 1  # 1 .. D
        rng, most, found = np.random.default_rng((self.order or 0, member)), max(1, self.dimensions - 1), [places]
        for width in self.hidden:
            least = min(int(found[-1].min()), most)
            turn = np.arange(width) % most + 1
            found.append(turn if self.degrees == "sequential" else rng.integers(least, most, width, endpoint=True))
        return found


class MaskedDense(nn.Module):
    """x [B, R] -> x (kernel * mask) + bias, [B, F], for a mask [R, F]."""

    inputs: int
    features: int

    def setup(self) -> None:
        shape = (self.inputs, self.features)
        self.kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)

    def __call__(self, x: Array, mask: Array) -> Array:
        return linear(x, self.kernel * mask) + self.bias
