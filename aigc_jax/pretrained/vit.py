"""ViT and DeiT in the layouts of transformers, timm and torchvision.

The second token of DeiT is there in every model of transformers' `deit`, and in timm's `distilled` names; a head reads it
in DeiTForImageClassificationWithTeacher and in timm, where the logits are the mean of both heads.

timm's `deit3`, `miil` and giant names are the same builder with other options.
"""

from __future__ import annotations

from typing import Any

from jax import Array

from aigc_jax.errors import UserError
from aigc_jax.networks.vit import SIZES, ViT
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
    timm_activation,
    torch_options,
)
from aigc_jax.pretrained.images import Outputs, image_network, logits_only
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import LEADING, ROW, Tensor, dense, norm, plain

NAMED: dict[str, dict[str, Any]] = {
    "tiny": SIZES["Ti"],
    "small": SIZES["S"],
    "medium": dict(width=512, depth=12, heads=8),
    "base": SIZES["B"],
    "large": SIZES["L"],
    "huge": SIZES["H"],
    "giant": dict(width=1408, depth=40, heads=16, ratio=48 / 11),
    "gigantic": dict(width=1664, depth=48, heads=16, ratio=64 / 13),
}
"""timm's words for sizes; those beyond H are of arXiv:2106.04560."""


def transformers(config: Config, stored: Shapes) -> Published:
    """ViTForImageClassification and ViTModel, the three of DeiT.

    A model without a head has a pooler where its arrays say so; no configuration does, and no head reads it.
    """
    kind = config["model_type"]
    stem = "ViT" if kind == "vit" else "DeiT"
    teacher = f"{stem}ForImageClassificationWithTeacher"
    plain_model = bare(config, stored, f"{stem}Model", f"{stem}ForImageClassification", *[teacher] * (kind == "deit"))
    second = not plain_model and (config.get("architectures") == [teacher] or "cls_classifier.weight" in stored)
    pooler = plain_model and "pooler.dense.weight" in stored
    width, heads = config.get("hidden_size", 768), config.get("num_attention_heads", 12)
    check_heads(config, "num_attention_heads", heads, width)
    module = ViT(
        0 if plain_model else labels(config),
        side(config.get("patch_size", 16)),
        width,
        config.get("num_hidden_layers", 12),
        heads,
        config.get("intermediate_size", 3072),
        representation=(config.get("pooler_output_size") or width) if pooler else 0,
        representation_activation=activation(config, "pooler_act", "tanh"),
        distilled=kind == "deit",
        second_head=second,
        qkv_bias=config.get("qkv_bias", True),
        eps=config.get("layer_norm_eps", 1e-12),
        activation=activation(config, "hidden_act", "gelu"),
        initializer="deit",
    )
    start = "" if plain_model else f"{kind}."
    new = any(name.endswith(".q_proj.weight") for name in stored)
    embeddings = f"{start}embeddings."
    names = dict(
        patches=f"{embeddings}patch_embeddings.projection",
        class_token=f"{embeddings}cls_token",
        distillation_token=f"{embeddings}distillation_token",
        positions=f"{embeddings}position_embeddings",
        block=f"{start}layers." if new else f"{start}encoder.layer.",
        norm=f"{start}layernorm",
        representation="pooler.dense",
        head="cls_classifier" if second else "classifier",
        head_distilled="distillation_classifier",
    )
    tensors = _tensors(module, names, NEW if new else old("attention"))
    if not plain_model:  # a model that was once saved with its pooler: nothing reads it
        tensors += [Tensor("", (f"{start}pooler.dense.{part}",)) for part in ("weight", "bias")]
    outputs = _mean_of_both if second else logits_only
    if plain_model:
        outputs = _pooled if pooler else _tokens
    size = side(config.get("image_size", 224))
    return _network(module, tensors, kind, size, config.get("num_channels", 3), outputs)


def timm(config: Config, stored: Shapes) -> Published:
    """vit_* and deit*_* as NAMED; a model without classes gives what the head would read."""
    family, size, *rest = config["architecture"].partition(".")[0].split("_")
    named, third, second = NAMED[size], family == "deit3", "distilled" in rest
    patch = int(next(word for word in rest if word.startswith("patch")).removeprefix("patch"))
    options = torch_options(
        config, stored, "head", img_size=None, patch_size=patch, embed_dim=named["width"], depth=named["depth"],
        num_heads=named["heads"], mlp_ratio=named.get("ratio", 4.0), qkv_bias="miil" not in rest, qk_norm=False,
        scale_attn_norm=False, scale_mlp_norm=False, proj_bias=True, init_values=1e-6 if third else None,
        class_token=True, pos_embed="learn", no_embed_class=third, reg_tokens=0, pre_norm=False, final_norm=True,
        fc_norm=None, pool_include_prefix=False, dynamic_img_size=False, dynamic_img_pad=False, norm_layer=None,
        embed_norm_layer=None, act_layer=None, global_pool="token",
    )  # fmt: skip
    _refuse(options, second)
    width, mean = options["embed_dim"], options["global_pool"] == "avg"
    check_heads({}, "num_heads", options["num_heads"], width)
    pool_first = mean if options["fc_norm"] is None else options["fc_norm"]
    module = ViT(
        options["num_classes"],
        side(options["patch_size"]),
        width,
        options["depth"],
        options["num_heads"],
        int(width * options["mlp_ratio"]),
        pool="mean" if mean else "token",
        class_token=options["class_token"],
        distilled=second,
        registers=options["reg_tokens"],
        token_positions=not options["no_embed_class"],
        qkv_bias=options["qkv_bias"],
        layer_scale=options["init_values"] or None,
        norm_first=options["pre_norm"],
        pool_first=pool_first,
        activation=timm_activation(options, "gelu"),
        initializer="deit",
    )
    names = dict(
        patches="patch_embed.proj",
        class_token="cls_token",
        distillation_token="dist_token",
        registers="reg_token",
        positions="pos_embed",
        norm_first="norm_pre",
        block="blocks.",
        norm="fc_norm" if pool_first else "norm",
        head="head",
        head_distilled="head_dist",
    )
    tensors = _tensors(module, names, dict(TIMM, gamma_attention="ls1.gamma", gamma_mlp="ls2.gamma"))
    outputs = _mean_of_both_alone if second else logits_only
    kind = "vit" if family == "vit" else "deit"
    return _network(module, tensors, kind, image_size(config, options), options["in_chans"], outputs)


