"""Makes pixelcnn.npz: parameters of a PixelCNN and a gated one that others wrote, at odd sizes, with random weights.

Needs torch and a clone of the repository: `python tests/golden/make_pixelcnn.py` writes, `--check` recomputes and compares.

Its gated network departs from the paper in things that are undone here: a residual of the vertical stack is taken off again
after each block, a 1 x 1 of the vertical stack's own pixel is zero, and so is a class that enters before the last layers; what
goes to the horizontal stack is copied before the class is added in its place. The plain network is made of its masked
convolutions. Weights are stored in our layout: there feature f belongs to colour f mod 3, here to colour floor(3 f / F).
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import golden
import numpy as np
import torch
from torch import nn

golden.checkout("anordertoreclaim/PixelCNN", "606ebe9")
PATH = Path(__file__).with_name("pixelcnn.npz")
LEVELS, CLASSES = 5, 10


def source(name: str) -> ModuleType:
    """A module of the checkout, of whose imports nothing but torch is used."""
    for unused in ("torchvision", "torchvision.utils"):
        sys.modules.setdefault(unused, SimpleNamespace(save_image=None, datasets=None, transforms=None))
    return importlib.import_module(name)


def by_colour(features: int) -> np.ndarray:
    return np.argsort(np.arange(features) % 3, kind="stable")


def halves(features: int) -> np.ndarray:
    return np.concatenate([by_colour(features // 2), features // 2 + by_colour(features // 2)])


def layer(conv: nn.Conv2d, inputs=by_colour, outputs=by_colour, left: bool = False) -> dict[str, np.ndarray]:
    """A convolution in our layout: rows up to the own one; `left`, columns up to the own one, too."""
    kernel = conv.weight.detach().numpy()
    kernel = (
        kernel[:, :, : kernel.shape[2] // 2 + 1]
        if isinstance(conv, source("pixelcnn.conv_layers").MaskedConv2d)
        else kernel
    )
    kernel = kernel[..., : kernel.shape[3] // 2 + 1] if left else kernel
    out, into = outputs(kernel.shape[0]), inputs(kernel.shape[1])
    made = {"kernel": kernel[out][:, into].transpose(2, 3, 1, 0)}
    return made | ({} if conv.bias is None else {"bias": conv.bias.detach().numpy()[out]})


def randomize(module: nn.Module) -> None:
    rng = np.random.default_rng(0)
    for tensor in module.parameters():
        size = 2 / np.sqrt(np.prod(tensor.shape[1:])) if tensor.ndim == 4 else 0.3
        tensor.data.copy_(torch.from_numpy(size * rng.standard_normal(tuple(tensor.shape))))


def plain(x: torch.Tensor) -> tuple[torch.Tensor, dict]:
    masked = source("pixelcnn.conv_layers").MaskedConv2d

    def conv(inputs: int, outputs: int, side: int, mask: str = "B") -> nn.Conv2d:
        return masked(inputs, outputs, side, padding=side // 2, mask_type=mask, data_channels=3)

    first, hidden, last = conv(3, 8, 5, "A"), conv(8, 7, 1), conv(7, 3 * LEVELS, 1)
    blocks = [[conv(8, 4, 1), conv(4, 4, 3), conv(4, 8, 1)] for _ in range(2)]
    randomize(nn.ModuleList([first, *(one for block in blocks for one in block), hidden, last]))
    h = first(x)
    for narrow, middle, widen in blocks:
        h = h + widen(torch.relu(middle(torch.relu(narrow(torch.relu(h))))))
    y = last(torch.relu(hidden(torch.relu(h))))
    names = ("narrow", "middle", "widen")
    params = {f"layers_{i}": {name: layer(one) for name, one in zip(names, block)} for i, block in enumerate(blocks)}
    return y, params | {"first": layer(first), "hidden": layer(hidden), "last": layer(last)}


def gated(x: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, dict]:
    width, head = 6, 8  # a multiple of 3: its groups in the halves of a gate would not agree else
    config = SimpleNamespace(hidden_fmaps=width, color_levels=LEVELS, causal_ksize=5, hidden_ksize=3, hidden_layers=2,
                             out_hidden_fmaps=head)  # fmt: skip
    model = source("pixelcnn.model").PixelCNN(config)
    randomize(model)
    for block in [model.causal_conv, *model.hidden_conv]:
        block.v_fc.weight.data.zero_()
        block.v_fc.bias.data.zero_()
        block.v_to_h.bias.data.zero_()
        block.v_conv.register_forward_hook(lambda module, inputs, both: tuple(one.clone() for one in both))
    v, h = model.causal_conv(x)
    skip = torch.zeros(len(x), width, *x.shape[2:])
    for block in model.hidden_conv:
        after = block({0: v, 1: h, 2: skip, 3: label})
        v, h, skip = after[0] - v, after[1], after[2]
    y = model.out_conv(torch.relu(model.out_hidden_conv(torch.relu(skip))))

    params = {"hidden": layer(model.out_hidden_conv), "final": layer(model.out_conv)}
    for i, block in enumerate([model.causal_conv, *model.hidden_conv]):
        last = i == len(model.hidden_conv)
        link = layer(block.v_to_h, halves, halves)
        made = {"vertical": layer(block.v_conv, outputs=halves), "link": {"kernel": link["kernel"][0, 0]}}
        made["horizontal"] = layer(block.h_conv, outputs=halves, left=True)
        made |= {} if last else {"out": layer(block.h_fc)}
        table = np.zeros((CLASSES, 2 * width), np.float32)
        if i:
            made["skip"] = layer(block.h_skip)
            table = block.label_embedding.weight.detach().numpy()[:, halves(2 * width)]
        params[f"stack_{i}"] = made | {"class_h": table} | ({} if last else {"class_v": table})
    return y, params


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    x, label = rng.integers(0, LEVELS, (3, 6, 7, 3)), np.array([4, 0, 9])
    pixels = torch.from_numpy(2 * x / (LEVELS - 1) - 1).float().permute(0, 3, 1, 2)
    made = {"x": x.astype(np.int32), "label": label.astype(np.int32)}
    answers = {"plain": plain(pixels), "gated": gated(pixels, torch.from_numpy(label))}
    for name, (y, params) in answers.items():
        # theirs [B, levels, 3, H, W] by `view`; ours [B, H, W, 3, levels]
        y = y.reshape(len(x), LEVELS, 3, *x.shape[1:3]).permute(0, 3, 4, 2, 1).numpy()
        assert y.std(0).mean() > 0.2 * y.std(), "the outputs hardly depend on the input"
        made |= {f"{name}/answer": y, **golden.flat(params, f"{name}/params")}
    return made


if __name__ == "__main__":
    golden.main(PATH, build)
