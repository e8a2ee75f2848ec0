"""Variational dequantisation: noise for pictures that depends on them (Flow++, arXiv:1902.00275, section 3.1).

    log P(x) >= E_q(u|x)[log p(x + u) - log q(u|x)],    u in [0, 1)^D,

a bound that is uniform dequantisation where q is uniform. Here q is a flow from logistic noise, u = sigmoid(g_x(e)):
couplings by checkerboard that see x, and the sigmoid, by which logistic noise is uniform. The couplings begin as the
identity: training begins at uniform.
"""

from __future__ import annotations

import jax.numpy as jnp

from aigc_jax.networks.glow import CouplingNet
from aigc_jax.probability.bijectors import Bijector, Chain, Checkerboard, Logit, MaskedCoupling, affine


def dequantizer(couplings: int = 4, width: int = 32) -> Bijector:
    """u [B, H, W, C] in (0, 1), given the picture as context [B, H, W, C], -> logistic noise of the same shape."""
    layers = [
        MaskedCoupling(CouplingNet(width, 2), affine(jnp.tanh), Checkerboard(even=number % 2 == 1))
        for number in range(couplings)
    ]
    return Chain([Logit(), *layers])
