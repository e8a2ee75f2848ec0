"""Makes gan_dcgan.npz: outputs of a small DCGAN written in torch, with random weights, gains, biases and statistics.

The model of the released code at another size: 5 x 5 kernels with stride 2, no biases, leaky slope 0.2, and a batch norm of
every output of the generator's linear layer. Weights are stored in our layout: kernels [h, w, in, out], of transposed
convolutions turned by half a turn, since torch defines them as the gradient of a convolution.

Needs torch: `python tests/golden/make_gan_dcgan.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch
from torch.nn import functional as F

PATH = Path(__file__).with_name("gan_dcgan.npz")
WIDTH, LEVELS, SIZE, CHANNELS, LATENTS, BATCH = 6, 3, 16, 2, 7, 4
EPS, MOMENTUM = 1e-5, 0.1  # momentum as torch has it: the weight of the new


def norm(rng: np.random.RandomState, width: int) -> dict[str, torch.Tensor]:
    values = dict(scale=1 + 0.3 * rng.randn(width), bias=0.3 * rng.randn(width), mean=0.3 * rng.randn(width),
                  var=rng.uniform(0.5, 2, width))  # fmt: skip
    return {name: torch.from_numpy(value).float() for name, value in values.items()}


def normalised(h: torch.Tensor, p: dict[str, torch.Tensor], train: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The output, and the running mean after it."""
    mean, var = p["mean"].clone(), p["var"].clone()
    return F.batch_norm(h, mean, var, p["scale"], p["bias"], train, MOMENTUM, EPS), mean


def build() -> dict[str, np.ndarray]:
    rng = np.random.RandomState(0)

    def kernel(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.randn(*shape) / np.sqrt(np.prod(shape) / max(shape[:2]))).float()

    top, start = WIDTH << (LEVELS - 1), SIZE >> LEVELS
    linear = kernel(LATENTS, start * start * top)
    ups = [kernel(top >> i, CHANNELS if i == LEVELS - 1 else top >> (i + 1), 5, 5) for i in range(LEVELS)]  # in, out
    downs = [kernel(WIDTH << i, CHANNELS if i == 0 else WIDTH << (i - 1), 5, 5) for i in range(LEVELS)]  # out, in
    head = kernel(start * start * top, 1)
    g_norms = [norm(rng, start * start * top)] + [norm(rng, top >> i) for i in range(1, LEVELS)]
    d_norms = [norm(rng, WIDTH << i) for i in range(1, LEVELS)]
    z = torch.from_numpy(rng.uniform(-1, 1, (BATCH, LATENTS))).float()
    x = torch.from_numpy(rng.uniform(-1, 1, (BATCH, SIZE, SIZE, CHANNELS))).float()

    made = {"z": z.numpy(), "x": x.numpy()}
    for mode in ("eval", "train"):
        h, _ = normalised(z @ linear, g_norms[0], mode == "train")
        h = F.relu(h).reshape(BATCH, start, start, top).permute(0, 3, 1, 2)
        for i, up in enumerate(ups):
            h = F.conv_transpose2d(h, up, stride=2, padding=2, output_padding=1)
            if i < LEVELS - 1:
                h, mean = normalised(h, g_norms[i + 1], mode == "train")
                made |= {"train/generator/norm_1/mean": mean.numpy()} if mode == "train" and i == 0 else {}
                h = F.relu(h)
        made[f"{mode}/generator"] = torch.tanh(h).permute(0, 2, 3, 1).numpy()

        h = x.permute(0, 3, 1, 2)
        for i, down in enumerate(downs):
            h = F.conv2d(h, down, stride=2, padding=2)
            if i > 0:
                h, mean = normalised(h, d_norms[i - 1], mode == "train")
                made |= {"train/discriminator/norm_1/mean": mean.numpy()} if mode == "train" and i == 1 else {}
            h = F.leaky_relu(h, 0.2)
        made[f"{mode}/discriminator"] = (h.permute(0, 2, 3, 1).reshape(BATCH, -1) @ head)[:, 0].numpy()

    def store(net: str, collection: str, layer: str, value: torch.Tensor) -> None:
        made[f"{net}/{collection}/{layer}"] = value.numpy()

    store("generator", "params", "linear/kernel", linear)
    store("discriminator", "params", "linear/kernel", head)
    for i, up in enumerate(ups):
        store("generator", "params", f"conv_{i + 1}/kernel", up.flip(2, 3).permute(2, 3, 0, 1))
    for i, down in enumerate(downs):
        store("discriminator", "params", f"conv_{i}/kernel", down.permute(2, 3, 1, 0))
    for net, norms, first in (("generator", g_norms, 0), ("discriminator", d_norms, 1)):
        for i, p in enumerate(norms, first):
            for name, value in p.items():
                store(net, "params" if name in ("scale", "bias") else "batch_stats", f"norm_{i}/{name}", value)
    return made


if __name__ == "__main__":
    golden.main(PATH, build)
