"""Pre-activation ResNet in the layout of timm: the names resnetv2_* with batch normalisation and a plain stem.

timm gives the channels that blocks have outside; inside a bottleneck are a quarter as many. All numbers of channels are
rounded to multiples of 8. Its last layer is a 1x1 convolution.
"""

from __future__ import annotations

from aigc_jax.networks.efficientnet import scaled_channels
from aigc_jax.networks.preactivation import SIZES, PreActivationResNet
from aigc_jax.pretrained.config import Config, Shapes, only, timm_activation, torch_options
from aigc_jax.pretrained.images import image_network
from aigc_jax.pretrained.model import Published
from aigc_jax.pretrained.tensors import POINTS, Tensor, batch_norm, conv, dense


def timm(config: Config, stored: Shapes) -> Published:
    """resnetv2_18, 34, 50, 101 and 152."""
    depth = config["architecture"].partition(".")[0].removeprefix("resnetv2_")
    size = SIZES[depth]
    wide = 4 if size["bottleneck"] else 1
    options = torch_options(
        config,
        stored,
        "head.fc",
        layers=size["depths"],
        channels=tuple(wide * width for width in (64, 128, 256, 512)),
        output_stride=32,
        width_factor=1,
        stem_chs=64,
        stem_type="",
        avg_down=False,
        preact=True,
        basic=not size["bottleneck"],
        bottle_ratio=1 / wide,
        act_layer="relu",
        norm_layer="batchnorm2d",
        zero_init_last=False,
    )
    only(options, "global_pool", "avg", "avg")
    only(options, "output_stride", 32, 32)
    only(options, "stem_type", "", "")
    only(options, "avg_down", False, False)
    only(options, "preact", True, True)
    only(options, "norm_layer", "batchnorm2d", "batchnorm2d", "batchnorm")
    outs = tuple(scaled_channels(out, options["width_factor"]) for out in options["channels"])
    module = PreActivationResNet(
        options["num_classes"],
        tuple(options["layers"]),
        widths=tuple(scaled_channels(out, options["bottle_ratio"]) for out in outs),
        outs=outs,
        bottleneck=not options["basic"],
        stem_width=scaled_channels(options["stem_chs"], options["width_factor"]),
        activation=timm_activation(options, "relu"),
    )
    knobs = {"block": "preactivation", "depth": int(depth)}
    return image_network(module, _tensors(module), "resnet", (224, 224), options["in_chans"], knobs=knobs)


def _tensors(module: PreActivationResNet) -> list[Tensor]:
    found = conv("conv_stem", "stem.conv")
    outs = module.outs or tuple(width * (4 if module.bottleneck else 1) for width in module.widths)
    before = module.stem_width or module.widths[0]
    for stage, (depth, out) in enumerate(zip(module.depths, outs, strict=True), start=1):
        for block in range(depth):
            ours, theirs = f"stage_{stage}_block_{block}", f"stages.{stage - 1}.blocks.{block}"
            for index in range(1, 4 if module.bottleneck else 3):
                found += batch_norm(f"{ours}.norm_{index}", f"{theirs}.norm{index}")
                found += conv(f"{ours}.conv_{index}", f"{theirs}.conv{index}")
            if block == 0 and (module.bottleneck or stage > 1 or before != out):
                found += conv(f"{ours}.conv_shortcut", f"{theirs}.downsample.conv")
        before = out
    found += batch_norm("norm_last", "norm")
    return found + (dense("head", "head.fc", form=POINTS) if module.classes else [])
