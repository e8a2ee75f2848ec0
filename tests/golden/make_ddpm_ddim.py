"""Makes ddpm_ddim.npz: trajectories and variances of diffusers' DDIM and DDPM schedulers, with a known function for the
network.

eps(x, t) = sin(2 x + t / 300): far from linear, and it takes x0_hat out of [-1, 1], so that clipping shows.

Needs torch and diffusers: `python tests/golden/make_ddpm_ddim.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch

PATH = Path(__file__).with_name("ddpm_ddim.npz")
COUNT = 10


def eps(x: torch.Tensor, t: int) -> torch.Tensor:
    return torch.sin(2 * x + t / 300)


def build() -> dict[str, np.ndarray]:
    from diffusers import DDIMScheduler, DDPMScheduler

    start = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 3)))
    noise = torch.from_numpy(np.random.RandomState(1).standard_normal((COUNT, 2, 3)))
    made = {"start": start.numpy(), "noise": noise.numpy()}
    # name -> (eta, clip x0_hat, recompute eps_hat)
    cases = {
        "none": (0, False, False),
        "x0": (0, True, False),
        "x0_and_eps": (0, True, True),
        "noisy": (1, True, False),
    }
    for name, (eta, clip, recompute) in cases.items():
        scheduler = DDIMScheduler(clip_sample=clip)
        scheduler.set_timesteps(COUNT)
        x, path = start, [start]
        for index, t in enumerate(scheduler.timesteps.tolist()):
            x = scheduler.step(
                eps(x, t), t, x, eta=eta, use_clipped_model_output=recompute,
                variance_noise=noise[index] if eta else None,
            ).prev_sample  # fmt: skip
            path.append(x)
        made[name] = torch.stack(path).numpy()
    for kind in ("fixed_small", "fixed_large"):
        scheduler = DDPMScheduler(variance_type=kind)
        made[f"variance/{kind}"] = np.array([float(scheduler._get_variance(t)) for t in range(1, 1000)])
    return made


if __name__ == "__main__":
    golden.main(PATH, build)
