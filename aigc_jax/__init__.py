"""The techniques behind AI-generated content as pure JAX functions, verified, trained from one experiment file.

    import aigc_jax as aigc
    exp = aigc.load("ddpm", preset="laptop", lr=1e-3)
    run = aigc.train(exp, "runs/ddpm")

Nothing heavy is imported until it is used: `aigc list` answers without loading JAX.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "load": "experiment",
    "find": "experiment",
    "catalogue": "experiment",
    "Experiment": "experiment",
    "Method": "core",
    "TrainState": "core",
    "train": "training.loop",
    "open_run": "training.run",
    "keep_heap": "heap",
    "UserError": "errors",
    "RunError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'aigc_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"aigc_jax.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
