"""CaiT in the layout of timm, which has the names of the released files."""

from __future__ import annotations

from typing import Any

from aigc_jax.networks.cait import SIZES, CaiT
from aigc_jax.pretrained.blocks import TIMM, around, block, check_heads, patch_map
from aigc_jax.pretrained.config import Config, Shapes, image_size, only, side, torch_options
from aigc_jax.pretrained.images import image_network
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import LEADING, ROW, Tensor, dense, norm, plain

CLASS_STAGE = (("query", "q"), ("key", "k"), ("value", "v"), ("out", "proj"))
"""Maps of the class attention, ours and timm's."""


def timm(config: Config, stored: Shapes) -> Published:
    """cait_{xxs24,xxs36,xs24,s24,s36,m36,m48}_{224,384,448}."""
    size = config["architecture"].split("_")[1].upper()  # XXS24
    named: dict[str, Any] = SIZES[f"{size[:-2]}-{size[-2:]}"]
    options = torch_options(
        config, stored, "head", img_size=None, patch_size=16, embed_dim=named["width"], depth=named["depth"],
        num_heads=named["heads"], mlp_ratio=4.0, qkv_bias=True, init_values=named["layer_scale"], depth_token_only=2,
        mlp_ratio_token_only=4.0, global_pool="token",
    )  # fmt: skip
    width, heads, patch = options["embed_dim"], options["num_heads"], side(options["patch_size"])
    check_heads({}, "num_heads", heads, width)
    module = CaiT(
        options["num_classes"],
        patch,
        width,
        options["depth"],
        options["depth_token_only"],
        heads,
        int(width * options["mlp_ratio"]),
        int(width * options["mlp_ratio_token_only"]),
        pool="token" if only(options, "global_pool", "token", "token", "avg") == "token" else "mean",
        qkv_bias=options["qkv_bias"],
        layer_scale=options["init_values"],
    )
    knobs = dict(width=width, depth=module.depth, heads=heads, patch=patch[0], layer_scale=module.layer_scale)
    return image_network(module, _tensors(module), "cait", image_size(config, options), options["in_chans"], knobs=knobs,
                         fixed=True, patch=patch)  # fmt: skip


def _tensors(module: CaiT) -> list[Tensor]:
    found = patch_map("patch_embed.proj", module.patch)
    found += plain("positions", "pos_embed", LEADING) + plain("class_token", "cls_token", ROW)
    names = dict(TIMM, gamma_attention="gamma_1", gamma_mlp="gamma_2")
    for index in range(module.depth):
        found += block(f"block_{index}", f"blocks.{index}", names, module.qkv_bias, scaled=True)
        for ours, theirs in (("before", "proj_l"), ("after", "proj_w")):
            found += dense(f"block_{index}.attention.talk_{ours}", f"blocks.{index}.attn.{theirs}")
    for index in range(module.class_depth):
        ours, theirs = f"class_block_{index}", f"blocks_token_only.{index}"
        found += around(ours, theirs, names, scaled=True)
        for mine, name in CLASS_STAGE:
            found += dense(f"{ours}.attention.{mine}", f"{theirs}.attn.{name}", module.qkv_bias or mine == "out")
    return found + norm("norm", "norm") + (dense("head", "head") if module.classes else [])
