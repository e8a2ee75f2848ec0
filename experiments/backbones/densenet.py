"""DenseNet: every layer reads the features of all before it.

    aigc train densenet --preset laptop                           handwritten digits, 8 x 8
    aigc train densenet --preset cifar-bc-100-12                  CIFAR-10 as a prepared TFDS set
    aigc train densenet --preset 121                              ImageNet as a prepared TFDS set

Presets of CIFAR are named by layers and growth rate; they see pictures moved by up to four pixels and mirrored (C10+, C100+ of
table 2). `--pad 0 --flip False --dropout 0.2` is the setting without.

The laptop run is a BC net of 16 layers with growth rate 12 on the digits as they are. It reaches 99 % on the digits held out.
"""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.cli import run_file
from aigc_jax.data import labelled_images
from aigc_jax.experiment import Experiment
from aigc_jax.methods.supervised import classifier
from aigc_jax.networks.densenet import SIZES, DenseNet, cifar
from aigc_jax.optimizers import falling, optimizer
from aigc_jax.pretrained import network

SYSTEMS = ["densenet"]
PAPER = "Huang et al., Densely Connected Convolutional Networks, arXiv:1608.06993"
PRESETS = {
    "paper": {},
    "121": dict(depth=121),
    "169": dict(depth=169),
    "201": dict(depth=201),
    "264": dict(depth=264),
    "161": dict(depth=161),
    "cifar-40-12": dict(net="cifar", depth=40, growth=12, data="tfds:cifar10", classes=10, size=32, pad=4,
                        steps=234_375, batch_size=64, falls=(0.5, 0.75)),
    "cifar-100-12": dict(net="cifar", depth=100, growth=12, data="tfds:cifar10", classes=10, size=32, pad=4,
                         steps=234_375, batch_size=64, falls=(0.5, 0.75)),
    "cifar-100-24": dict(net="cifar", depth=100, growth=24, data="tfds:cifar10", classes=10, size=32, pad=4,
                         steps=234_375, batch_size=64, falls=(0.5, 0.75)),
    "cifar-bc-100-12": dict(net="cifar-bc", depth=100, growth=12, data="tfds:cifar10", classes=10, size=32, pad=4,
                            steps=234_375, batch_size=64, falls=(0.5, 0.75)),
    "cifar-bc-250-24": dict(net="cifar-bc", depth=250, growth=24, data="tfds:cifar10", classes=10, size=32, pad=4,
                            steps=234_375, batch_size=64, falls=(0.5, 0.75)),
    "cifar-bc-190-40": dict(net="cifar-bc", depth=190, growth=40, data="tfds:cifar10", classes=10, size=32, pad=4,
                            steps=234_375, batch_size=64, falls=(0.5, 0.75)),
    "cifar100-bc-100-12": dict(net="cifar-bc", depth=100, growth=12, data="tfds:cifar100", classes=100, size=32, pad=4,
                               steps=234_375, batch_size=64, falls=(0.5, 0.75)),
    "laptop": dict(net="cifar-bc", depth=16, growth=12, data="digits", classes=10, size=8, channels=1, pad=1, flip=False,
                   steps=800, batch_size=64, falls=()),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/accuracy", value=0.99, tolerance=0.01, direction="max", device="2 CPU cores",
                   minutes=1),
}  # fmt: skip


def experiment(
    *,
    net: Literal["imagenet", "cifar", "cifar-bc"] = "imagenet",  # table 1; section 3.4
    depth: int = 121,
    growth: int = 12,  # of CIFAR nets: k
    dropout: float = 0.0,  # 0.2 where pictures are not augmented
    remat: bool = False,  # activations again in the backward pass, arXiv:1707.06990
    published: dict[str, Any] | None = None,  # config.json of published weights: their network instead, see --init-from
    data: str = "tfds:imagenet2012",
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    pad: int = 0,
    flip: bool = True,
    steps: int = 450_000,  # section 4.2: 90 epochs
    batch_size: int = 256,
    lr: float = 0.1,
    falls: tuple[float, ...] = (1 / 3, 2 / 3),  # of the steps, where the rate falls to a tenth; () is a cosine to 0
    momentum: float = 0.9,  # Nesterov's
    weight_decay: float = 1e-4,
    smoothing: float = 0.0,
    half: bool = False,  # compute in bfloat16
    micro_batches: int = 1,
    seed: int = 0,
) -> Experiment:
    fields = SIZES[str(depth)] if net == "imagenet" else cifar(depth, growth, compressed=net == "cifar-bc")
    options: dict[str, Any] = dict(dropout=dropout, remat=remat, dtype="bfloat16" if half else None)
    model = network(published, classes=classes, **options) if published else DenseNet(classes, **fields, **options)
    rate = falling(lr, steps, falls)
    tx = optimizer("nesterov", rate, weight_decay=weight_decay, everywhere=True, momentum=momentum)
    crops, colours = ("resized", "imagenet") if net == "imagenet" else ("padded", "cifar")
    loaded = labelled_images(data, batch_size=batch_size, size=size, channels=channels, classes=classes, crops=crops,
                             pad=pad, flip=flip, colours=colours)  # fmt: skip
    return Experiment(classifier(model, tx, smoothing=smoothing, micro_batches=micro_batches), loaded, steps, seed)


if __name__ == "__main__":
    run_file(__file__)
