"""PixelCNN++: whole pixels, two streams at three resolutions, a mixture of logistics; exact likelihood, draws, completions.

    aigc train pixelcnn_pp --preset laptop --workdir runs/pixelcnn_pp
    aigc train pixelcnn_pp --preset cifar-small --data files:DIR --workdir runs/pixelcnn_pp-cifar       # DIR is cifar10_subset

The paper preset is the CIFAR-10 model of the released code (53,659,080 parameters; published: 2.92 bits per dimension),
`conditional` the same told the class (2.94): both for an accelerator. `cifar-small` is a fifth of its width with one resnet in
place of five, for two cores and 20,000 pictures: after 800 of its steps the loss is 4.3 bits per dimension (one Gaussian gives
4.74 on the test set); it was not run to its end. `laptop` draws digits in 17 levels of grey, at two resolutions; independent
pixels give 2.43 bits per dimension there.
"""

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import load_pixels
from aigc_jax.experiment import Experiment
from aigc_jax.methods.likelihood.pixels import completions, pixels
from aigc_jax.networks.pixelcnn_pp import PixelCNNpp
from aigc_jax.probability.pixel_outputs import logistics
from aigc_jax.training.panels import samples

SYSTEMS = ["pixelcnn_pp"]
PAPER = "Salimans et al. 2017, PixelCNN++: PixelCNN with discretized logistic mixture likelihood, arXiv:1701.05517"
PRESETS = {
    "paper": {},
    "conditional": dict(classes=10),
    "cifar-small": dict(
        data="files:cifar10_subset", width=32, resnets=1, dropout=0.0, batch_size=16, steps=2_000, lr=2e-3, lr_decay=0.9988,
        ema=0.99,
    ),
    "laptop": dict(
        data="digits", size=8, colours=1, levels=17, width=16, resnets=1, resolutions=2, components=5, dropout=0.1,
        batch_size=32, steps=1_600, lr_decay=0.998, ema=0.99,
    ),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/bpd", value=1.83, tolerance=0.03, direction="min", device="2 CPU cores", minutes=2),
}


def experiment(
    *,
    data: str = "tfds:cifar10",
    size: int = 32,
    colours: int = 3,
    levels: int = 256,
    classes: int = 0,  # the network is told the class
    steps: int = 400_000,  # ours
    batch_size: int = 128,  # 16 on each of 8 devices
    seed: int = 0,
    width: int = 160,
    resnets: int = 5,  # at each resolution, in each stream, on the way down
    resolutions: int = 3,
    components: int = 10,  # of the mixture
    dropout: float = 0.5,
    lr: float = 1e-3,
    lr_decay: float = 0.999995,  # each step
    ema: float = 0.9995,  # decay of an average of the parameters, by which is evaluated
    temperature: float = 1.0,  # of draws
) -> Experiment:
    output = logistics(components, colours, levels)
    network = PixelCNNpp(
        levels=levels, outputs=output.size, classes=classes, width=width, resnets=resnets, resolutions=resolutions,
        dropout=dropout,
    )  # fmt: skip
    # the released code has eps under the root, of gradients of sums over the batch
    tx = optax.adam(optax.exponential_decay(lr, 1, lr_decay), 0.95, 0.9995, eps=0.0, eps_root=1e-8 / batch_size**2)
    return Experiment(
        method=pixels(network, output, tx, classes=classes, ema=ema, temperature=temperature),
        data=load_pixels(data, batch_size=batch_size, size=size, colours=colours, levels=levels, classes=classes),
        steps=steps,
        seed=seed,
        panels={"samples": samples(64), "completions": completions()},
    )


if __name__ == "__main__":
    run_file(__file__)
