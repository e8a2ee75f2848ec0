"""MoCo v2: a ResNet pretrained without labels by momentum contrast, then judged by what its frozen features know.

    aigc train moco --preset laptop                               handwritten digits, 8 x 8
    aigc train moco --data files:DIR                              ImageNet as folders of images

Two probes read the features at the end: a linear classifier and nearest neighbours. Published, ResNet-50 on ImageNet:
67.7 % linear accuracy after 200 epochs, 71.1 % after 800 (table 1). On the digits with ten labels of each class, test
accuracy in %, mean of ten draws of the labels, one seed of the training:

                            pretrained   random network   pixels
    linear classifier             95.1             80.7     90.7
    5 nearest neighbours          93.2             73.0     94.1

The digits are cropped and changed in contrast, but never mirrored: a mirrored 2 is no digit, and the features
would have to forget on which side a stroke lies. They are not blurred either: 8 x 8 pixels are blurred already.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import optax

from aigc_jax.cli import run_file
from aigc_jax.data import (
    center_crop,
    color_jitter,
    compose,
    load_data,
    moco_v2,
    normalize,
    random_resized_crop,
    resize_short,
    two_views,
)
from aigc_jax.data.transforms import Batch, Transform
from aigc_jax.evals.probes import knn, linear_probe
from aigc_jax.experiment import Experiment
from aigc_jax.methods.vision.moco import moco
from aigc_jax.networks.resnet import ResNet
from aigc_jax.training.panels import latent_map

SYSTEMS = ["moco"]
PAPER = "Chen et al., Improved Baselines with Momentum Contrastive Learning, arXiv:2003.04297"
PRESETS = {
    "paper": {},
    "800-epochs": dict(steps=4_003_200),
    "laptop": dict(data="digits", views="digits", size=8, channels=1, classes=10, stem="cifar", bottleneck=False,
                   depths=(1, 1), widths=(32, 64), steps=600, lr=0.06, queue=1024, key_momentum=0.99, dim=64,
                   bn_groups=4, labels_per_class=10, neighbours=5),
}  # fmt: skip
EXPECTED = {
    "laptop": {"metric": "linear/accuracy", "value": 0.951, "tolerance": 0.015, "direction": "max",
               "device": "2 CPU cores", "minutes": 4},
}  # fmt: skip


def experiment(
    *,
    data: str = "tfds:imagenet2012",
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    views: Literal["photographs", "digits"] = "photographs",
    stem: Literal["imagenet", "cifar"] = "imagenet",
    depths: tuple[int, ...] = (3, 4, 6, 3),  # ResNet-50
    widths: tuple[int, ...] = (64, 128, 256, 512),
    bottleneck: bool = True,
    mlp: bool = True,  # section 3: head 2048-2048-128; False is the linear head of v1
    dim: int = 128,  # of the space where views are compared: v1 (arXiv:1911.05722), as all that names no other source
    queue: int = 65536,
    key_momentum: float = 0.999,
    temperature: float = 0.2,  # section 3
    bn_groups: int = 8,  # GPUs of the released recipe
    steps: int = 1_000_800,  # 200 epochs of 5,004 batches
    batch_size: int = 256,
    lr: float = 0.03,  # cosine to 0: section 3
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    labels_per_class: int | None = None,  # that the probes are given; None is all
    neighbours: int = 200,  # arXiv:1805.01978
    half: bool = False,  # compute in bfloat16
    seed: int = 0,
) -> Experiment:
    trunk = ResNet(
        classes=0, depths=depths, widths=widths, bottleneck=bottleneck, stem=stem, dtype="bfloat16" if half else None
    )
    tx = optax.chain(
        optax.add_decayed_weights(weight_decay), optax.sgd(optax.cosine_decay_schedule(lr, steps), momentum)
    )
    colour = normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)) if channels == 3 else normalize(0.5, 0.5)
    if views == "photographs":
        augment = compose(moco_v2(size), colour)
        plain = compose(resize_short(size * 8 // 7), center_crop(size), colour)
    else:
        augment = compose(random_resized_crop(size, scale=(0.4, 1.0)), color_jitter(p=1.0), colour)
        plain = compose(center_crop(size), colour)
    image = ((size, size, channels), "float32")
    return Experiment(
        method=moco(trunk, tx, queue=queue, momentum=key_momentum, temperature=temperature, dim=dim, mlp=mlp,
                    bn_groups=bn_groups),
        data=load_data(data, batch_size=batch_size, train=two_views(augment),
                       evaluate=plain_and_augmented(plain, augment),
                       spec={"view1": image, "view2": image, "label": ((), "int32", classes)}),
        steps=steps,
        seed=seed,
        evals={"linear": linear_probe(labels_per_class, draws=10),
               "knn": knn(neighbours, labels_per_class=labels_per_class, draws=10)},
        panels={"features": latent_map(1000)},
    )  # fmt: skip


def plain_and_augmented(plain: Transform, augment: Transform) -> Transform:
    """The views of evaluation: {"image"} -> "view1", whose features are probed, and "view2", its key in the loss."""

    def views(batch: Batch, rng: np.random.Generator) -> Batch:
        image = {"image": batch["image"]}
        return {**batch, "view1": plain(image, rng)["image"], "view2": augment(image, rng)["image"]}

    return views


if __name__ == "__main__":
    run_file(__file__)
