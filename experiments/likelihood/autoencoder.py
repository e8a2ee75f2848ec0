"""Autoencoder: plain, denoising or sparse, with principal components of the same width beside it.

    aigc train autoencoder --preset laptop --workdir runs/autoencoder
    aigc train autoencoder --preset denoising --data files:DIR --workdir runs/denoising      # DIR holds MNIST

The paper preset is the 784-1000-500-250-30 network of logistic units with a linear code. Its layers are not pretrained
one by one as restricted Boltzmann machines, nor fine-tuned by conjugate gradients, as in the paper: Adam trains them at once
from random weights; rate, length and initial scale are ours. `denoising` and `sparse` have one layer of logistic units, those
of `sparse` as in the UFLDL exercise. None of the three was run on MNIST.

The laptop run, ten numbers for a digit of 8 x 8 pixels in [0, 1], restores test digits with a squared error of 0.63; ten
principal components leave 1.22, the mean digit 4.66.
"""

from typing import Literal

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import load_data, to_unit
from aigc_jax.evals.pca import pca
from aigc_jax.experiment import Experiment
from aigc_jax.methods.likelihood.autoencoder import autoencoder, corruption, reconstructions, sparsity
from aigc_jax.networks.layers import activation as nonlinearity
from aigc_jax.networks.mlp import MLP
from aigc_jax.optimizers import cosine
from aigc_jax.training.panels import latent_map

SYSTEMS = ["autoencoder"]
PAPER = "Hinton and Salakhutdinov 2006, Reducing the dimensionality of data with neural networks, Science 313"
PRESETS = {
    "paper": {},
    "denoising": dict(
        hidden=(), code=1000, code_activation="sigmoid", corrupt="masking", corruption_level=0.25, batch_size=100,
        steps=60_000,
    ),
    "sparse": dict(
        hidden=(), code=196, code_activation="sigmoid", loss="squared", sparse="kl", target=0.1, weight=6.0,
    ),
    "linear": dict(hidden=(), loss="squared"),
    "laptop": dict(data="digits", size=8, hidden=(256, 128), code=10, batch_size=100, steps=8_000, lr=2e-3),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(
        metric="eval/squared_error", value=0.63, tolerance=0.03, direction="min", device="2 CPU cores", minutes=1,
    ),
}  # fmt: skip


def experiment(
    *,
    data: str = "tfds:mnist",
    size: int = 28,
    steps: int = 12_000,  # 200 passes
    batch_size: int = 1000,  # of the fine-tuning
    seed: int = 0,
    hidden: tuple[int, ...] = (1000, 500, 250),  # figure 1; in reverse order in the decoder
    code: int = 30,  # figure 2
    activation: str = "sigmoid",
    code_activation: Literal["linear", "sigmoid", "relu"] = "linear",
    loss: Literal["bernoulli", "squared"] = "bernoulli",  # cross-entropy to greys
    corrupt: Literal["none", "gaussian", "masking", "salt"] = "none",
    corruption_level: float = 0.25,  # deviation of Gaussian noise, or share of the pixels
    sparse: Literal["none", "kl", "l1"] = "none",
    target: float = 0.05,  # mean activity of a unit of the code, of "kl"
    weight: float = 1.0,  # of the sparsity in the loss
    lr: float = 1e-3,
    lr_end: float = 0.01,  # share of lr at the last step, along a cosine
) -> Experiment:
    encoder, decoder = MLP(hidden, code, activation), MLP(hidden[::-1], size * size, activation)
    noise = None if corrupt == "none" else corruption(corrupt, corruption_level)
    nonlinear, width = nonlinearity(code_activation), min(code, size * size)
    return Experiment(
        method=autoencoder(
            encoder,
            decoder,
            optax.adam(cosine(lr, steps, end=lr_end * lr)),
            loss=loss,
            code=nonlinear,
            corrupt=noise,
            penalty=None if sparse == "none" else sparsity(sparse, target),
            weight=weight,
        ),
        data=load_data(
            data,
            batch_size=batch_size,
            spec={"image": ((size, size, 1), "float32"), "label": ((), "int32", 10)},
            train=to_unit(),
            evaluate=to_unit(),
        ),
        steps=steps,
        seed=seed,
        evals={"pca": pca(width)},
        panels={
            "pictures, restored, principal components": reconstructions(
                encoder, decoder, width, loss, nonlinear, noise
            ),
            "code": latent_map(2_000),
        },
    )


if __name__ == "__main__":
    run_file(__file__)
