"""EfficientNet: depth, width and resolution scaled together, B0 to B7.

    aigc train efficientnet --preset laptop                       handwritten digits, 8 x 8
    aigc train efficientnet --preset b3                           ImageNet as a prepared TFDS set

RandAugment stands for AutoAugment, whose policy was found on the same pictures. The batch of 2048 is that of the released
code; `micro_batches` cuts it for one accelerator.

The laptop run has B0's first four stages with one block each and a stem without stride, on the digits as they are, with
SGD: RMSProp and its average of parameters want many thousands of steps. It reaches 99 % on the digits held out.
"""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.cli import run_file
from aigc_jax.data import labelled_images
from aigc_jax.experiment import Experiment
from aigc_jax.methods.supervised import classifier
from aigc_jax.networks.efficientnet import RESOLUTIONS, SIZES, STAGES, EfficientNet
from aigc_jax.optimizers import Kind, falling, optimizer, rising, stairs
from aigc_jax.pretrained import network

SYSTEMS = ["efficientnet"]
PAPER = "Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, arXiv:1905.11946"
PRESETS = {
    "paper": {},
    "b0": dict(net="b0"),
    "b1": dict(net="b1"),
    "b2": dict(net="b2"),
    "b3": dict(net="b3"),
    "b4": dict(net="b4"),
    "b5": dict(net="b5"),
    "b6": dict(net="b6"),
    "b7": dict(net="b7"),
    "laptop": dict(net="b0", stages=4, depth=0.3, head=160, stem_stride=1, drop_connect=0.0, data="digits", classes=10,
                   size=8, channels=1, crops="padded", pad=1, flip=False, magnitude=0.0, ema=0.0, steps=800,
                   batch_size=64, optimizer_name="sgd", lr=0.1, factor=1.0, momentum_of_norms=0.9, smoothing=0.0),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/accuracy", value=0.988, tolerance=0.012, direction="max", device="2 CPU cores",
                   minutes=1),
}  # fmt: skip


def experiment(
    *,
    net: Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"] = "b7",  # table 2
    stages: int = 7,  # of table 1, the first ones
    width: float | None = None,  # coefficients instead of the net's
    depth: float | None = None,
    head: int = 1280,  # channels of the last convolution, before scaling
    stem_stride: int = 2,
    padding: Literal["SAME", "symmetric"] = "SAME",  # as TensorFlow's weights, or torchvision's
    dropout: float | None = None,  # instead of the net's
    drop_connect: float = 0.2,
    momentum_of_norms: float = 0.99,
    published: dict[str, Any] | None = None,  # config.json of published weights: their network instead, see --init-from
    data: str = "tfds:imagenet2012",
    classes: int = 1000,
    size: int | None = None,  # instead of the net's
    channels: int = 3,
    crops: Literal["resized", "shorter", "padded", "scaled"] = "resized",
    pad: int = 0,
    flip: bool = True,
    magnitude: float = 9.0,  # of RandAugment
    smoothing: float = 0.1,
    ema: float = 0.9999,  # decay of the averaged parameters and statistics; 0 keeps none
    steps: int = 219_000,  # 350 epochs
    batch_size: int = 2048,
    optimizer_name: Kind = "rmsprop",
    lr: float = 0.128,  # 0.016 for 256 pictures
    factor: float = 0.97,  # the rate falls to this share every 2.4 epochs; 1 is a cosine to 0
    every: int = 1500,
    warmup: int = 3130,  # 5 epochs
    momentum: float = 0.9,
    weight_decay: float = 1e-5,
    half: bool = False,  # compute in bfloat16
    micro_batches: int = 1,
    seed: int = 0,
) -> Experiment:
    given = {"width": width, "depth": depth, "dropout": dropout}
    fields: dict[str, Any] = {**SIZES[net], **{name: value for name, value in given.items() if value is not None}}
    options: dict[str, Any] = dict(drop_connect=drop_connect, momentum=momentum_of_norms,
                                   dtype="bfloat16" if half else None)  # fmt: skip
    if published:
        model = network(published, classes=classes, dropout=fields["dropout"], **options)
    else:
        model = EfficientNet(classes, **fields, stages=STAGES[:stages], head=head, stem_stride=stem_stride,
                             padding=padding, **options)  # fmt: skip
    rate = stairs(lr, factor, every, warmup) if factor < 1 else falling(lr, steps, ())
    tx = optimizer(optimizer_name, rate, weight_decay=weight_decay, momentum=momentum)
    side = size or RESOLUTIONS[net]
    loaded = labelled_images(data, batch_size=batch_size, size=side, channels=channels, classes=classes, crops=crops,
                             pad=pad, share=side / (side + 32), flip=flip, magnitude=magnitude)  # fmt: skip
    method = classifier(model, tx, smoothing=smoothing, ema=rising(ema) if ema else None, micro_batches=micro_batches)
    return Experiment(method, loaded, steps, seed)


if __name__ == "__main__":
    run_file(__file__)
