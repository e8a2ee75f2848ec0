"""The whole pipeline of labelled pictures: from a source to normalised, augmented batches with their classes."""

from __future__ import annotations

from typing import Literal

from aigc_jax.data.erasing import random_erasing
from aigc_jax.data.pictures import center_crop, crop, flip_lr, random_resized_crop, resize, resize_short, sized
from aigc_jax.data.pipeline import Data, load_data
from aigc_jax.data.randaugment import rand_augment
from aigc_jax.data.transforms import Transform, compose, normalize, repeated

COLOURS = {  # mean and deviation of the channels in [0, 1]
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def labelled_images(
    source: str,
    *,
    batch_size: int,
    size: int,
    channels: int,
    classes: int,
    crops: Literal["resized", "shorter", "padded", "scaled"] = "resized",
    area: tuple[float, float] = (0.08, 1.0),
    pad: int = 0,
    share: float = 0.875,
    flip: bool = True,
    colours: Literal["imagenet", "cifar", "half"] = "imagenet",
    magnitude: float = 0.0,
    erasing: float = 0.0,
    repeats: int = 1,
) -> Data:
    """`image` float32 [B, size, size, channels] and `label` int32 [B] below `classes`.

    crops:     how training pictures come to their size.
               "resized"  a random box of a share `area` of the picture, resized (GoogLeNet and all after it)
               "shorter"  the shorter side resized to size / share, then a random square (AlexNet)
               "padded"   pictures that have the size already: `pad` black pixels around them, then a random square (CIFAR)
               "scaled"   the same after each picture was resized to the size, whatever its own
    share:     of the shorter side that evaluation sees, a centred square; "padded" and "scaled" see all of it.
    flip:      mirrors half of the training pictures.
    colours:   mean and deviation that are taken off and divided by; of grey pictures one half, always.
    magnitude: of RandAugment, 0 leaves it out (DeiT, Swin: 9). It replaces colour jitter, as in their released code.
    erasing:   probability of random erasing, by noise (DeiT, Swin: 0.25).
    repeats:   of each picture in a batch, by repeated augmentation (DeiT: 3).

    Raises ValueError for a share outside (0, 1] and for sizes below 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of the shorter side must lie in (0, 1], got {share}")
    colour = normalize(*COLOURS[colours]) if channels == 3 else normalize(0.5, 0.5)
    taken, evaluate = _sizes(crops, size, area, pad, share)
    mirror = flip_lr if flip else compose()
    noise = random_erasing(erasing) if erasing else compose()
    levels = rand_augment(magnitude) if magnitude else compose()
    train = compose(repeated(repeats), taken, mirror, levels, colour, noise)
    spec = {"image": ((size, size, channels), "float32"), "label": ((), "int32", classes)}
    return load_data(source, batch_size=batch_size, spec=spec, train=train, evaluate=compose(evaluate, colour))


def _sizes(crops: str, size: int, area: tuple[float, float], pad: int, share: float) -> tuple[Transform, Transform]:
    """How pictures come to their size in training and in evaluation."""
    if crops in ("padded", "scaled"):
        whole = sized(size) if crops == "padded" else resize(size)
        return compose(whole, crop(size, pad)), whole
    shorter = resize_short(int(size / share))
    taken = random_resized_crop(size, area) if crops == "resized" else compose(shorter, crop(size))
    return taken, compose(shorter, center_crop(size))
