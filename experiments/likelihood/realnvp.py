"""RealNVP, a multi-scale flow of affine couplings, on pictures; bits per dimension.

    aigc train realnvp --preset laptop --workdir runs/realnvp
    aigc train realnvp --preset cifar --data files:DIR --workdir runs/realnvp-cifar      # DIR holds CIFAR-10, or a part

The laptop run, 8 x 8 digits of 4 bits, has networks of three convolutions without residual blocks, and reaches 2.08 bits a
dimension of test digits (uniform dequantisation); histograms of 16 levels for each pixel give 2.38, one Gaussian with full
covariance 2.85. With `--blocks 1 --width 12 --steps 800` it reaches 2.05, and takes longer to compile. The cifar run takes
half an hour of one core, and was not run yet.
"""

from functools import partial

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import compose, flip_lr, load_data, upper_bits
from aigc_jax.experiment import Experiment
from aigc_jax.methods.likelihood.flow import decode, flow
from aigc_jax.networks.realnvp import gains, realnvp
from aigc_jax.optimizers import cosine
from aigc_jax.training.panels import interpolations, samples

SYSTEMS = ["flow"]
PAPER = "Dinh, Sohl-Dickstein and Bengio 2017, Density estimation using Real NVP, arXiv:1605.08803"
PRESETS = {
    "paper": {},
    "imagenet-32": dict(data="tfds:downsampled_imagenet/32x32", downscales=3, width=32, blocks=4, mirror=False),
    "imagenet-64": dict(data="tfds:downsampled_imagenet/64x64", size=64, downscales=4, width=32, blocks=2, mirror=False),
    "cifar": dict(data="files:cifar10_subset", steps=1_000, width=16, blocks=1, lr_end=0.01),
    "laptop": dict(
        data="digits", size=8, channels=1, bits=4, mirror=False,
        steps=2_000, width=32, blocks=0, lr=3e-3, lr_end=0.01,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/bpd", value=2.08, tolerance=0.04, direction="min", device="2 CPU cores", minutes=3),
}


def experiment(
    *,
    data: str = "tfds:cifar10",
    size: int = 32,
    channels: int = 3,
    bits: int = 8,  # of a grey level
    mirror: bool = True,  # section 4.1: half of the pictures left to right; not those of ImageNet
    steps: int = 500_000,  # ours: to convergence
    batch_size: int = 64,  # section 4.1
    seed: int = 0,
    downscales: int = 1,  # section 4.1: once for CIFAR-10, else down to 4 x 4
    width: int = 64,  # section 4.1: 64 maps for CIFAR-10, else 32
    blocks: int = 8,  # section 4.1: 8 for CIFAR-10, 4 for other pictures of 32 x 32, 2 for 64 x 64
    couplings: int = 3,  # section 3.6: by checkerboard and by channel at a scale, one more at the last
    temperature: float = 1.0,
    lr: float = 1e-3,  # section 4.1
    lr_end: float = 1.0,  # share of lr at the last step, along a cosine
    decay: float = 5e-5,  # section 4.1: L2 on the gains of weight normalisation
    clip: float = 100.0,  # of the global norm of the gradient, as released
) -> Experiment:
    bijector, levels = realnvp((size, size, channels), downscales, width, blocks, couplings=couplings), 2**bits
    decayed = optax.add_decayed_weights(decay, gains)
    adam = optax.adam(cosine(lr, steps, end=lr_end * lr))
    train = compose(upper_bits(bits), flip_lr) if mirror else upper_bits(bits)
    spec = {"image": ((size, size, channels), "float32")}
    return Experiment(
        method=flow(bijector, optax.chain(optax.clip_by_global_norm(clip), decayed, adam), levels=levels,
                    temperature=temperature),
        data=load_data(data, batch_size=batch_size, spec=spec, train=train, evaluate=upper_bits(bits)),
        steps=steps,
        seed=seed,
        panels={"samples": samples(64), "interpolations": interpolations(partial(decode, bijector, levels=levels))},
    )  # fmt: skip


if __name__ == "__main__":
    run_file(__file__)
