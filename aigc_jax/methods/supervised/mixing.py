"""Pictures and labels mixed in pairs: mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899), one of the two a batch.

    image' = w image + (1 - w) partner,   target' = mean(w) target + (1 - mean(w)) partner's

w [H, W] are the weights of the pixels: mixup has one number lambda ~ Beta(alpha, alpha) everywhere; CutMix has 0 in a box
of area 1 - lambda at a random place, cut off at the edges of the picture, and 1 around it. The share of a label is the mean
of w either way: for CutMix the exact area of what was left of the box.

As in DeiT (arXiv:2012.12877, table 9) one lambda and one box serve a batch, and the partner of row b is row B - 1 - b, which
costs no random gather; in a shuffled batch it is as random as any other. The papers draw a permutation, and CutMix
for each batch as here.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Mix(NamedTuple):
    """How the pictures of a batch are mixed.

    mixup, cutmix: alpha of each, 0 leaves it out (DeiT: 0.8 and 1).
    switch:        share of CutMix where both are in.
    probability:   share of the batches that are mixed at all.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5
    probability: float = 1.0

    def check(self) -> None:
        """Raises ValueError for an alpha below 0, both alphas 0, or a share outside [0, 1]."""
        if min(self.mixup, self.cutmix) < 0 or max(self.mixup, self.cutmix) == 0:
            raise ValueError(f"mixing needs an alpha above 0, got mixup {self.mixup} and cutmix {self.cutmix}")
        for name, share in (("switch", self.switch), ("probability", self.probability)):
            if not 0 <= share <= 1:
                raise ValueError(f"the {name} of mixing must lie in [0, 1], got {share}")

    def __call__(self, image: Array, key: Array) -> tuple[Array, Array]:
        """[B, H, W, C] -> the same, mixed, and the share that the label of each picture keeps in its target."""
        weight = self.weights(image.shape[1], image.shape[2], key)
        return with_partner(image, weight[:, :, None].astype(image.dtype)), jnp.mean(weight)

    def weights(self, height: int, width: int, key: Array) -> Array:
        """w [H, W] of one batch."""
        key_use, key_switch, key_lambda, key_box = jax.random.split(key, 4)
        switch = self.switch if self.mixup and self.cutmix else float(self.cutmix > 0)
        cut = jax.random.uniform(key_switch) < switch
        alpha = jnp.where(cut, self.cutmix, self.mixup)
        kept = jax.random.beta(key_lambda, alpha, alpha)
        weight = jnp.where(cut, box(height, width, kept, key_box), kept)
        return jnp.where(jax.random.uniform(key_use) < self.probability, weight, 1.0)


def with_partner(rows: Array, weight: Array) -> Array:
    """Each row [B, ...] by its weight, and the rest from row B - 1 - b."""
    return weight * rows + (1 - weight) * rows[::-1]


def box(height: int, width: int, kept: Array, key: Array) -> Array:
    """Ones [H, W] with a box of zeros, of area (1 - kept) H W before its parts outside the picture are cut off."""
    size = jnp.floor(jnp.array([height, width]) * jnp.sqrt(1 - kept)).astype(jnp.int32)
    centre = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    start = centre - size // 2
    rows, columns = jnp.arange(height)[:, None] - start[0], jnp.arange(width) - start[1]
    return 1.0 - ((rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1]))
