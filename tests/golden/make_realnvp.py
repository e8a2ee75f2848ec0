"""Makes realnvp.npz: latents and log-densities of another RealNVP, chrischute/real-nvp, with random parameters and statistics.

Two scales on pictures of 4 x 8 x 2, one residual block, in evaluation. It has no norm after a coupling, no mask among its
inputs, and a factor of its own for each channel where we have one for all: here all are the same.

Needs torch and a clone of the repository: `python tests/golden/make_realnvp.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch

golden.checkout("chrischute/real-nvp", "df51ad570baf681e77df4d2265c0f1eb1b5b646c")
PATH = Path(__file__).with_name("realnvp.npz")
SCALES, CHANNELS, WIDTH, BLOCKS = 2, 2, 3, 1


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    from models.real_nvp.real_nvp import RealNVP

    torch.Tensor.view = torch.Tensor.reshape  # it views arrays whose layout in memory torch has changed since

    rng = np.random.RandomState(0)

    def normal(tensor: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(tuple(tensor.shape)))

    torch.manual_seed(0)
    model = RealNVP(SCALES, CHANNELS, WIDTH, BLOCKS).double().eval()
    for name, tensor in model.named_parameters():
        if "rescale" in name:
            tensor.fill_(0.4)
        elif "norm" in name and name.endswith("weight"):
            tensor.fill_(1.0)  # ours has shifts alone
        else:
            tensor.add_(0.3 * normal(tensor))
    for name, tensor in model.named_buffers():
        if name.endswith("running_mean"):
            tensor.copy_(0.3 * normal(tensor))
        elif name.endswith("running_var"):
            tensor.copy_(torch.from_numpy(rng.uniform(0.5, 2, tuple(tensor.shape))))
    y = torch.from_numpy(rng.uniform(0.01, 0.99, (3, CHANNELS, 4, 8)))
    logits = (0.05 + 0.9 * y).log() - (1 - 0.05 - 0.9 * y).log()
    z, log_det = model.flows(logits.clone(), torch.zeros(3, dtype=torch.float64), False)
    made = {"y": y.permute(0, 2, 3, 1).numpy(), "logits": logits.permute(0, 2, 3, 1).numpy()}
    made |= {"z": z.permute(0, 2, 3, 1).numpy(), "log_det": log_det.numpy()}
    kept = {name: value for name, value in model.state_dict().items() if "num_batches" not in name and value.ndim}
    return made | golden.packed({name: value.numpy() for name, value in kept.items() if name != "data_constraint"})


if __name__ == "__main__":
    golden.main(PATH, build)
