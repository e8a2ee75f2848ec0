"""ViT: image classification by a transformer over patches of 16 x 16 pixels, Ti to H.

    aigc train vit --preset laptop                                handwritten digits, 8 x 8
    aigc train vit --preset b-16                                  ImageNet as a prepared TFDS set, from scratch
    aigc train vit --preset b-16-384 --init-from DIR              fine-tuning at a higher resolution

The paper's largest net saw JFT, which is not public; the default is what it did on ImageNet-21k instead, with the layer
before the head that only this pre-training has. The presets b-16 and so on train on ImageNet from scratch, those with 384
fine-tune as in table 4; Ti and S are not the paper's, but DeiT's. Pictures are random-resized crops and mirrored, as in the
released code.

The laptop run has patches of 2 x 2 on pictures of 8 x 8, a width of 64 and two blocks, and reaches 97 % on the digits
held out; its report shows where the class token looks.
"""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.cli import run_file
from aigc_jax.data import labelled_images
from aigc_jax.experiment import Experiment, override
from aigc_jax.methods.supervised import classifier
from aigc_jax.methods.supervised.attention_maps import rollout_panel
from aigc_jax.methods.supervised.resolution import refit_positions
from aigc_jax.networks.vit import SIZES, ViT
from aigc_jax.optimizers import cosine, linear
from aigc_jax.optimizers import optimizer as named
from aigc_jax.pretrained import network

SYSTEMS = ["vit"]
PAPER = (
    "Dosovitskiy et al., An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, arXiv:2010.11929"
)
SCRATCH = dict(
    classes=1000,
    representation=False,
    data="tfds:imagenet2012",
    steps=93_800,
    lr=3e-3,
    weight_decay=0.3,
    decay="cosine",
)  # table 3, ImageNet
FINE_TUNED = dict(
    size=384,
    classes=1000,
    representation=False,
    data="tfds:imagenet2012",
    optimizer="sgd",
    steps=20_000,
    batch_size=512,
    lr=0.03,
    warmup=500,
    weight_decay=0.0,
    decay="cosine",
    dropout=0.0,
)  # table 4
PRESETS = {
    "paper": {},
    "b-16-in21k": dict(net="B", patch=16),
    "l-16-in21k": dict(net="L", patch=16),
    "h-14-in21k": dict(net="H", patch=14),
    "ti-16": dict(**SCRATCH, net="Ti", patch=16),
    "s-16": dict(**SCRATCH, net="S", patch=16),
    "b-16": dict(**SCRATCH, net="B", patch=16),
    "l-16": dict(**SCRATCH, net="L", patch=16),
    "h-14": dict(**SCRATCH, net="H", patch=14),
    "ti-32": dict(**SCRATCH, net="Ti", patch=32),
    "s-32": dict(**SCRATCH, net="S", patch=32),
    "b-32": dict(**SCRATCH, net="B", patch=32),
    "l-32": dict(**SCRATCH, net="L", patch=32),
    "b-8": dict(**SCRATCH, net="B", patch=8),
    "ti-16-384": dict(**FINE_TUNED, net="Ti", patch=16),
    "s-16-384": dict(**FINE_TUNED, net="S", patch=16),
    "b-16-384": dict(**FINE_TUNED, net="B", patch=16),
    "l-16-384": dict(**FINE_TUNED, net="L", patch=16),
    "laptop": dict(net="Ti", width=64, depth=2, heads=4, patch=2, size=8, channels=1, data="digits", classes=10,
                   representation=False, crops="padded", flip=False, steps=2500, batch_size=32, lr=1e-3, warmup=100,
                   weight_decay=0.05, decay="cosine", dropout=0.2, scan=False, remat=False, half=False),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(
        metric="eval/accuracy", value=0.967, tolerance=0.012, direction="max", device="2 CPU cores", minutes=1
    ),
}


def experiment(
    *,
    net: Literal["Ti", "S", "B", "L", "H"] = "H",  # table 1
    width: int | None = None,  # instead of the net's, and so depth and heads
    depth: int | None = None,
    heads: int | None = None,
    patch: int = 14,
    pool: Literal["token", "mean"] = "token",
    representation: bool = True,  # section 3.1: in pre-training a hidden layer before the head
    approximate: bool = True,  # the tanh form of GELU, as released
    published: dict[str, Any] | None = None,  # config.json of published weights: their network instead, see --init-from
    data: str = "files:imagenet21k",
    classes: int = 21_843,
    size: int = 224,
    channels: int = 3,
    crops: Literal["resized", "shorter", "padded", "scaled"] = "resized",
    pad: int = 0,
    flip: bool = True,
    steps: int = 312_000,  # table 3: 90 epochs
    batch_size: int = 4096,  # section 4.1
    optimizer: Literal["adamw", "sgd"] = "adamw",  # SGD with momentum 0.9 for fine-tuning
    lr: float = 1e-3,  # table 3
    warmup: int = 10_000,
    decay: Literal["cosine", "linear"] = "linear",
    weight_decay: float = 0.03,
    clip: float = 1.0,  # of the gradient's norm
    dropout: float = 0.1,
    scan: bool = True,  # one compiled block for any depth
    remat: bool = True,  # activations of a block again in the backward pass
    half: bool = True,  # compute in bfloat16
    micro_batches: int = 1,
    seed: int = 0,
) -> Experiment:
    fields = override(SIZES[net], width=width, depth=depth, heads=heads)
    options: dict[str, Any] = dict(dropout=dropout, scan=scan, remat=remat, dtype="bfloat16" if half else None)
    if published:
        model = network(published, classes=classes, **options)
    else:
        model = ViT(classes, patch, **fields, pool=pool, representation=fields["width"] * representation,
                    activation="gelu_new" if approximate else "gelu", **options)  # fmt: skip
    rate = (cosine if decay == "cosine" else linear)(lr, steps, warmup)
    tx = named(optimizer, rate, weight_decay=weight_decay, clip=clip)
    loaded = labelled_images(data, batch_size=batch_size, size=size, channels=channels, classes=classes, crops=crops,
                             pad=pad, flip=flip, colours="half")  # fmt: skip
    panels = {"attention rollout": rollout_panel(model, model.patch)} if model.pool == "token" else {}
    refit = refit_positions(model.places, "bilinear")
    return Experiment(
        classifier(model, tx, micro_batches=micro_batches), loaded, steps, seed, panels=panels, refit=refit
    )


if __name__ == "__main__":
    run_file(__file__)
