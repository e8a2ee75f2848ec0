"""Bijectors: invertible maps with the logarithm of the determinant of their Jacobian; chained, they are normalizing flows.

    y, log_det = bijector.forward_and_log_det(x)          log_det [B] = log |det dy / dx| of each example
    x, log_det = bijector.inverse_and_log_det(y)          log_det [B] = log |det dx / dy|, the negative of the other

Direction, everywhere: `forward` goes from data to noise, as f does in the papers (NICE, RealNVP, Glow, MAF), so that

    log p(x) = log p_noise(f(x)) + log |det df / dx|.

distrax and TFP name them the other way round: their `forward` samples. `Chain` lists its bijectors from data to noise, too.

Each is a Linen module. Its parameters are made by `init`, which takes x as `forward_and_log_det` does; initial values that
depend on data (actnorm, batch norm) are those of this x, under `jit` of the whole batch however it is sharded. Networks that
give the numbers of a coupling are passed in: nothing here imports a network.
"""

from aigc_jax.probability.bijectors.actnorm import ActNorm
from aigc_jax.probability.bijectors.affine import Affine, Scaling
from aigc_jax.probability.bijectors.autoregressive import Autoregressive
from aigc_jax.probability.bijectors.batch_norm import BatchNorm
from aigc_jax.probability.bijectors.bijector import Bijector, Identity
from aigc_jax.probability.bijectors.compose import Chain, Inverse, Repeated
from aigc_jax.probability.bijectors.coupling import Checkerboard, Conditioner, Coupling, Halves, MaskedCoupling
from aigc_jax.probability.bijectors.elementwise import Elementwise, additive, affine, standardize
from aigc_jax.probability.bijectors.linear import Linear, LinearLU
from aigc_jax.probability.bijectors.logit import Logit
from aigc_jax.probability.bijectors.multi_scale import MultiScale
from aigc_jax.probability.bijectors.permutation import Permutation, Reverse
from aigc_jax.probability.bijectors.reshape import Flatten
from aigc_jax.probability.bijectors.spline import rational_quadratic
from aigc_jax.probability.bijectors.squeeze import Squeeze

__all__ = [
    "ActNorm",
    "Affine",
    "Autoregressive",
    "BatchNorm",
    "Bijector",
    "Chain",
    "Checkerboard",
    "Conditioner",
    "Coupling",
    "Elementwise",
    "Flatten",
    "Halves",
    "Identity",
    "Inverse",
    "Linear",
    "LinearLU",
    "Logit",
    "MaskedCoupling",
    "MultiScale",
    "Permutation",
    "Repeated",
    "Reverse",
    "Scaling",
    "Squeeze",
    "additive",
    "affine",
    "rational_quadratic",
    "standardize",
]
