"""Makes efficientnet.npz: logits of small EfficientNets of transformers (SAME padding) and of torchvision (symmetric).

Weights are drawn by name (weights.py). Needs torch, torchvision and transformers:
`python tests/golden/make_efficientnet.py` writes, `--check` recomputes and compares.
"""

import functools
from pathlib import Path

import golden
import numpy as np
import reference
import torch

PATH = Path(__file__).with_name("efficientnet.npz")
STAGES = [(1, 3, 1, 16, 1), (6, 5, 2, 24, 2), (4, 3, 2, 40, 1)]  # expansion, kernel, stride, channels, repeats
STEM, HEAD, WIDTH, DEPTH = 32, 64, 0.7, 1.3


def of_transformers() -> torch.nn.Module:
    transformers = reference.library("transformers")
    expansions, kernels, strides, channels, repeats = map(list, zip(*STAGES))
    config = transformers.EfficientNetConfig(
        width_coefficient=WIDTH, depth_coefficient=DEPTH, kernel_sizes=kernels, in_channels=[STEM, *channels[:-1]],
        out_channels=channels, strides=strides, num_block_repeats=repeats, expand_ratios=expansions, num_labels=7,
        dropout_rate=0.0, drop_connect_rate=0.0, hidden_dim=48,
        depthwise_padding=[5],  # the block of stride 2 whose input is odd
    )  # fmt: skip
    # the width of its last convolution is no option: it stays at 1280 scaled, cut here to that of `hidden_dim`
    model = transformers.EfficientNetForImageClassification(config)
    model.efficientnet.encoder.top_conv = torch.nn.Conv2d(
        model.efficientnet.encoder.top_conv.in_channels, config.hidden_dim, 1, bias=False
    )
    return model


def of_torchvision() -> torch.nn.Module:
    module = reference.library("torchvision.models.efficientnet")
    before, rows = STEM, []
    for expansion, kernel, stride, channels, repeats in STAGES:
        rows.append(module.MBConvConfig(expansion, kernel, stride, before, channels, repeats, WIDTH, DEPTH))
        before = channels
    norm = functools.partial(torch.nn.BatchNorm2d, eps=1e-5)
    return module.EfficientNet(rows, 0.0, 0.0, num_classes=7, norm_layer=norm, last_channel=48)


def build() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    images = reference.images(3, 36, 44)  # after the stem 18 x 22, then 9 x 11, then 5 x 6
    found = {}
    for name, model in (("same", of_transformers()), ("symmetric", of_torchvision())):
        found |= {f"{name}/{key}": value for key, value in reference.fill(model, images).items()}
        found[f"{name}/logits"] = reference.logits(model, images)
        with torch.no_grad():
            trained = model.train()(images)
        found[f"{name}/train_logits"] = getattr(trained, "logits", trained).numpy()
    return found


if __name__ == "__main__":
    golden.main(PATH, build, rtol=1e-3, atol=1e-4)
