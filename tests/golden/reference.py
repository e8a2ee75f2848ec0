"""What the scripts that run torch share: the libraries, weights by name, statistics that let outputs depend on the input.

With random statistics a deep batch-normalised net answers every input alike, and a comparison would see nothing: the norms
get the statistics of one real pass, moved a little, and the outputs are checked to differ.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import torch
import weights


def library(name: str) -> ModuleType:
    """Imports a library that imports torchvision: its ops do not load beside a CPU torch, but their names are enough."""
    if not hasattr(torch.ops.torchvision, "nms"):
        torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module(name)


@torch.no_grad()
def fill(model: torch.nn.Module, images: torch.Tensor) -> dict[str, np.ndarray]:
    """Every parameter by its name, dropout off, the statistics of one pass, moved: these come back by name."""
    for name, tensor in model.named_parameters():
        tensor.copy_(torch.from_numpy(weights.drawn(name, tuple(tensor.shape))))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    settle(model, lambda: model(images))
    return {
        name: tensor.numpy().copy()
        for name, tensor in model.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    }


@torch.no_grad()
def settle(model: torch.nn.Module, once: Callable[[], Any]) -> None:
    """Gives the batch norms the statistics of one call, moved a little."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    once()
    for norm, momentum in zip(norms, momenta):
        norm.running_mean.add_(0.2 * torch.randn_like(norm.running_mean) * norm.running_var.sqrt())
        norm.running_var.mul_(torch.exp(0.3 * torch.randn_like(norm.running_var)))
        norm.momentum = momentum


def images(count: int, height: int, width: int, factor: float = 1.0) -> torch.Tensor:
    return torch.from_numpy(weights.images(count, height, width, factor))


@torch.no_grad()
def logits(model: torch.nn.Module, images: torch.Tensor) -> np.ndarray:
    """Those of evaluation. Raises AssertionError where they hardly depend on the image."""
    answer = model.eval()(images)
    answer = getattr(answer, "logits", answer)
    spread = answer.std(0).mean() / answer.std()
    assert spread > 0.02, f"the outputs hardly depend on the input: {spread}"
    return answer.numpy()
