"""NICE, a flow of additive couplings, on pictures; bits per dimension.

    aigc train nice --preset laptop --workdir runs/nice

The laptop run, 8 x 8 patches of two photographs, reaches 4.5 bits a dimension of test patches (8 bits, uniform
dequantisation); one Gaussian with full covariance gives 4.69, independent histograms of channels and places 7.44. On the
1,437 digits it learns the training set by heart. The log-likelihoods of the paper are D ln 256 - nll.
"""

from functools import partial

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import load_data, upper_bits
from aigc_jax.experiment import Experiment
from aigc_jax.methods.likelihood.flow import Noise, decode, flow
from aigc_jax.networks.nice import nice
from aigc_jax.optimizers import cosine
from aigc_jax.training.panels import interpolations, samples

SYSTEMS = ["flow"]
PAPER = "Dinh, Krueger and Bengio 2014, NICE: Non-linear independent components estimation, arXiv:1410.8516"
PRESETS = {
    "paper": {},
    "cifar10": dict(data="tfds:cifar10", size=32, channels=3, hidden=(2000, 2000, 2000, 2000)),
    "laptop": dict(
        data="patches:8", size=8, channels=3, steps=3_000, batch_size=128, hidden=(128, 128), lr=4e-3, lr_end=0.01,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/bpd", value=4.52, tolerance=0.1, direction="min", device="2 CPU cores", minutes=1),
}


def experiment(
    *,
    data: str = "tfds:mnist",
    size: int = 28,
    channels: int = 1,
    bits: int = 8,  # of a grey level
    steps: int = 450_000,  # section 5.1: 1500 epochs; the batch size is ours
    batch_size: int = 200,
    seed: int = 0,
    couplings: int = 4,  # section 5.1
    hidden: tuple[int, ...] = (1000,) * 5,  # section 5.1
    noise: Noise = "logistic",  # section 5.1
    temperature: float = 1.0,
    lr: float = 1e-3,  # section 5.1: Adam with beta_2 0.99 and epsilon 1e-4
    lr_end: float = 1.0,  # share of lr at the last step, along a cosine
) -> Experiment:
    bijector, levels = nice((size, size, channels), couplings, hidden), 2**bits
    tx = optax.adam(cosine(lr, steps, end=lr_end * lr), b2=0.99, eps=1e-4)
    spec = {"image": ((size, size, channels), "float32")}
    return Experiment(
        method=flow(bijector, tx, levels=levels, noise=noise, temperature=temperature),
        data=load_data(data, batch_size=batch_size, spec=spec, train=upper_bits(bits), evaluate=upper_bits(bits)),
        steps=steps,
        seed=seed,
        panels={"samples": samples(64), "interpolations": interpolations(partial(decode, bijector, levels=levels))},
    )


if __name__ == "__main__":
    run_file(__file__)
