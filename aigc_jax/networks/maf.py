"""MAF and IAF: autoregressive flows of MADEs (arXiv:1705.07057, arXiv:1606.04934), affine or by splines (arXiv:1906.04032).

    u_d = (x_d - mean_d(x_<d)) exp(-log_std_d(x_<d)),      log |det du / dx| = -sum_d log_std_d       (MAF, eqs. 4 and 5)

Layers of it, with a batch norm after each and the order of variables reversed from one to the next (MAF, section 3.4). A
layer with a spline for the affine map is the autoregressive neural spline flow; its layers have a linear map by LU factors
between them, no batch norm. IAF is the inverse: as fast to sample from as MAF is to evaluate.

Departures: batch norm keeps running averages, where the released MAF goes through all training data before a test. The
conditioner of a spline layer is a MADE without residual connections.
"""

from __future__ import annotations

from collections.abc import Sequence

from aigc_jax.networks.made import MADE
from aigc_jax.networks.mlp import MLP
from aigc_jax.probability.bijectors import (
    Autoregressive,
    BatchNorm,
    Bijector,
    Chain,
    Conditioner,
    Coupling,
    Elementwise,
    Inverse,
    LinearLU,
    Repeated,
    Reverse,
    rational_quadratic,
    standardize,
)


def maf(dimensions: int, layers: int = 5, hidden: Sequence[int] = (100,), batch_norm: bool = True) -> Bijector:
    """x [B, D] -> noise [B, D]. Raises ValueError for fewer than 2 variables or 1 layer."""
    _check(dimensions, layers)
    norm = [BatchNorm(momentum=0.99, learned=True)] if batch_norm else []
    return Repeated(Chain([_autoregressive(dimensions, hidden, standardize()), *norm, Reverse()]), layers)


def iaf(dimensions: int, layers: int = 5, hidden: Sequence[int] = (100,)) -> Bijector:
    """The inverse of a MAF without batch norm: noise -> x in one pass, a density in D passes."""
    return Inverse(maf(dimensions, layers, hidden, batch_norm=False))


def spline_flow(
    dimensions: int,
    layers: int = 10,
    hidden: Sequence[int] = (256, 256),
    bins: int = 8,
    bound: float = 3.0,
    coupling: bool = False,
) -> Bijector:
    """x [B, D] -> noise [B, D]: RQ-NSF (AR), or with `coupling` RQ-NSF (C). Standardize data: the splines end at `bound`.

    Raises ValueError for fewer than 2 variables or 1 layer.
    """
    _check(dimensions, layers)
    spline = rational_quadratic(bins, bound)
    if coupling:
        moved = dimensions - dimensions // 2
        layer: Bijector = Coupling(Conditioner(MLP(hidden, moved * spline.numbers, "relu")), spline)
    else:
        layer = _autoregressive(dimensions, hidden, spline)
    return Chain([Repeated(Chain([LinearLU(), layer]), layers), LinearLU()])


def _autoregressive(dimensions: int, hidden: Sequence[int], map: Elementwise) -> Bijector:
    return Autoregressive(MADE(dimensions, hidden, degrees="sequential", outputs=map.numbers), map)


def _check(dimensions: int, layers: int) -> None:
    if dimensions < 2 or layers < 1:
        raise ValueError(
            f"an autoregressive flow takes 2 variables and 1 layer at least, not {dimensions} and {layers}"
        )
