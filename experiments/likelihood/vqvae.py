"""VQ-VAE: pictures as grids of codes from a learnt codebook, their reconstructions and the use of the codes.

    aigc train vqvae --preset laptop --workdir runs/vqvae
    aigc train vqvae --data files:DIR --workdir runs/vqvae-cifar10      # DIR holds CIFAR-10

The paper preset makes 8 x 8 numbers of 512 codes of a CIFAR-10 picture; `released` is the smaller network of the released code.
Neither was run here.

The laptop run tells a digit of 8 x 8 pixels by 16 numbers of 32 codes, nearly all of them in use, and restores test digits with
a squared error of 0.0051 a pixel; 16 principal components leave 0.0113, the mean digit 0.0728.
"""

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import images, load_data, scale
from aigc_jax.experiment import Experiment
from aigc_jax.methods.likelihood.vqvae import reconstructions, usage, vqvae
from aigc_jax.networks.vqvae import Decoder, Encoder
from aigc_jax.optimizers import cosine
from aigc_jax.training.panels import latent_map, samples

SYSTEMS = ["vae"]
PAPER = "van den Oord, Vinyals and Kavukcuoglu 2017, Neural discrete representation learning, arXiv:1711.00937"
PRESETS = {
    "paper": {},
    "released": dict(width=128, residual=32, batch_size=32, steps=100_000, lr=3e-4),
    "laptop": dict(
        data="digits", size=8, channels=1, steps=4_000, batch_size=64, codes=32, code_width=8, width=32, residual=16,
        blocks=1, levels=1, lr=2e-3, lr_end=0.01, variance=0.14,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(
        metric="eval/squared_error", value=0.0051, tolerance=0.0004, direction="min", device="2 CPU cores", minutes=1,
    ),
}  # fmt: skip


def experiment(
    *,
    data: str = "tfds:cifar10",
    size: int = 32,
    channels: int = 3,
    steps: int = 250_000,  # section 4.1
    batch_size: int = 128,  # section 4.1
    seed: int = 0,
    codes: int = 512,  # K
    code_width: int = 64,  # D
    width: int = 256,  # section 4.1
    residual: int = 256,  # width inside a residual block
    blocks: int = 2,
    levels: int = 2,  # halvings: 32 x 32 pixels are 8 x 8 codes
    beta: float = 0.25,  # section 3.2
    decay: float = 0.99,  # appendix A.1
    variance: float = 0.0633,  # of the pixels of CIFAR-10 in [0, 1]
    lr: float = 2e-4,  # section 4.1: Adam
    lr_end: float = 1.0,  # share of lr at the last step, along a cosine
) -> Experiment:
    encoder = Encoder(code_width, width, residual, blocks, levels)
    decoder = Decoder(channels, width, residual, blocks, levels)
    pixels = scale(-0.5, 0.5)
    return Experiment(
        method=vqvae(
            encoder,
            decoder,
            optax.adam(cosine(lr, steps, end=lr_end * lr)),
            codes=codes,
            beta=beta,
            decay=decay,
            variance=variance,
        ),
        data=load_data(
            data,
            batch_size=batch_size,
            spec={"image": ((size, size, channels), "float32"), "label": ((), "int32", 10)},
            train=pixels,
            evaluate=pixels,
            decode=images(-0.5, 0.5),
        ),
        steps=steps,
        seed=seed,
        evals={"codes": usage(encoder, codes)},
        panels={
            "reconstructions": reconstructions(encoder, decoder),
            "codes drawn at random": samples(64),
            "latent map": latent_map(1_000),
        },
    )


if __name__ == "__main__":
    run_file(__file__)
