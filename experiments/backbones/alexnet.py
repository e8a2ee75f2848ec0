"""AlexNet: five convolutions and three linear layers, in two towers or one.

    aigc train alexnet --preset laptop                            handwritten digits, 8 x 8
    aigc train alexnet                                            ImageNet as a prepared TFDS set

The learning rate falls three times at fixed places, where the paper waits for a standstill. Training sees random squares of
pictures whose shorter side is 256, mirrored, but without the shift of colours along their principal components; evaluation
the middle square once, where the paper averages ten crops.

The laptop run has an eighth of the channels, hidden layers of 64 and a first convolution of 3 x 3 without stride, on digits
enlarged to 16 x 16; initialisation of He, since the paper's suits layers with thousands of inputs. It reaches 98 % on
the digits held out.
"""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.cli import run_file
from aigc_jax.data import labelled_images
from aigc_jax.experiment import Experiment
from aigc_jax.methods.supervised import classifier
from aigc_jax.networks.alexnet import SIZES, AlexNet
from aigc_jax.optimizers import falling, optimizer
from aigc_jax.pretrained import network

SYSTEMS = ["alexnet"]
PAPER = "Krizhevsky et al. 2012, ImageNet Classification with Deep Convolutional Neural Networks"
PRESETS = {
    "paper": {},
    "two-tower": dict(net="two-tower"),
    "one-weird-trick": dict(net="one-weird-trick", size=224),
    "laptop": dict(width=0.125, hidden=64, stem=(3, 1, 1), grid=1, weights="he_normal", data="digits", classes=10, size=16,
                   channels=1, crops="scaled", pad=1, flip=False, steps=800, batch_size=64, lr=0.02, falls=(),
                   warmup=20),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/accuracy", value=0.978, tolerance=0.013, direction="max", device="2 CPU cores",
                   minutes=1),
}  # fmt: skip


def experiment(
    *,
    net: Literal["two-tower", "one-weird-trick"] = "two-tower",  # figure 2; arXiv:1404.5997
    width: float = 1.0,  # factor on the channels of the convolutions
    hidden: int = 4096,
    stem: tuple[int, ...] = (),  # kernel, stride and padding of the first layer, instead of the net's
    grid: int = 6,  # side of the map that the linear layers read
    weights: Literal["", "normal", "fan_in", "he_normal"] = "",  # initialisation, instead of the net's
    dropout: float = 0.5,
    published: dict[str, Any] | None = None,  # config.json of published weights: their network instead, see --init-from
    data: str = "tfds:imagenet2012",
    classes: int = 1000,
    size: int = 227,  # the paper says 224, its 55 x 55 positions come of 227
    channels: int = 3,
    crops: Literal["resized", "shorter", "padded", "scaled"] = "shorter",
    pad: int = 0,
    flip: bool = True,
    steps: int = 900_000,  # section 5: 90 epochs
    batch_size: int = 128,
    lr: float = 0.01,
    falls: tuple[float, ...] = (0.4, 0.7, 0.9),  # of the steps, where the rate falls to a tenth; () is a cosine to 0
    warmup: int = 0,  # steps at a tenth of the rate
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    smoothing: float = 0.0,
    half: bool = False,  # compute in bfloat16
    micro_batches: int = 1,
    seed: int = 0,
) -> Experiment:
    dtype = "bfloat16" if half else None
    fields = {**SIZES[net], **({"stem": stem} if stem else {}), **({"weights": weights} if weights else {})}
    fields["widths"] = tuple(round(channels * width) for channels in SIZES[net]["widths"])
    model = AlexNet(classes, **fields, grid=grid, hidden=hidden, dropout=dropout, dtype=dtype)
    if published:
        model = network(published, classes=classes, dropout=dropout, dtype=dtype)
    rate = falling(lr, steps, falls, warmup)
    tx = optimizer("sgd", rate, weight_decay=weight_decay, everywhere=True, momentum=momentum)
    loaded = labelled_images(data, batch_size=batch_size, size=size, channels=channels, classes=classes, crops=crops,
                             pad=pad, share=min(size / 256, 1.0), flip=flip)  # fmt: skip
    return Experiment(classifier(model, tx, smoothing=smoothing, micro_batches=micro_batches), loaded, steps, seed)


if __name__ == "__main__":
    run_file(__file__)
