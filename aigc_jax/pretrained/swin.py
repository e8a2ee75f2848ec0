"""Swin in the layouts of transformers, timm and torchvision, which differ where windows meet the edges of maps.

timm counts the map between two stages to the second of them, the released files and transformers to the first. Files may
hold `relative_position_index` and `attn_mask`, which follow from the sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array

from aigc_jax.errors import UserError
from aigc_jax.networks.swin import SIZES, Swin, relative_index
from aigc_jax.pretrained.blocks import NEW, TIMM, Names, block, check_heads, old, patch_map
from aigc_jax.pretrained.config import (
    Config,
    Shapes,
    activation,
    bare,
    image_size,
    labels,
    only,
    side,
    torch_options,
)
from aigc_jax.pretrained.images import image_network, logits_only
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import LEADING, Tensor, dense, norm, plain

TINY: dict[str, Any] = SIZES["T"]
PORTED = dict(index="attn.relative_position_index", table="attn.relative_position_bias_table", mask="attn_mask",
              norm="norm")  # fmt: skip
"""Names that timm and torchvision share."""


def transformers(config: Config, stored: Shapes) -> Published:
    """SwinForImageClassification and SwinModel. Windows must fit into the map of the last stage."""
    plain_model = bare(config, stored, "SwinModel", "SwinForImageClassification")
    width, window = config.get("embed_dim", 96), config.get("window_size", 7)
    module = Swin(
        0 if plain_model else labels(config),
        side(config.get("patch_size", 4)),
        width,
        tuple(config.get("depths", TINY["depths"])),
        tuple(config.get("num_heads", TINY["heads"])),
        window,
        config.get("mlp_ratio", 4.0),
        positions=config.get("use_absolute_embeddings", False),
        qkv_bias=config.get("qkv_bias", True),
        activation=activation(config, "hidden_act", "gelu"),
        eps=config.get("layer_norm_eps", 1e-5),
        eps_merge=1e-5,  # whatever the configuration says
    )
    start = "" if plain_model else "swin."
    new = any(name.endswith(".q_proj.weight") for name in stored)
    inner = "attention.relative_position_bias." if new else "attention.self."
    names = dict(
        patches=f"{start}embeddings.patch_embeddings.projection",
        norm_patches=f"{start}embeddings.norm",
        positions=f"{start}embeddings.position_embeddings",
        norm=f"{start}layernorm",
        head="classifier",
        table=f"{inner}relative_position_bias_table",
        index=f"{inner}relative_position_index",
        mask="attn_mask",
    )
    tensors = _tensors(
        module,
        names,
        NEW if new else old("self"),
        lambda stage, index: f"{start}encoder.layers.{stage - 1}.blocks.{index}",
        lambda stage: f"{start}encoder.layers.{stage - 1}.downsample",
    )
    size, steps = side(config.get("image_size", 224)), 2 ** (len(module.depths) - 1)
    rows, columns = (pixels * steps * (window - 1) + 1 for pixels in side(module.patch))
    return image_network(module, tensors, "swin", size, config.get("num_channels", 3),
                         _features if plain_model else logits_only, _knobs(module), module.positions,
                         least=(rows, columns))  # fmt: skip


def timm(config: Config, stored: Shapes) -> Published:
    """swin_{tiny,small,base,large}_patch4_window{7,12}_{224,384}, in timm's names or those of the released files."""
    _, size, patch, window, *_ = config["architecture"].partition(".")[0].split("_")
    named: dict[str, Any] = SIZES[size[0].upper()]
    released = "layers.0.downsample.reduction.weight" in stored
    head = "head" if released else "head.fc"
    options = torch_options(
        config, stored, head, img_size=None, patch_size=int(patch.removeprefix("patch")), embed_dim=named["width"],
        depths=named["depths"], num_heads=named["heads"], head_dim=None,
        window_size=int(window.removeprefix("window")), always_partition=False, strict_img_size=True,
        dynamic_img_size=False, mlp_ratio=4.0, qkv_bias=True, norm_layer=None,
    )  # fmt: skip
    only(options, "global_pool", "avg", "avg")
    for name, default in (("head_dim", None), ("always_partition", False), ("strict_img_size", True),
                          ("dynamic_img_size", False), ("norm_layer", None)):  # fmt: skip
        only(options, name, default, default)
    for name in ("window_size", "mlp_ratio"):
        if isinstance(options[name], (list, tuple)) and (name == "mlp_ratio" or len(options[name]) != 2):
            raise UserError(f"config.json: {name} = {options[name]} is not supported: it must be one for all stages")
    module = _port(options, side(options["window_size"]), options["qkv_bias"], "axis")
    names = dict(PORTED, patches="patch_embed.proj", norm_patches="patch_embed.norm", head=head)
    tensors = _tensors(
        module,
        names,
        TIMM,
        lambda stage, index: f"layers.{stage - 1}.blocks.{index}",
        lambda stage: f"layers.{stage - 1 if released else stage}.downsample",
    )
    size = image_size(config, options)
    return image_network(module, tensors, "swin", size, options["in_chans"], knobs=_knobs(module), fixed=True,
                         patch=side(module.patch))  # fmt: skip


