"""DeiT: data-efficient image transformers: ViT on ImageNet alone, with strong augmentation and a distillation token.

    aigc train deit --preset laptop                               handwritten digits, 8 x 8
    aigc train deit --preset b                                    ImageNet as a prepared TFDS set, without a teacher
    aigc train deit --teacher DIR                                 B with the distillation token, the teacher of a run

`teacher` is the folder of any finished run that classifies the same pictures. Without one the labels stand in for it, and
the second head is a second classifier. Sizes with "distilled" carry the distillation token, those without are trained from
labels alone; 384 fine-tune at that resolution, where the table of positions is interpolated.

The laptop run has patches of 2 x 2 on pictures of 8 x 8, a width of 64 and two blocks; the labels stand in for a teacher,
and it reaches 97 % on the digits held out. `aigc train resnet --preset laptop --workdir DIR`, and `--teacher DIR` here, is
distillation from a convolutional net, as in the paper.
"""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.cli import run_file
from aigc_jax.data import labelled_images
from aigc_jax.experiment import Experiment, override
from aigc_jax.methods.supervised import Mix, classifier, distilled
from aigc_jax.methods.supervised.attention_maps import rollout_panel
from aigc_jax.methods.supervised.resolution import refit_positions
from aigc_jax.networks.vit import SIZES, ViT
from aigc_jax.optimizers import cosine, optimizer
from aigc_jax.pretrained import network
from aigc_jax.training.run import open_experiment

SYSTEMS = ["deit"]
PAPER = "Touvron et al., Training data-efficient image transformers & distillation through attention, arXiv:2012.12877"
PRESETS = {
    "paper": {},
    "ti": dict(net="Ti", distillation="none"),
    "s": dict(net="S", distillation="none"),
    "b": dict(net="B", distillation="none"),
    "b-384": dict(net="B", distillation="none", size=384, steps=75_000, batch_size=512, lr=5e-6, warmup=0,
                  weight_decay=1e-8),
    "ti-distilled": dict(net="Ti"),
    "s-distilled": dict(net="S"),
    "b-distilled": dict(net="B"),
    "b-distilled-384": dict(net="B", size=384, steps=75_000, batch_size=512, lr=5e-6, warmup=0, weight_decay=1e-8),
    "laptop": dict(net="Ti", width=64, depth=2, heads=4, patch=2, drop_path=0.0, size=8, channels=1, data="digits",
                   classes=10, crops="padded", flip=False, magnitude=0.0, erasing=0.0, repeats=1, mixup=0.2, cutmix=0.0,
                   ema=0.0, steps=2500, batch_size=32, lr=1e-3, warmup=100, scan=False, remat=False, half=False),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(
        metric="eval/accuracy", value=0.971, tolerance=0.012, direction="max", device="2 CPU cores", minutes=1
    ),
}


def experiment(
    *,
    net: Literal["Ti", "S", "B"] = "B",  # table 1
    width: int | None = None,  # instead of the net's, and so depth and heads
    depth: int | None = None,
    heads: int | None = None,
    patch: int = 16,
    drop_path: float = 0.1,
    distillation: Literal["hard", "soft", "none"] = "hard",  # section 4; "none" leaves out the distillation token
    teacher: str = "",  # a run folder; without one the labels stand in for it
    temperature: float = 3.0,  # of soft distillation, section 5.2
    balance: float = 0.1,  # lambda of soft distillation
    published: dict[str, Any] | None = None,  # config.json of published weights: their network instead, see --init-from
    data: str = "tfds:imagenet2012",
    classes: int = 1000,
    size: int = 224,
    channels: int = 3,
    crops: Literal["resized", "shorter", "padded", "scaled"] = "resized",
    pad: int = 0,
    flip: bool = True,
    magnitude: float = 9.0,  # table 9: of RandAugment
    erasing: float = 0.25,
    repeats: int = 3,
    mixup: float = 0.8,
    cutmix: float = 1.0,
    smoothing: float = 0.1,
    ema: float = 0.99996,  # decay of the averaged parameters; 0 keeps none
    steps: int = 375_000,  # 300 epochs
    batch_size: int = 1024,
    lr: float = 1e-3,  # 5e-4 for 512 pictures
    warmup: int = 6250,  # 5 epochs
    weight_decay: float = 0.05,
    scan: bool = True,  # one compiled block for any depth
    remat: bool = True,  # activations of a block again in the backward pass
    half: bool = True,  # compute in bfloat16
    micro_batches: int = 1,
    seed: int = 0,
) -> Experiment:
    fields = override(SIZES[net], width=width, depth=depth, heads=heads)
    built: dict[str, Any] = dict(drop_path=drop_path, scan=scan, remat=remat, dtype="bfloat16" if half else None)
    if published:
        model = network(published, classes=classes, **built)
        if distillation != "none" and not (model.distilled and model.second_head):
            raise ValueError("the published network has no second head: it needs distillation='none'")
    else:
        model = ViT(classes, patch, **fields, distilled=distillation != "none", activation="gelu", initializer="deit",
                    **built)  # fmt: skip
    rate = cosine(lr, steps, warmup, start=min(1e-6, lr), end=min(1e-5, lr))
    tx = optimizer("adamw", rate, weight_decay=weight_decay)
    mix = Mix(mixup, cutmix) if mixup or cutmix else None
    options: dict[str, Any] = dict(smoothing=smoothing, mix=mix, ema=ema or None, micro_batches=micro_batches)
    if distillation == "none":
        method = classifier(model, tx, **options)
    else:
        told = open_experiment(teacher).method if teacher else None
        method = distilled(model, tx, told, kind=distillation, temperature=temperature, weight=balance, **options)
    loaded = labelled_images(data, batch_size=batch_size, size=size, channels=channels, classes=classes, crops=crops,
                             pad=pad, flip=flip, magnitude=magnitude, erasing=erasing, repeats=repeats)  # fmt: skip
    grafts = {"memory.teacher": teacher} if teacher else {}
    panels = {"attention rollout": rollout_panel(model, model.patch)}
    refit = refit_positions(model.places)
    return Experiment(method, loaded, steps, seed, panels=panels, grafts=grafts, refit=refit)


if __name__ == "__main__":
    run_file(__file__)
