"""What a vision transformer looks at: attention rollout (arXiv:2005.00928), and the class attention of CaiT.

    rollout_l = (A_l + I) / 2 rollout_{l-1}          A_l: weights of layer l, averaged over its heads

A_l mixes what the tokens of layer l - 1 hold, the identity is the residual path; the row of the class token in the last one
says from which patches it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.networks.layers import pair
from aigc_jax.networks.transformer_block import attention_maps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Panel = Callable[[Any], "Figure"]


def rollout(maps: Array) -> Array:
    """Attention [L, B, H, T, T] of all layers -> [B, T, T]: the share of each input token (last axis) in each output."""
    mixed = (jnp.mean(maps, 2) + jnp.eye(maps.shape[-1])) / 2  # [L, B, T, T]
    product = mixed[0]
    for layer in mixed[1:]:
        product = layer @ product
    return product / jnp.sum(product, -1, keepdims=True)


def rollout_panel(net: nn.Module, patch: int | tuple[int, int], examples: int = 8) -> Panel:
    """The panel of images with the rollout from the class token of a ViT below them."""

    def shares(variables: dict[str, Any], image: Array) -> Array:
        height, width = (n // m for n, m in zip(image.shape[1:3], pair(patch)))
        last = rollout(attention_maps(net, variables, image))[:, 0, -height * width :]  # [B, N]
        return last.reshape(-1, 1, height, width)

    return _panel(shares, examples, ["rollout"])


def class_attention_panel(net: nn.Module, patch: int | tuple[int, int], heads: int, examples: int = 8) -> Panel:
    """The panel of images with what each head of the first class-attention block of a CaiT reads below them."""

    def weights(variables: dict[str, Any], image: Array) -> Array:
        height, width = (n // m for n, m in zip(image.shape[1:3], pair(patch)))
        first = attention_maps(net, variables, image, "class_block")[0]  # [B, H, 1, 1 + N]
        return first[:, :, 0, 1:].reshape(-1, heads, height, width)

    return _panel(weights, examples, [f"head {head + 1}" for head in range(heads)])


def _panel(maps: Callable[[dict[str, Any], Array], Array], examples: int, names: list[str]) -> Panel:
    """Images in a row and under each its maps, [B, len(names), h, w]; dark is none, bright the largest of a map."""
    run_maps = jax.jit(maps)

    def panel(run: Any) -> Figure:
        from matplotlib.figure import Figure

        image = np.asarray(run.condition(examples)["image"], np.float32)
        seen = np.asarray(run_maps({"params": run.state.params["network"]}, image))
        low, high = (edge(image, axis=(1, 2, 3), keepdims=True) for edge in (np.min, np.max))
        image = (image - low) / np.maximum(high - low, 1e-6)
        figure = Figure(figsize=(examples, 1 + len(names)))
        axes = figure.subplots(1 + len(names), examples, squeeze=False)
        for column, (picture, its_maps) in enumerate(zip(image, seen)):
            axes[0, column].imshow(picture, cmap="gray", vmin=0, vmax=1)
            for row, one in enumerate(its_maps, start=1):
                axes[row, column].imshow(one, vmin=0)
        for row, name in enumerate(["image", *names]):
            axes[row, 0].set_ylabel(name, fontsize=7)
        for axis in axes.flat:
            axis.set(xticks=[], yticks=[])
        return figure

    return panel
