"""ResNet in the layouts of transformers, and of timm and torchvision, which share their names.

transformers' bottlenecks have a quarter of their outer channels inside; its `downsample_in_bottleneck` is the paper's place
of the stride ("v1"), False that of the released PyTorch weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jax import Array

from aigc_jax.errors import UserError
from aigc_jax.networks.resnet import SIZES, ResNet
from aigc_jax.pretrained.config import Config, Shapes, activation, bare, labels, only, torch_options
from aigc_jax.pretrained.images import image_network, logits_only
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import Tensor, conv_norm, dense

Pair = tuple[str, str]  # names of a convolution and of the norm that follows


def transformers(config: Config, stored: Shapes) -> Published:
    """ResNetForImageClassification, or ResNetModel, which ends in the mean over space."""
    plain = bare(config, stored, "ResNetModel", "ResNetForImageClassification")
    bottleneck = only(config, "layer_type", "bottleneck", "bottleneck", "basic") == "bottleneck"
    outs = tuple(config.get("hidden_sizes", (256, 512, 1024, 2048)))
    module = ResNet(
        0 if plain else labels(config),
        tuple(config.get("depths", (3, 4, 6, 3))),
        widths=tuple(out // 4 for out in outs) if bottleneck else outs,
        outs=outs,
        stem_width=config.get("embedding_size", 64),
        first_stride=2 if config.get("downsample_in_first_stage", False) else 1,
        bottleneck=bottleneck,
        stride_first=config.get("downsample_in_bottleneck", False),
        activation=activation(config, "hidden_act", "relu"),
    )
    start = "" if plain else "resnet."

    def layer(stage: int, block: int, index: int) -> Pair:
        at = f"{start}encoder.stages.{stage - 1}.layers.{block}"
        at = f"{at}.layer.{index - 1}" if index else f"{at}.shortcut"
        return f"{at}.convolution", f"{at}.normalization"

    stem = f"{start}embedder.embedder"
    tensors = _tensors(module, (f"{stem}.convolution", f"{stem}.normalization"), layer, "classifier.1")
    outputs = _features if plain else logits_only
    return image_network(module, tensors, "resnet", (224, 224), config.get("num_channels", 3), outputs)


def timm(config: Config, stored: Shapes) -> Published:
    """resnet18, 34, 50, 101 and 152, and the names of torchvision with them."""
    options = torch_options(config, stored, "fc", layers=(), channels=(64, 128, 256, 512), base_width=64,
                            width_per_group=64)  # fmt: skip
    only(options, "global_pool", "avg", "avg")
    size = SIZES[config["architecture"].split(".")[0].removeprefix("resnet")]
    planes = tuple(options["channels"])
    inside = options["base_width"] * options["width_per_group"] // 64
    if inside != 64 and not size["bottleneck"]:
        raise UserError(f"config.json: basic blocks have a base_width of 64, not {inside}")
    module = ResNet(
        options["num_classes"],
        tuple(options["layers"]) or size["depths"],
        widths=tuple(width * inside // 64 for width in planes) if size["bottleneck"] else planes,
        outs=tuple(4 * width for width in planes) if size["bottleneck"] else planes,
        stem_width=64,
        bottleneck=size["bottleneck"],
    )

    def layer(stage: int, block: int, index: int) -> Pair:
        at = f"layer{stage}.{block}"
        return (f"{at}.conv{index}", f"{at}.bn{index}") if index else (f"{at}.downsample.0", f"{at}.downsample.1")

    tensors = _tensors(module, ("conv1", "bn1"), layer, "fc")
    return image_network(module, tensors, "resnet", (224, 224), options["in_chans"])


torchvision = timm


def _tensors(module: ResNet, stem: Pair, layer: Callable[[int, int, int], Pair], head: str) -> list[Tensor]:
    """layer: (stage from 1, block from 0, layer from 1, or 0 for the shortcut) -> their names."""
    found = conv_norm("", "stem", stem)
    before = module.stem_width
    outs = module.outs or module.widths
    for stage, (depth, out) in enumerate(zip(module.depths, outs), start=1):
        for block in range(depth):
            at = f"stage_{stage}_block_{block}."
            for index in range(1, 4 if module.bottleneck else 3):
                found += conv_norm(at, str(index), layer(stage, block, index))
            strided = block == 0 and (stage > 1 or module.first_stride > 1)
            if strided or before != out:
                found += conv_norm(at, "shortcut", layer(stage, block, 0))
            before = out
    return found + (dense("head", head) if module.classes else [])


def _features(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    last = max((name for name in features if name.startswith("stage_")), key=lambda name: int(name.split("_")[1]))
    return {"last_hidden_state": features[last], "pooler_output": logits[:, None, None]}
