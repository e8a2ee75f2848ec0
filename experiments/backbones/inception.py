"""Inception: GoogLeNet with its auxiliary heads, and Inception v3.

    aigc train inception --preset laptop                          handwritten digits, 8 x 8
    aigc train inception                                          GoogLeNet, ImageNet as a prepared TFDS set
    aigc train inception --preset v3                              arXiv:1512.00567

Presets without "auxiliary" are the nets as they answer; heads for training alone are left out. "fid" is the network behind
the Frechet distance with its 1008 outputs: not trained here, but the shape of its published weights.

The paper of GoogLeNet tells little of its training: the decline of the rate and the averaging of parameters are its own, rate
and weight decay those of the released Caffe model, the batch is our choice. Evaluation sees the middle square once.

The laptop run is GoogLeNet with two of its nine modules at an eighth of their channels, one auxiliary head, and one
3 x 3 convolution for a stem, on the digits as they are. It reaches 98 % on the digits held out.
"""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.cli import run_file
from aigc_jax.data import labelled_images
from aigc_jax.experiment import Experiment
from aigc_jax.methods.supervised import classifier
from aigc_jax.networks.googlenet import STAGES, GoogLeNet
from aigc_jax.networks.inception import InceptionV3
from aigc_jax.optimizers import Kind, falling, optimizer, rising, stairs
from aigc_jax.pretrained import network

SYSTEMS = ["inception"]
PAPER = "Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842"
V3 = dict(net="v3", dropout=0.2, size=299, steps=80_000, batch_size=1600, optimizer_name="rmsprop", lr=0.045, factor=0.94,
          every=1600, clip=2.0, eps=1.0, weight_decay=4e-5, smoothing=0.1)  # fmt: skip
PRESETS = {
    "paper": {},
    "googlenet": dict(auxiliary=0.0),
    "googlenet-auxiliary": {},
    "batch-norm": dict(batch_norm=True, dropout=0.2, auxiliary=0.0),
    "batch-norm-auxiliary": dict(batch_norm=True, dropout=0.2),
    "v3": dict(**V3, auxiliary=0.0),
    "v3-auxiliary": dict(**V3, auxiliary=0.4),
    "fid": dict(net="fid", classes=1008, size=299, auxiliary=0.0),
    "laptop": dict(stages=("4a", "5b"), width=0.125, stem="cifar", data="digits", classes=10, size=8, channels=1,
                   crops="padded", pad=1, flip=False, steps=800, batch_size=64, lr=0.05, factor=1.0, ema=0.0),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="eval/accuracy", value=0.977, tolerance=0.01, direction="max", device="2 CPU cores",
                   minutes=1),
}  # fmt: skip


def experiment(
    *,
    net: Literal["googlenet", "v3", "fid"] = "googlenet",
    stages: tuple[str, ...] = (),  # of GoogLeNet, instead of table 1: modules with commas between, "4a,4b" as one stage
    width: float = 1.0,  # factor on every number of channels
    stem: Literal["imagenet", "cifar"] = "imagenet",  # of GoogLeNet
    batch_norm: bool = False,  # GoogLeNet as torchvision publishes it
    auxiliary: float = 0.3,  # section 5: weight of the heads; 0 leaves them out
    dropout: float = 0.4,
    published: dict[str, Any] | None = None,  # config.json of published weights: their network instead, see --init-from
    data: str = "tfds:imagenet2012",
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    crops: Literal["resized", "shorter", "padded", "scaled"] = "resized",
    pad: int = 0,
    flip: bool = True,
    steps: int = 1_250_000,  # 250 epochs
    batch_size: int = 256,
    optimizer_name: Kind = "sgd",
    lr: float = 0.01,
    factor: float = 0.96,  # section 6: the rate falls by 4 % every 8 epochs; 1 is a cosine to 0
    every: int = 40_000,
    momentum: float = 0.9,
    clip: float = 0.0,  # largest norm of the gradient
    eps: float = 1e-3,  # of RMSProp
    weight_decay: float = 2e-4,
    smoothing: float = 0.0,
    ema: float = 0.9999,  # section 6: the parameters are averaged
    half: bool = False,  # compute in bfloat16
    micro_batches: int = 1,
    seed: int = 0,
) -> Experiment:
    dtype = "bfloat16" if half else None
    if published:
        model = network(published, classes=classes, auxiliary=auxiliary > 0, dropout=dropout, dtype=dtype)
    elif net == "googlenet":
        chosen = tuple(tuple(stage.split(",")) for stage in stages) or STAGES
        model = GoogLeNet(classes, chosen, width, stem, auxiliary > 0, batch_norm, dropout, dtype=dtype)
    else:
        model = InceptionV3(classes, width=width, auxiliary=auxiliary > 0, fid=net == "fid", dropout=dropout,
                            dtype=dtype)  # fmt: skip
    rate = stairs(lr, factor, every) if factor < 1 else falling(lr, steps, ())
    tx = optimizer(optimizer_name, rate, weight_decay=weight_decay, momentum=momentum, clip=clip, eps=eps)
    loaded = labelled_images(data, batch_size=batch_size, size=size, channels=channels, classes=classes, crops=crops,
                             pad=pad, flip=flip, colours="half")  # fmt: skip
    method = classifier(model, tx, smoothing=smoothing, auxiliary=auxiliary, ema=rising(ema) if ema else None,
                        micro_batches=micro_batches)  # fmt: skip
    return Experiment(method, loaded, steps, seed)


if __name__ == "__main__":
    run_file(__file__)