def torchvision(config: Config, stored: Shapes) -> Published:
    """vit_b_16, vit_b_32, vit_l_16, vit_l_32 and vit_h_14."""
    _, size, patch = config["architecture"].split("_")
    named = SIZES[size.upper()]
    options = torch_options(config, stored, "heads.head", image_size=224, patch_size=int(patch),
                            num_layers=named["depth"], num_heads=named["heads"], hidden_dim=named["width"],
                            mlp_dim=None, representation_size=None, conv_stem_configs=None, norm_layer=None)  # fmt: skip
    only(options, "conv_stem_configs", None, None)
    only(options, "norm_layer", None, None)
    check_heads({}, "num_heads", options["num_heads"], options["hidden_dim"])
    module = ViT(
        options["num_classes"],
        options["patch_size"],
        options["hidden_dim"],
        options["num_layers"],
        options["num_heads"],
        options["mlp_dim"] or 4 * named["width"],
        representation=options["representation_size"] or 0,
        activation="gelu",
    )
    older = any(".mlp.linear_1." in name for name in stored)
    names = dict(
        patches="conv_proj",
        class_token="class_token",
        positions="encoder.pos_embedding",
        block="encoder.layers.encoder_layer_",
        norm="encoder.ln",
        representation="heads.pre_logits",
        head="heads.head",
    )
    blocks = dict(
        norm_attention="ln_1",
        qkv="self_attention.in_proj_",
        out="self_attention.out_proj",
        norm_mlp="ln_2",
        up="mlp.linear_1" if older else "mlp.0",
        down="mlp.linear_2" if older else "mlp.3",
    )
    tensors = _tensors(module, names, blocks)
    return _network(module, tensors, "vit", side(options["image_size"]), 3, logits_only)


def _refuse(options: dict[str, Any], second: bool) -> None:
    """Raises UserError for what no ViT here has. second: of timm's distilled models, which take less."""
    plain_ones = ("qk_norm", "scale_attn_norm", "scale_mlp_norm", "pool_include_prefix", "dynamic_img_size",
                  "dynamic_img_pad")  # fmt: skip
    for name in plain_ones:
        only(options, name, False, False)
    for name in ("proj_bias", "final_norm"):
        only(options, name, True, True)
    for name in ("norm_layer", "embed_norm_layer"):
        only(options, name, None, None)
    only(options, "pos_embed", "learn", "learn")
    if second:
        only(options, "global_pool", "token", "token")
        only(options, "class_token", True, True)
        only(options, "fc_norm", None, None, False)
        only(options, "no_embed_class", False, False)
        only(options, "reg_tokens", 0, 0)
    only(options, "global_pool", "token", "token", "avg")
    if options["global_pool"] == "token" and not options["class_token"]:
        raise UserError("config.json: global_pool = 'token' needs class_token = true")


def _network(
    module: ViT, tensors: list[Tensor], kind: str, size: tuple[int, int], channels: int, outputs: Outputs
) -> Published:
    patch = side(module.patch)
    knobs: dict[str, Any] = dict(width=module.width, depth=module.depth, heads=module.heads, patch=patch[0])
    if kind == "vit":
        knobs |= dict(pool=module.pool, representation=module.representation > 0,
                      approximate=module.activation == "gelu_new")  # fmt: skip
    else:
        knobs |= dict(distillation="hard" if module.distilled and module.second_head else "none")
    return image_network(module, tensors, kind, size, channels, outputs, knobs, fixed=True, patch=patch)


def _tensors(module: ViT, names: Names, blocks: Names) -> list[Tensor]:
    """names: of the parts outside the blocks, "block" without its index; blocks: see `blocks.block`."""
    found = patch_map(names["patches"], module.patch, not module.norm_first)
    tokens = module.before()
    for token in tokens:
        found += plain(token, names[token], LEADING if token == "registers" else ROW)
    found += plain("positions", names["positions"], LEADING)
    if module.norm_first:
        found += norm("norm_first", names["norm_first"])
    for index in range(module.depth):
        theirs = f"{names['block']}{index}"
        found += block(f"block_{index}", theirs, blocks, module.qkv_bias, module.layer_scale is not None)
    found += norm("norm", names["norm"])
    if module.representation:
        found += dense("representation", names["representation"])
    if module.classes:
        found += dense("head", names["head"])
        found += dense("head_distilled", names["head_distilled"]) if module.distilled and module.second_head else []
    return found


def _tokens(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    return {"last_hidden_state": features["tokens"]}


def _pooled(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    return {"last_hidden_state": features["tokens"], "pooler_output": logits}


def _mean_of_both(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    second = features["distilled"]
    return {"logits": (logits + second) / 2, "cls_logits": logits, "distillation_logits": second}


def _mean_of_both_alone(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    """timm's: without classes the mean of both tokens."""
    second = features.get("distilled", features["tokens"][:, 1])
    return {"logits": (logits + second) / 2}
