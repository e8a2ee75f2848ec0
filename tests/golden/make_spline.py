"""Makes spline.npz: layers of nflows with random weights: masked autoregressive, affine and rational-quadratic spline.

The conditioner has plain masked layers, sequential degrees and ReLUs. The library's affine layer has the scale
softplus(h) + 0.001.

Needs torch and a clone of the repository: `python tests/golden/make_spline.py` writes, `--check` recomputes and compares.
"""

import sys
from pathlib import Path
from types import ModuleType

import golden
import numpy as np
import torch
from torch.nn import functional as F

golden.checkout("bayesiains/nflows", "5d22344436a4a5f4c3b93a3b99322a6bfe374c08")
PATH = Path(__file__).with_name("spline.npz")
FEATURES, HIDDEN, BINS, BOUND = 4, 7, 5, 2.5


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    integrals = ModuleType("UMNN")  # of a layer that is not used
    integrals.NeuralIntegral = integrals.ParallelNeuralIntegral = None
    sys.modules["UMNN"] = integrals
    from nflows.transforms import autoregressive

    rng = np.random.RandomState(0)
    x = torch.from_numpy(2 * rng.standard_normal((6, FEATURES)))
    made = {"x": x.numpy()}
    plain = dict(features=FEATURES, hidden_features=HIDDEN, num_blocks=1, use_residual_blocks=False, activation=F.relu)
    layers = {
        "affine": autoregressive.MaskedAffineAutoregressiveTransform(**plain),
        "spline": autoregressive.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            num_bins=BINS, tails="linear", tail_bound=BOUND, **plain
        ),
    }
    for name, layer in layers.items():
        layer = layer.double()
        for tensor in layer.parameters():
            tensor.copy_(0.6 * torch.from_numpy(rng.standard_normal(tuple(tensor.shape))))
        made[f"{name}/y"], made[f"{name}/log_det"] = (value.numpy() for value in layer(x))
        weights = {key: value for key, value in layer.state_dict().items() if key.endswith(("weight", "bias"))}
        made |= golden.packed({key: value.numpy() for key, value in weights.items()}, f"{name}/")
    return made


if __name__ == "__main__":
    golden.main(PATH, build)
