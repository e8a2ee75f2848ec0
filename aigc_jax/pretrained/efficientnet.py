"""EfficientNet in the layouts of transformers, timm and torchvision.

transformers' nets carry TensorFlow's weights with pads of fixed sizes: "SAME" for even images; `depthwise_padding` lists the
blocks that meet an odd one at the size of training. The first block of a stage never adds its input there. timm has
TensorFlow's nets as tf_efficientnet_*, beside nets of its own that pad both sides alike, as torchvision's do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from jax import Array

from aigc_jax.errors import UserError
from aigc_jax.networks.efficientnet import (
    RESOLUTIONS,
    SIZES,
    STAGES,
    EfficientNet,
    Stage,
    scaled_channels,
    scaled_repeats,
)
from aigc_jax.pretrained.config import (
    Config,
    Shapes,
    activation,
    bare,
    labels,
    only,
    side,
    timm_activation,
    torch_options,
)
from aigc_jax.pretrained.images import image_network, logits_only
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import POINTS, Tensor, conv_norm, dense

Pair = tuple[str, str]  # names of two layers: a convolution and the norm that follows, or both of a gate
Layer = Literal["expand", "depthwise", "gate", "project"]

NAMED = {
    **{name: (size["width"], size["depth"], RESOLUTIONS[name]) for name, size in SIZES.items()},
    "b8": (2.2, 3.6, 672),
    "l2": (4.3, 5.3, 800),
}
"""Width, depth, and rows of the images; the last two are timm's alone."""
POOLINGS: dict[str, Literal["mean", "max"]] = {"avg": "mean", "mean": "mean", "max": "max"}


def transformers(config: Config, stored: Shapes) -> Published:
    """EfficientNetForImageClassification, or EfficientNetModel, which gives the last map and its pooling."""
    plain = bare(config, stored, "EfficientNetModel", "EfficientNetForImageClassification")
    module = EfficientNet(
        0 if plain else labels(config),
        config.get("width_coefficient", 2.0),
        config.get("depth_coefficient", 3.1),
        stages=_stages(config),
        padding="even",
        odd_blocks=tuple(config.get("depthwise_padding", ())),
        divisor=config.get("depth_divisor", 8),
        squeeze=config.get("squeeze_expansion_ratio", 0.25),
        skip_first=False,
        activation=activation(config, "hidden_act", "swish"),
        pooling=POOLINGS[only(config, "pooling_type", "mean", "mean", "max")],
        eps=config.get("batch_norm_eps", 1e-3),
    )
    _check_channels(module, config)
    size, channels = side(config.get("image_size", 600)), config.get("num_channels", 3)
    tensors = tensors_of_transformers(module, "" if plain else "efficientnet.")
    return image_network(module, tensors, "efficientnet", size, channels, _features if plain else logits_only)


def timm(config: Config, stored: Shapes) -> Published:
    """efficientnet_b0 to b8 and l2, and tf_efficientnet_* of TensorFlow's padding and eps."""
    name = config["architecture"].split(".")[0]
    tensorflow = name.startswith("tf_")
    options = torch_options(config, stored, "classifier", act_layer="swish", bn_eps=1e-3 if tensorflow else 1e-5,
                            bn_momentum=None, channel_divisor=8, output_stride=32,
                            pad_type="same" if tensorflow else "")  # fmt: skip
    if options["channel_divisor"] % 4:  # other channels would be rounded once more inside every block
        divisor = options["channel_divisor"]
        raise UserError(f"config.json: channel_divisor = {divisor} is not supported, only multiples of 4")
    only(options, "output_stride", 32, 32)
    width, depth, rows = NAMED[name.rpartition("_")[2]]
    module = EfficientNet(
        options["num_classes"],
        width,
        depth,
        padding="SAME" if only(options, "pad_type", "", "", "same") else "symmetric",
        divisor=options["channel_divisor"],
        activation=timm_activation(options, "swish"),
        pooling=POOLINGS[only(options, "global_pool", "avg", "avg", "max")],
        eps=options["bn_eps"],
    )
    return image_network(module, tensors_of_timm(module), "efficientnet", (rows, rows), options["in_chans"])


def torchvision(config: Config, stored: Shapes) -> Published:
    """efficientnet_b0 to b7; b5 to b7 have TensorFlow's eps."""
    options = torch_options(config, stored, "classifier.1", stochastic_depth_prob=0.2)
    name = config["architecture"].rpartition("_")[2]
    width, depth, rows = NAMED[name]
    eps = 1e-3 if name in ("b5", "b6", "b7") else 1e-5
    module = EfficientNet(options["num_classes"], width, depth, padding="symmetric", eps=eps)
    return image_network(module, tensors_of_torchvision(module), "efficientnet", (rows, rows))


