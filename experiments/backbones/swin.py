"""Swin: image classification by attention within shifted windows, in four stages of falling resolution, T to L.

    aigc train swin --preset laptop                               handwritten digits, 8 x 8
    aigc train swin --preset t                                    ImageNet as a prepared TFDS set
    aigc train swin --preset b-384 --init-from DIR                fine-tuning at 384 with windows of 12

The default is the largest net, at the recipe of ImageNet-1k that the paper gives for T, S and B; its own figures come
after training on ImageNet-22k (batch 4096, 90 epochs). RandAugment and random erasing at the released strengths; no
average of parameters and no repeated augmentation, which did not help there.

The laptop run has patches of 2 x 2 on pictures of 8 x 8, two stages on maps of 4 x 4 and 2 x 2, windows of 2 x 2 that
the second block shifts, and a width of 32; it reaches 97 % on the digits held out.
"""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.cli import run_file
from aigc_jax.data import labelled_images
from aigc_jax.experiment import Experiment, override
from aigc_jax.methods.supervised import Mix, classifier
from aigc_jax.methods.supervised.resolution import refit_positions
from aigc_jax.networks.swin import SIZES, Swin
from aigc_jax.optimizers import cosine, optimizer
from aigc_jax.pretrained import network

SYSTEMS = ["swin"]
PAPER = "Liu et al., Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, arXiv:2103.14030"
PRESETS = {
    "paper": {},
    "t": dict(net="T", drop_path=0.2),
    "s": dict(net="S", drop_path=0.3),
    "b": dict(net="B", drop_path=0.5),
    "l": dict(net="L", drop_path=0.2),
    "b-384": dict(net="B", window=12, size=384, drop_path=0.5, steps=37_500, lr=4e-5, warmup=6250, weight_decay=1e-8),
    "l-384": dict(net="L", window=12, size=384, drop_path=0.2, steps=37_500, lr=4e-5, warmup=6250, weight_decay=1e-8),
    "laptop": dict(net="T", width=32, depths=(2, 1), heads=(2, 4), patch=2, window=2, drop_path=0.0, size=8, channels=1,
                   data="digits", classes=10, crops="padded", pad=1, flip=False, magnitude=0.0, erasing=0.0, mixup=0.0,
                   cutmix=0.0, steps=2000, batch_size=32, lr=1e-3, warmup=100, remat=False, half=False),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(
        metric="eval/accuracy", value=0.967, tolerance=0.018, direction="max", device="2 CPU cores", minutes=1
    ),
}


def experiment(
    *,
    net: Literal["T", "S", "B", "L"] = "L",  # section 3.3
    width: int | None = None,  # instead of the net's, and so depths and heads of its stages
    depths: tuple[int, ...] | None = None,
    heads: tuple[int, ...] | None = None,
    patch: int = 4,
    window: int = 7,
    drop_path: float = 0.2,  # section A2: 0.2, 0.3, 0.5 for T, S, B
    published: dict[str, Any] | None = None,  # config.json of published weights: their network instead, see --init-from
    data: str = "tfds:imagenet2012",
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    crops: Literal["resized", "shorter", "padded", "scaled"] = "resized",
    pad: int = 0,
    flip: bool = True,
    magnitude: float = 9.0,  # of RandAugment
    erasing: float = 0.25,
    mixup: float = 0.8,
    cutmix: float = 1.0,
    smoothing: float = 0.1,
    steps: int = 375_000,  # section A2.1: 300 epochs
    batch_size: int = 1024,
    lr: float = 1e-3,
    warmup: int = 25_000,  # 20 epochs
    weight_decay: float = 0.05,
    clip: float = 5.0,  # of the gradient's norm
    remat: bool = True,  # activations of a block again in the backward pass
    half: bool = True,  # compute in bfloat16
    micro_batches: int = 1,
    seed: int = 0,
) -> Experiment:
    fields = override(SIZES[net], width=width, depths=depths, heads=heads)
    options: dict[str, Any] = dict(drop_path=drop_path, remat=remat, dtype="bfloat16" if half else None)
    if published:
        model = network(published, classes=classes, **options)
    else:
        model = Swin(classes, patch, **fields, window=window, **options)
    rate = cosine(lr, steps, warmup, start=lr / 1000, end=lr / 100)  # released: from 5e-7 to 5e-6 at 5e-4
    tx = optimizer("adamw", rate, weight_decay=weight_decay, clip=clip)
    mix = Mix(mixup, cutmix) if mixup or cutmix else None
    method = classifier(model, tx, smoothing=smoothing, mix=mix,
                        micro_batches=micro_batches)  # fmt: skip
    loaded = labelled_images(data, batch_size=batch_size, size=size, channels=channels, classes=classes, crops=crops,
                             pad=pad, flip=flip, magnitude=magnitude, erasing=erasing)  # fmt: skip
    return Experiment(method, loaded, steps, seed, refit=refit_positions())


if __name__ == "__main__":
    run_file(__file__)
