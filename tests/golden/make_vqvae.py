"""Makes vqvae.npz: outputs of a small VQ-VAE and of a convolutional encoder and decoder written in torch, and the code numbers
that the quantizer of diffusers chooses for the first one's.

4 x 4 kernels with stride 2 and one zero on each side, transposed ones likewise. Weights and biases are uniform numbers by name
(`weights.drawn`), in torch's shapes; the tests fill ours with the same.

Needs torch and diffusers: `python tests/golden/make_vqvae.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch
import weights
from reference import library
from torch.nn import functional as F

PATH = Path(__file__).with_name("vqvae.npz")
WIDTH, RESIDUAL, BLOCKS, CODE, CODES, CHANNELS, LATENTS = 10, 3, 2, 4, 9, 2, 5
WIDTHS, DENSE = (6, 7, 8), 11


def drawn(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(weights.drawn(name, shape))


def conv(h: torch.Tensor, name: str, out: int, taps: int, stride: int = 1) -> torch.Tensor:
    weight, bias = drawn(f"{name}.weight", out, h.shape[1], taps, taps), drawn(f"{name}.bias", out)
    return F.conv2d(h, weight, bias, stride, padding=(taps - 1) // 2)


def up(h: torch.Tensor, name: str, out: int) -> torch.Tensor:
    weight, bias = drawn(f"{name}.weight", h.shape[1], out, 4, 4), drawn(f"{name}.bias", out)
    return F.conv_transpose2d(h, weight, bias, stride=2, padding=1)


def dense(h: torch.Tensor, name: str, out: int) -> torch.Tensor:
    return F.linear(h, drawn(f"{name}.weight", out, h.shape[1]), drawn(f"{name}.bias", out))


def stack(h: torch.Tensor, name: str) -> torch.Tensor:
    for block in range(BLOCKS):
        inner = conv(F.relu(h), f"{name}.conv_{block}", RESIDUAL, 3)
        h = h + conv(F.relu(inner), f"{name}.out_{block}", WIDTH, 1)
    return F.relu(h)


def last(h: torch.Tensor) -> torch.Tensor:
    return h.permute(0, 2, 3, 1)


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    x = torch.from_numpy(weights.images(3, 16, 16))[:, :CHANNELS]

    h = F.relu(conv(x, "encoder.down_0", WIDTH // 2, 4, 2))
    h = F.relu(conv(h, "encoder.down_1", WIDTH, 4, 2))
    z = conv(stack(conv(h, "encoder.conv", WIDTH, 3), "encoder.stack"), "encoder.to_code", CODE, 1)
    vq_model = library("diffusers.models.autoencoders.vq_model")
    quantizer = vq_model.VectorQuantizer(CODES, CODE, beta=0.25, legacy=False)
    codes = last(z).flatten(0, 2)[:: 48 // CODES][:CODES] + 0.1 * drawn("codebook", CODES, CODE)
    quantizer.embedding.weight.copy_(codes)
    chosen, _, (_, _, numbers) = quantizer(z)
    assert len(numbers.unique()) > 3
    h = stack(conv(chosen, "decoder.conv", WIDTH, 3), "decoder.stack")
    y = up(F.relu(up(h, "decoder.up_1", WIDTH // 2)), "decoder.up_0", CHANNELS)

    h = x
    for level, width in enumerate(WIDTHS):
        h = F.relu(conv(h, f"conv_encoder.conv_{level}", width, 4, 2))
    h = F.relu(dense(last(h).flatten(1), "conv_encoder.dense", DENSE))  # positions first, as ours lie
    moments = dense(h, "conv_encoder.out", 2 * LATENTS)
    h = F.relu(dense(moments[:, :LATENTS], "conv_decoder.dense", DENSE))
    h = F.relu(dense(h, "conv_decoder.in", 2 * 2 * WIDTHS[-1])).reshape(3, 2, 2, WIDTHS[-1]).permute(0, 3, 1, 2)
    for level in (2, 1):
        h = F.relu(up(h, f"conv_decoder.conv_{level}", WIDTHS[level - 1]))
    told = up(h, "conv_decoder.conv_0", CHANNELS)
    made = {"z": last(z), "codes": codes, "numbers": numbers.reshape(3, 4, 4), "y": last(y), "moments": moments,
            "told": last(told)}  # fmt: skip
    for name in ("z", "y", "moments", "told"):
        assert made[name].std(0).mean() > 0.05 * made[name].std(), f"{name} hardly depends on the picture"
    return {name: value.numpy() for name, value in made.items()}


if __name__ == "__main__":
    golden.main(PATH, build)
