"""DCGAN with the non-saturating loss: two networks, two optimizers, samples over training as a strip.

aigc train gan --preset laptop --workdir runs/gan

`laptop` draws 8 x 8 digits. Its `frechet/distance` is between pixels of 1,437 samples and of the 360 test digits: 0.16 after
6,000 steps, where the 1,437 training digits themselves have 0.095 (`frechet/floor`).
"""

from typing import Literal

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import images, load_data, scale
from aigc_jax.evals.frechet import Frechet
from aigc_jax.experiment import Experiment
from aigc_jax.methods.adversarial.gan import gan, progress
from aigc_jax.networks.dcgan import Discriminator, Generator
from aigc_jax.training.panels import samples

SYSTEMS = ["gan"]
PAPER = "Radford, Metz and Chintala 2016, Unsupervised representation learning with DCGAN, arXiv:1511.06434"
PRESETS = {
    "paper": {},
    "laptop": dict(
        data="digits", size=8, channels=1, width=32, levels=2, latents=32, steps=6_000, batch_size=64, lr=5e-4,
        lr_end=0.0, l2=0.0,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(
        metric="frechet/distance", value=0.15, tolerance=0.05, direction="min", device="2 CPU cores", minutes=3,
    ),
}  # fmt: skip


def experiment(
    *,
    data: str = "tfds:celeb_a",
    size: int = 64,  # figure 1
    channels: int = 3,
    width: int = 128,  # figure 1: 1024, 512, 256, 128 channels
    levels: int = 4,
    latents: int = 100,  # figure 1: uniform
    loss: Literal["non_saturating", "minimax"] = "non_saturating",
    steps: int = 34_180,  # released code: 25 epochs of 350,000 faces, a batch for D and a batch for G in turn
    batch_size: int = 128,  # section 4
    lr: float = 2e-4,  # section 4
    lr_end: float = 1.0,  # share of lr at the last step, along a cosine
    b1: float = 0.5,  # section 4
    l2: float = 1e-5,  # released code
    momentum: float = 0.9,  # of the running batch statistics; the released code has none
    seed: int = 0,
) -> Experiment:
    generator = Generator(size, channels, width, levels, momentum)
    discriminator = Discriminator(width, levels, momentum)
    tx = optax.chain(optax.add_decayed_weights(l2), optax.adam(optax.cosine_decay_schedule(lr, steps, lr_end), b1=b1))
    spec, to_model = {"image": ((size, size, channels), "float32")}, scale(-1, 1)
    return Experiment(
        method=gan(generator, discriminator, tx, tx, loss=loss, latents=latents),
        data=load_data(data, batch_size=batch_size, spec=spec, train=to_model, evaluate=to_model, decode=images(-1, 1)),
        steps=steps,
        seed=seed,
        evals={"frechet": Frechet()},
        panels={"over training": progress(), "samples": samples(100)},
    )


if __name__ == "__main__":
    run_file(__file__)
