"""RNADE: real-valued neural autoregressive density estimator (arXiv:1306.0186; arXiv:1605.02226, on real-valued data).

a_d = a_{d-1} + W_d x_{d-1},  a_0 = 0,  x_0 = 1;      h_d = act(rho_d a_d)
p(x_d | x_<d) = sum_k alpha_dk f(x_d; mu_dk, s_dk)    alpha = softmax(V^alpha_d h_d + b),  mu = V^mu_d h_d + b,
                                                      s = exp(V^s_d h_d + b)

NADE's running sum, O(D H) for all conditionals, under heads that answer a mixture: of normals (RNADE-MoG) or of Laplace
densities (RNADE-MoL). The more variables are summed, the larger a_d: rho_d, learned, scales it back.

rho_d is 1 at the start, as in released code: a_d then is of the size of the values at most (W ~ N(0, 1 / D)), and nothing has
to be scaled back before W has grown. The rest of the start is ours, for data that are standardised: components have their means
spread over [-1, 1] and s = 1. Were they alike, none would become another.

Ours, too: no s is above e. Standardised data need none that is, and without a bound one draw far out makes the next s larger,
and so on: after training, 34 of 5,000 drawn patches of 8 x 8 pixels were not finite. (Released code bounds s by 1, in draws
alone.)

Row 0 of W is the bias of the sum. The pass back is handed a_d of every d, O(B D H), and computes the rest again.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.networks.layers import activation
from aigc_jax.networks.layers.orders import ordering, permute
from aigc_jax.probability.mixtures import LOG_PROB, Family, Mixture, sample_mixture

MOST = 1.0  # log-scales above are taken as this


class RNADE(nn.Module):
    """Values x [B, ...] of D variables -> for each the mixture [B, D, K] given those before it, in the places of x.

    dimensions: D.
    hidden:     H, width of the hidden layer.
    components: K, of the mixture of each variable.
    order:      None, variables in their own order; a number, that of a random permutation.
    activation: a name of `layers.ACTIVATIONS`.
    family:     of the components, "normal" or "laplace".

    `draw` costs one column for a dimension, O(H K): the running sum is carried along. Raises ValueError below one variable,
    hidden unit or component, and for another family.
    """

    dimensions: int
    hidden: int = 512
    components: int = 10
    order: int | None = None
    activation: str = "relu"
    family: Family = "normal"

    def setup(self) -> None:
        d, h, k = self.dimensions, self.hidden, self.components
        if min(d, h, k) < 1:
            raise ValueError(f"RNADE has 1 variable, hidden unit and component at least, not {d}, {h} and {k}")
        if self.family not in LOG_PROB:
            raise ValueError(f"family {self.family!r}: there are {' and '.join(LOG_PROB)}")
        self.w = self.param("w", nn.initializers.normal(d**-0.5), (d, h), jnp.float32)
        self.rho = self.param("rho", nn.initializers.ones, (d,), jnp.float32)
        self.v = self.param("v", nn.initializers.normal(0.1 * h**-0.5), (d, h, 3 * k), jnp.float32)
        self.b = self.param("b", spread, (d, 3 * k), jnp.float32)

    def __call__(self, x: Array) -> Mixture:
        order = ordering(self.dimensions, self.order)
        x = permute(x.reshape(x.shape[0], -1).astype(self.w.dtype), order)
        before = jnp.concatenate([jnp.ones_like(x[:, :1]), x[:, :-1]], axis=1)

        @jax.checkpoint
        def step(a: Array, known: tuple[Array, ...]) -> tuple[Array, Array]:
            x, w, *head = known
            a = a + x[:, None] * w  # [B, H]
            return a, self.head(a, *head)

        known = before.T, self.w, self.rho, self.v, self.b
        _, outputs = jax.lax.scan(step, jnp.zeros((len(x), self.hidden), x.dtype), known)  # [D, B, 3 K]
        return mixture(permute(jnp.swapaxes(outputs, 0, 1), np.argsort(order)))

    def draw(self, key: Array, n: int) -> tuple[Array, Mixture]:
        """n draws [n, D], and the mixtures [n, D, K] they were drawn from."""

        def step(
            carry: tuple[Array, Array], known: tuple[Array, ...]
        ) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
            (a, x), (key, w, *head) = carry, known
            a = a + x[:, None] * w  # [n, H]
            outputs = self.head(a, *head)
            x = sample_mixture(key, mixture(outputs), self.family)
            return (a, x), (x, outputs)

        known = jax.random.split(key, self.dimensions), self.w, self.rho, self.v, self.b
        begin = jnp.zeros((n, self.hidden), self.w.dtype), jnp.ones(n, self.w.dtype)
        _, (x, outputs) = jax.lax.scan(step, begin, known)  # [D, n], [D, n, 3 K]
        places = np.argsort(ordering(self.dimensions, self.order))
        return x.T[:, places], mixture(jnp.swapaxes(outputs, 0, 1)[:, places])

    def head(self, a: Array, rho: Array, v: Array, b: Array) -> Array:
        """The numbers of the mixture of one variable from its sum: a [B, H] -> [B, 3 K]."""
        return activation(self.activation)(rho * a) @ v + b


def mixture(outputs: Array) -> Mixture:
    """[..., 3 K], logits, means and log-scales one after another, as a mixture."""
    logits, means, log_scales = jnp.split(outputs, 3, axis=-1)
    return Mixture(logits, means, jnp.minimum(log_scales, MOST))


def spread(key: Array, shape: tuple[int, int], dtype: jnp.dtype) -> Array:
    """Biases [D, 3 K] at the start: equal shares, means at the middles of K equal parts of [-1, 1], s = 1."""
    components = shape[1] // 3
    means = (2 * np.arange(components) + 1) / components - 1
    return jnp.broadcast_to(jnp.asarray(np.concatenate([0 * means, means, 0 * means]), dtype), shape)
