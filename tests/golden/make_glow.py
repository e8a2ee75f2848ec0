"""Makes glow.npz: latents and log-densities of another Glow, y0ast/Glow-PyTorch, with every parameter random.

Two levels of two steps on pictures of 8 x 4 x 1, without edge channels, which it has not; with affine and with additive
couplings. Its actnorm has exp(s) for exp(3 s).

Needs torch and a clone of the repository: `python tests/golden/make_glow.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch

golden.checkout("y0ast/Glow-PyTorch", "13c7b013dde32600e732416f2ed15438d686636f")
PATH = Path(__file__).with_name("glow.npz")
KINDS = ("affine", "additive")
HEIGHT, WIDTH, CHANNELS, HIDDEN, STEPS, LEVELS = 8, 4, 1, 4, 2, 2


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    from model import Glow
    from modules import gaussian_likelihood

    made = {}
    rng = np.random.RandomState(0)
    x = torch.from_numpy(rng.uniform(0, 1, (3, CHANNELS, HEIGHT, WIDTH))).float()
    made["x"] = x.permute(0, 2, 3, 1).numpy()
    for kind in KINDS:
        torch.manual_seed(1)
        shape = (HEIGHT, WIDTH, CHANNELS)
        model = Glow(shape, HIDDEN, STEPS, LEVELS, 1.0, "invconv", kind, False, 2, True, False)
        model.set_actnorm_init()
        for tensor in model.parameters():
            tensor.add_(0.15 * torch.from_numpy(rng.standard_normal(tuple(tensor.shape))).float())
        double = model.double()
        z, objective = double.flow(x.double() - 0.5, logdet=0.0)
        mean, logs = double.prior(x.double())
        made[f"{kind}/log_prob"] = (objective + gaussian_likelihood(mean, logs, z)).numpy()
        made[f"{kind}/top"] = ((z - mean) / torch.exp(logs)).permute(0, 2, 3, 1).reshape(len(x), -1).numpy()
        state = {name: value for name, value in double.state_dict().items() if name != "prior_h"}
        made |= golden.packed({name: value.numpy() for name, value in state.items()}, f"{kind}/")
    return made


if __name__ == "__main__":
    golden.main(PATH, build)