def tensors_of_transformers(module: EfficientNet, start: str = "efficientnet.") -> list[Tensor]:
    """start: in front of all names but the head's."""
    blocks = [(stage, index) for stage, repeats in enumerate(_repeats(module), 1) for index in range(repeats)]
    within = {
        "expand": ("expansion.expand_conv", "expansion.expand_bn"),
        "depthwise": ("depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm"),
        "gate": ("squeeze_excite.reduce", "squeeze_excite.expand"),
        "project": ("projection.project_conv", "projection.project_bn"),
    }

    def layer(stage: int, index: int, name: Layer) -> Pair:
        return _below(f"{start}encoder.blocks.{blocks.index((stage, index))}", within[name])

    stem = _below(f"{start}embeddings", ("convolution", "batchnorm"))
    return _tensors(module, stem, layer, _below(f"{start}encoder", ("top_conv", "top_bn")), "classifier")


def tensors_of_timm(module: EfficientNet) -> list[Tensor]:
    plain = {"depthwise": ("conv_dw", "bn1"), "project": ("conv_pw", "bn2")}
    expanded = {"expand": ("conv_pw", "bn1"), "depthwise": ("conv_dw", "bn2"), "project": ("conv_pwl", "bn3")}
    gate = {"gate": ("se.conv_reduce", "se.conv_expand")}

    def layer(stage: int, index: int, name: Layer) -> Pair:
        within = gate | (plain if module.stages[stage - 1].expansion == 1 else expanded)
        return _below(f"blocks.{stage - 1}.{index}", within[name])

    return _tensors(module, ("conv_stem", "bn1"), layer, ("conv_head", "bn2"), "classifier")


def tensors_of_torchvision(module: EfficientNet) -> list[Tensor]:
    def layer(stage: int, index: int, name: Layer) -> Pair:
        first = int(module.stages[stage - 1].expansion != 1)  # the layers are numbered
        number = {"expand": 0, "depthwise": first, "gate": first + 1, "project": first + 2}[name]
        return _below(f"features.{stage}.{index}.block.{number}", ("fc1", "fc2") if name == "gate" else ("0", "1"))

    top = _below(f"features.{len(module.stages) + 1}", ("0", "1"))
    return _tensors(module, ("features.0.0", "features.0.1"), layer, top, "classifier.1")


def _below(at: str, names: Pair) -> Pair:
    return f"{at}.{names[0]}", f"{at}.{names[1]}"


def _tensors(
    module: EfficientNet, stem: Pair, layer: Callable[[int, int, Layer], Pair], top: Pair, head: str
) -> list[Tensor]:
    """layer: (stage from 1, block from 0, name of the layer) -> their names."""
    found = conv_norm("", "stem", stem)
    for number, (stage, repeats) in enumerate(zip(module.stages, _repeats(module)), start=1):
        for index in range(repeats):
            at = f"stage_{number}_block_{index}."
            if stage.expansion != 1:
                found += conv_norm(at, "expand", layer(number, index, "expand"))
            found += conv_norm(at, "depthwise", layer(number, index, "depthwise"))
            reduce, expand = layer(number, index, "gate")
            found += dense(f"{at}gate.reduce", reduce, form=POINTS)
            found += dense(f"{at}gate.expand", expand, form=POINTS)
            found += conv_norm(at, "project", layer(number, index, "project"))
    found += conv_norm("", "head", top)
    return found + (dense("head", head) if module.classes else [])


def _repeats(module: EfficientNet) -> list[int]:
    return [scaled_repeats(stage.repeats, module.depth) for stage in module.stages]


def _stages(config: Config) -> tuple[Stage, ...]:
    """The table of a configuration of transformers, which counts its stages by `in_channels`."""
    expansions, kernels, strides, channels, repeats = zip(*STAGES)
    count = len(config.get("in_channels", STAGES))
    columns = {
        "expand_ratios": expansions,
        "kernel_sizes": kernels,
        "strides": strides,
        "out_channels": channels,
        "num_block_repeats": repeats,
    }
    given = {name: config.get(name, default)[:count] for name, default in columns.items()}
    for name, column in given.items():
        if len(column) < count:
            raise UserError(f"config.json: {name} has {len(column)} numbers for {count} stages")
    if any(stride not in (1, 2) for stride in given["strides"]):
        raise UserError(f"config.json: strides = {given['strides']} is not supported, only 1 and 2")
    return tuple(Stage(*row) for row in zip(*given.values()))


def _check_channels(module: EfficientNet, config: Config) -> None:
    """Raises UserError where the numbers that transformers' configuration gives twice do not agree."""

    def scaled(channels: int) -> int:
        return scaled_channels(channels, module.width, module.divisor)

    came = [module.stem, *(stage.channels for stage in module.stages)][:-1]
    taken = config.get("in_channels", (32, 16, 24, 40, 80, 112, 192))
    if [scaled(channels) for channels in came] != [scaled(channels) for channels in taken]:
        raise UserError(f"config.json: in_channels = {list(taken)}, but the stages take in {came}")
    if config.get("hidden_dim", 2560) != scaled(module.head):
        raise UserError(f"config.json: hidden_dim = {config.get('hidden_dim', 2560)}, but the last convolution has "
                        f"{scaled(module.head)} channels")  # fmt: skip


def _features(logits: Array, features: dict[str, Any]) -> dict[str, Array]:
    return {"last_hidden_state": features["last"], "pooler_output": logits}
