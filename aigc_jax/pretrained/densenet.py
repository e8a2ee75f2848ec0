"""DenseNet in the layouts of timm and torchvision, which share their names.

Older files, as torchvision still publishes them, have a dot inside a dense layer (`denselayer1.norm.1` for
`denselayer1.norm1`): both are read, and each is written as it came.
"""

from __future__ import annotations

from typing import Any

from aigc_jax.networks.densenet import SIZES, DenseNet
from aigc_jax.pretrained.config import Config, Shapes, only, timm_activation, torch_options
from aigc_jax.pretrained.images import image_network
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import Tensor, batch_norm, conv, dense


def timm(config: Config, stored: Shapes) -> Published:
    """densenet121, 161, 169 and 201; the stem is twice as wide as the growth rate."""
    options = _options(config, stored, stem_type="", act_layer="relu", norm_layer="batchnorm2d", aa_layer=None,
                       aa_stem_only=True, proj_drop_rate=0.0)  # fmt: skip
    only(options, "stem_type", "", "")
    only(options, "norm_layer", "batchnorm2d", "batchnorm2d", "batchnorm")
    only(options, "aa_layer", None, None)
    return _published(config, {**options, "num_init_features": 2 * options["growth_rate"]})


def torchvision(config: Config, stored: Shapes) -> Published:
    """The same names."""
    options = _options(config, stored, num_init_features=_size(config)["initial"])
    return _published(config, options)


def _options(config: Config, stored: Shapes, **more: Any) -> dict[str, Any]:
    size = _size(config)
    options = torch_options(config, stored, "classifier", growth_rate=size["growth"], block_config=size["blocks"], bn_size=4,
                            memory_efficient=False, **more)  # fmt: skip
    only(options, "global_pool", "avg", "avg")
    return options


def _size(config: Config) -> dict[str, Any]:
    return SIZES[_depth(config)]


def _depth(config: Config) -> str:
    return config["architecture"].partition(".")[0].rpartition("densenet")[2]


def _published(config: Config, options: dict[str, Any]) -> Published:
    module = DenseNet(
        options["num_classes"],
        growth=options["growth_rate"],
        blocks=tuple(options["block_config"]),
        initial=options["num_init_features"],
        inner=options["bn_size"],
        activation=timm_activation(options, "relu"),
    )
    # the stem leaves a quarter, and each transition a half, rounded down
    least = 4 * 2 ** (len(module.blocks) - 1) - 3
    knobs = {"depth": int(_depth(config))}
    return image_network(
        module, _tensors(module), "densenet", (224, 224), options["in_chans"], knobs=knobs, least=least
    )


def _tensors(module: DenseNet) -> list[Tensor]:
    found = conv("conv_stem", "features.conv0") + batch_norm("norm_stem", "features.norm0")
    for block, layers in enumerate(module.blocks, start=1):
        for layer in range(layers):
            ours, theirs = f"block_{block}_layer_{layer}", f"features.denseblock{block}.denselayer{layer + 1}"
            for index in (1, 2):
                inside = batch_norm(f"{ours}.norm_{index}", f"{theirs}.norm{index}")
                inside += conv(f"{ours}.conv_{index}", f"{theirs}.conv{index}")
                found += [_dotted(tensor) if tensor.ours else tensor for tensor in inside]
        if block < len(module.blocks):
            ours, theirs = f"transition_{block}", f"features.transition{block}"
            found += batch_norm(f"{ours}_norm", f"{theirs}.norm") + conv(f"{ours}_conv", f"{theirs}.conv")
    found += batch_norm("norm_last", "features.norm5")
    return found + (dense("head", "classifier") if module.classes else [])


def _dotted(tensor: Tensor) -> Tensor:
    """With its older name beside the newer: `....norm1.weight` was `....norm.1.weight`."""
    layer, kind = tensor.theirs[0].rsplit(".", 1)
    return tensor._replace(also=(f"{layer[:-1]}.{layer[-1]}.{kind}",))