def torchvision(config: Config, stored: Shapes) -> Published:
    """swin_t, swin_s and swin_b; images of any size."""
    named: dict[str, Any] = SIZES[config["architecture"].split("_")[1].upper()]
    options = torch_options(
        config, stored, "head", patch_size=(4, 4), embed_dim=named["width"], depths=named["depths"],
        num_heads=named["heads"], window_size=(7, 7), mlp_ratio=4.0, norm_layer=None, block=None, downsample_layer=None,
    )  # fmt: skip
    for name in ("norm_layer", "block", "downsample_layer"):
        only(options, name, None, None)
    window = side(options["window_size"])
    module = _port(options, window, True, "full")
    names = dict(PORTED, patches="features.0.0", norm_patches="features.0.2", head="head")
    tensors = _tensors(
        module,
        names,
        dict(TIMM, up="mlp.0", down="mlp.3"),
        lambda stage, index: f"features.{2 * stage - 1}.{index}",
        lambda stage: f"features.{2 * stage}",
        relative_index(window).reshape(-1),
    )
    return image_network(module, tensors, "swin", (224, 224), 3, knobs=_knobs(module), patch=side(module.patch))


def _port(options: dict[str, Any], window: tuple[int, int], qkv_bias: bool, fit: Any) -> Swin:
    """What timm and torchvision have in common."""
    return Swin(
        options["num_classes"],
        side(options["patch_size"]),
        options["embed_dim"],
        tuple(options["depths"]),
        tuple(options["num_heads"]),
        window,
        options["mlp_ratio"],
        qkv_bias=qkv_bias,
        fit=fit,
        fill_last=fit == "axis",
    )


def _tensors(
    module: Swin,
    names: Names,
    blocks: Names,
    at: Callable[[int, int], str],
    merge: Callable[[int], str],
    index: np.ndarray | None = None,
) -> list[Tensor]:
    """at: (stage from 1, block from 0) -> its name; merge: (the stage before) -> its name; index: what is always stored."""
    found = patch_map(names["patches"], module.patch) + norm("norm_patches", names["norm_patches"])
    if module.positions:
        found += plain("positions", names["positions"], LEADING)
    for stage, (depth, heads) in enumerate(zip(module.depths, module.heads), start=1):
        check_heads({}, "num_heads", heads, module.width * 2 ** (stage - 1))
        if stage > 1:
            theirs = merge(stage - 1)
            found += norm(f"merge_{stage - 1}.norm", f"{theirs}.norm")
            found += dense(f"merge_{stage - 1}.reduction", f"{theirs}.reduction", bias=False)
        for number in range(depth):
            ours, theirs = f"stage_{stage}_block_{number}", at(stage, number)
            found += block(ours, theirs, blocks, module.qkv_bias)
            found += plain(f"{ours}.attention.bias_table", f"{theirs}.{names['table']}")
            found += [
                Tensor("", (f"{theirs}.{names['index']}",), value=index),
                Tensor("", (f"{theirs}.{names['mask']}",)),
            ]
    return found + norm("norm", names["norm"]) + (dense("head", names["head"]) if module.classes else [])


def _features(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    tokens = features["tokens"]
    return {"last_hidden_state": tokens.reshape(tokens.shape[0], -1, tokens.shape[-1]), "pooler_output": logits}


def _knobs(module: Swin) -> dict[str, Any]:
    return dict(width=module.width, depths=module.depths, heads=module.heads, patch=side(module.patch)[0],
                window=side(module.window)[0])  # fmt: skip
