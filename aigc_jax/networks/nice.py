"""NICE: non-linear independent components estimation (Dinh, Krueger and Bengio 2014, arXiv:1410.8516).

    y_a = x_a,   y_b = x_b + m(x_a)                additive couplings: they keep volumes         (section 3.2)
    z = exp(s) y                                   one scale for each variable                   (section 3.3)

The variables of even and of odd number are the two parts, and change roles from coupling to coupling (section 5.1). The noise
is logistic for MNIST, SVHN and CIFAR-10, Gaussian for the Toronto faces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from aigc_jax.networks.mlp import MLP
from aigc_jax.probability.bijectors import (
    Bijector,
    Chain,
    Conditioner,
    Coupling,
    Flatten,
    Permutation,
    Scaling,
    additive,
)


def nice(shape: Sequence[int], couplings: int = 4, hidden: Sequence[int] = (1000,) * 5) -> Bijector:
    """x [B, *shape] -> noise [B, D] by that many couplings, m an MLP of ReLUs.

    Raises ValueError for fewer than two variables or couplings, which would leave a part of x as it is.
    """
    size = math.prod(shape)
    if size < 2 or couplings < 2:
        raise ValueError(f"NICE takes 2 variables and 2 couplings at least, not {size} and {couplings}")
    alternate = (*range(0, size, 2), *range(1, size, 2))
    moved = [size // 2 if number % 2 else size - size // 2 for number in range(couplings)]
    nets = [Conditioner(MLP(hidden, width, "relu")) for width in moved]
    layers = [Coupling(net, additive(), second=number % 2 == 0) for number, net in enumerate(nets)]
    return Chain([Flatten(tuple(shape)), Permutation(alternate), *layers, Scaling()])
