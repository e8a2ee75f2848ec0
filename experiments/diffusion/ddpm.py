"""DDPM on digits, class by class with classifier-free guidance: bits per dimension, ancestral and DDIM sampling.

aigc train ddpm --preset laptop --workdir runs/ddpm
aigc sample runs/ddpm --n 100 --guidance 1 --sampler ancestral

`laptop` draws 8 x 8 digits, 50 of each class. `svm/agreement` is the share of them that a classifier of real digits assigns
the class asked for: 0.99, where its accuracy on real test digits (`svm/real_accuracy`) is 0.98.
"""

from typing import Literal

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import compose, flip_lr, images, load_data, scale
from aigc_jax.evals.agreement import Agreement
from aigc_jax.experiment import Experiment
from aigc_jax.methods.diffusion import schedule as schedules
from aigc_jax.methods.diffusion.ddpm import FullBound, ddpm
from aigc_jax.methods.diffusion.panels import denoising_strip
from aigc_jax.methods.diffusion.samplers import ancestral, ddim
from aigc_jax.networks.unet import UNet
from aigc_jax.training.panels import class_grid

SYSTEMS = ["ddpm"]
PAPER = "Ho, Jain and Abbeel 2020, Denoising diffusion probabilistic models, arXiv:2006.11239"
PRESETS = {
    "paper": {},
    "256": dict(
        data="tfds:lsun/bedroom", size=256, multipliers=(1, 1, 2, 2, 4, 4), dropout=0.0, lr=2e-5, batch_size=64,
        steps=2_400_000,
    ),
    "laptop": dict(
        data="digits", size=8, channels=1, classes=10, flip=False, width=16, multipliers=(1, 2), blocks=1, attention=(),
        groups=8, dropout=0.0, steps=1_500, batch_size=64, lr=2e-3, warm_up=50, lr_end=0.05, ema=0.995,
        variance="fixed_small", sampler="ddim", sample_steps=25, guidance=1.5, clip="x0_and_eps", bound_images=20,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(
        metric="svm/agreement", value=0.985, tolerance=0.015, direction="max", device="2 CPU cores", minutes=3,
    ),
}  # fmt: skip


def experiment(
    *,
    data: str = "tfds:cifar10",
    size: int = 32,
    channels: int = 3,
    classes: int | None = None,  # the paper's models are unconditional
    flip: bool = True,  # appendix B
    width: int = 128,  # appendix B: 35.7 million parameters
    multipliers: tuple[int, ...] = (1, 2, 2, 2),
    blocks: int = 2,
    attention: tuple[int, ...] = (16,),
    heads: int = 1,
    groups: int = 32,
    dropout: float = 0.1,  # appendix B: 0.1 for CIFAR-10, 0 elsewhere
    noise_steps: int = 1000,  # section 4: T
    schedule: Literal["linear", "cosine"] = "linear",  # section 4: from 1e-4 to 0.02
    variance: Literal["fixed_large", "fixed_small"] = "fixed_large",  # section 3.2; the headline FID is fixed_large
    steps: int = 800_000,  # appendix B
    batch_size: int = 128,
    lr: float = 2e-4,
    lr_end: float = 1.0,  # share of lr at the last step, along a cosine
    warm_up: int = 5000,  # released code
    clip_norm: float = 1.0,  # released code
    ema: float = 0.9999,  # appendix B
    drop_label: float = 0.1,  # arXiv:2207.12598, section 4: 0.1 or 0.2; of conditional models alone
    sampler: Literal["ancestral", "ddim"] = "ancestral",
    sample_steps: int = 1000,
    eta: float = 0.0,  # noise of ddim: 0 none, 1 as ancestral
    guidance: float = 1.0,  # 1 is the conditional model
    clip: Literal["none", "x0", "x0_and_eps"] = "x0",  # released code; ddim wants x0_and_eps: see samplers.sample
    bound_images: int | None = None,  # of the evaluation split, for the full bound; None is all
    seed: int = 0,
) -> Experiment:
    chain = schedules.linear(noise_steps) if schedule == "linear" else schedules.cosine(noise_steps)
    rows = schedules.spaced(noise_steps, sample_steps, "even")
    respaced = schedules.respace(chain, rows)
    way_back = ancestral(respaced, variance) if sampler == "ancestral" else ddim(respaced, eta)
    net = UNet(width=width, multipliers=multipliers, blocks=blocks, attention=attention, heads=heads, groups=groups,
               dropout=dropout, num_classes=classes)  # fmt: skip
    rise, decay = optax.linear_schedule(0.0, lr, max(warm_up, 1)), optax.cosine_decay_schedule(1.0, steps, lr_end)
    tx = optax.chain(optax.clip_by_global_norm(clip_norm), optax.adam(lambda count: rise(count) * decay(count)))
    method = ddpm(net, tx, chain, ema=ema, drop_label=drop_label, variance=variance, steps=way_back, guidance=guidance,
                  clip=clip)  # fmt: skip
    to_model = scale(-1, 1)
    spec = {"image": ((size, size, channels), "float32")} | ({"label": ((), "int32", classes)} if classes else {})
    bound = {"bound": FullBound(net, chain, variance, bound_images)}
    strip = {"denoising": denoising_strip(net, way_back, guidance, clip)}
    return Experiment(
        method=method,
        data=load_data(data, batch_size=batch_size, spec=spec, train=compose(flip_lr, to_model) if flip else to_model,
                       evaluate=to_model, decode=images(-1, 1)),
        steps=steps,
        seed=seed,
        evals=bound | ({"svm": Agreement()} if classes else {}),
        panels=strip | ({"classes": class_grid(classes)} if classes else {}),
    )  # fmt: skip


if __name__ == "__main__":
    run_file(__file__)
