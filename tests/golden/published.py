"""What the scripts make_published_*.py share: small published folders, as configuration, names, shapes and answers.

Weights are drawn by the names that the files have (weights.py), so a golden file holds only the statistics of batch norms,
the shapes and the outputs; the tests write the folder from them. A script with `--folders DIR PATTERN` writes whole folders
instead, for every public size whose name matches the pattern, with random weights, inputs.npz and outputs.npz:
`compare_published.py DIR` reads them with the library here.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import golden
import numpy as np
import reference
import torch
import weights
from safetensors.numpy import load_file, save_file

MANY = 5000
"""Channels with statistics above which these are rounded and packed: networks that their library makes in no small sizes."""

Maker = Callable[[], tuple[torch.nn.Module, dict[str, Any] | None]]
"""() -> (model, its config.json; None where the model writes it itself by `save_pretrained`)."""

More = Callable[[Path, dict[str, torch.Tensor]], dict[str, np.ndarray]]

KEPT = r"running_|embed_positions|_layer_norm\.weight|final_logits_bias"
"""Statistics, tables by formula, and what Marian's makers set themselves."""


def main(
    path: Path,
    small: Mapping[str, Any],
    public: Mapping[str, Maker],
    answer: Callable[..., dict],
    more: More | None = None,
) -> None:
    """Writes or checks the golden file of the small cases, or the folders of the public ones.

    small:  case -> (maker, inputs of torch by name).
    public: name -> maker.
    answer: (model, **inputs) -> {output: tensor}; images are [B, C, H, W] there.
    more:   (folder of a small case, inputs) -> what else the golden file holds; it may change the folder's configurations.
    """
    if "--folders" in sys.argv:
        at = sys.argv.index("--folders")
        for name, make in public.items():
            if re.fullmatch(sys.argv[at + 2], name):
                write_folder(Path(sys.argv[at + 1]) / name, make, answer)
        return

    def build() -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for case, (make, inputs) in small.items():
            torch.manual_seed(0)
            made = bundled(described(make, inputs, answer, more))
            found |= {f"{case}/{key}": value for key, value in made.items()}
        return found

    golden.main(path, build)


def described(
    make: Maker, inputs: dict[str, torch.Tensor], answer: Callable[..., dict], more: More | None
) -> dict[str, np.ndarray]:
    """Configuration, names and shapes of the tensors, statistics, inputs and outputs of one case."""
    with tempfile.TemporaryDirectory() as folder:
        model, config = settled(make, Path(folder), inputs, answer)
        stored = load_file(Path(folder) / "model.safetensors")
        found = more(Path(folder), inputs) if more else {}
        files = (("config", "config.json"), ("generation", "generation_config.json"))
        read = {name: Path(folder) / file for name, file in files}
        found |= {name: np.str_(file.read_text()) for name, file in read.items() if file.exists()}
    found["tensors"] = np.str_(json.dumps({name: [list(x.shape), str(x.dtype)] for name, x in stored.items()}))
    means = [name for name in stored if name.endswith("running_mean")]
    if sum(stored[name].size for name in means) > MANY:  # and the counts are 0
        pairs = [(stored[name], stored[name.replace("running_mean", "running_var")]) for name in means]
        found["statistics"] = np.concatenate([weights.packed(*pair) for pair in pairs], -1)
    else:
        found |= {f"stored/{name}": x for name, x in stored.items() if not drawn_by_name(name, x)}
    found |= {f"input/{name}": as_ours(x) for name, x in inputs.items()}
    return found | {f"output/{name}": as_ours(x) for name, x in outputs(model, inputs, answer).items()}


def bundled(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """With the stored arrays of each type side by side, their names beside them: a file would spend most on the entries."""
    stored = {name.removeprefix("stored/"): x for name, x in found.items() if name.startswith("stored/")}
    kept = {name: x for name, x in found.items() if not name.startswith("stored/")}
    for kind in sorted({str(x.dtype) for x in stored.values()}):
        names = [name for name, x in stored.items() if x.dtype == kind]
        kept[f"names/{kind}"] = np.str_(json.dumps(names))
        kept[f"bundle/{kind}"] = np.concatenate([stored[name].ravel() for name in names])
    return kept


def drawn_by_name(name: str, x: np.ndarray) -> bool:
    """Whether a tensor is a weight, which tests draw by its name; statistics and counts are stored."""
    return x.dtype.kind == "f" and not re.search(KEPT, name)


@torch.no_grad()
def settled(
    make: Maker, folder: Path, inputs: dict[str, torch.Tensor], answer: Callable
) -> tuple[torch.nn.Module, Any]:
    """A model whose weights are drawn by the names of its files, with statistics of one pass; the folder holds it."""
    model, config = make()
    save(model, config, folder)
    stored = load_file(folder / "model.safetensors")
    stored |= {name: weights.drawn(name, x.shape) for name, x in stored.items() if drawn_by_name(name, x)}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    if config is None:
        model = type(model).from_pretrained(folder)
    else:
        model.load_state_dict({name: torch.from_numpy(np.array(x)) for name, x in stored.items()})
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if norms:
        settle = settle_rounded if sum(norm.num_features for norm in norms) > MANY else reference.settle
        settle(model, lambda: answer(model, **inputs))
        save(model, config, folder)
    return model.eval(), config


def settle_rounded(model: torch.nn.Module, once: Callable[[], Any]) -> None:
    """Gives each batch norm the statistics of one call, rounded; what follows it sees what it makes of them."""

    def settle(norm: torch.nn.Module, arguments: tuple[torch.Tensor]) -> None:
        var, mean = torch.var_mean(arguments[0], (0, 2, 3), correction=0)
        mean, var = weights.unpacked(weights.packed(mean.numpy(), var.numpy()))
        norm.running_mean.copy_(torch.from_numpy(mean))
        norm.running_var.copy_(torch.from_numpy(var))

    norms = [module for module in model.eval().modules() if isinstance(module, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    once()
    for hook in hooks:
        hook.remove()


def save(model: torch.nn.Module, config: dict[str, Any] | None, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if config is None:
        model.save_pretrained(folder)
        return
    state = {name: x.detach().contiguous().numpy() for name, x in model.state_dict().items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2))


@torch.no_grad()
def outputs(model: torch.nn.Module, inputs: dict[str, torch.Tensor], answer: Callable) -> dict[str, torch.Tensor]:
    """Raises AssertionError where an output hardly depends on the input."""
    found = answer(model.eval(), **inputs)
    for name, x in found.items():
        spread = x.float().std(0).mean() / x.float().std()
        assert spread > 0.02, f"{name} hardly depends on the input: {spread}"
    return found


def as_ours(x: torch.Tensor) -> np.ndarray:
    """Four axes are those of images: channels last."""
    return np.ascontiguousarray((x.permute(0, 2, 3, 1) if x.ndim == 4 else x).detach().numpy())


def transformers(kind: str, **fields: Any) -> tuple[torch.nn.Module, None]:
    """A class of transformers with a configuration of its family."""
    library = reference.library("transformers")
    family = kind.partition("For")[0].removesuffix("Model")
    return getattr(library, kind)(getattr(library, f"{family}Config")(**fields)), None


def timm(name: str, **arguments: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The configuration has what timm writes and its users read: architecture, classes, arguments of the builder."""
    model = reference.library("timm").create_model(name, **arguments)
    return model, {"architecture": name, "num_classes": model.num_classes, "model_args": arguments}


def torchvision(name: str, **arguments: Any) -> tuple[torch.nn.Module, dict[str, Any]]:
    model = getattr(reference.library("torchvision.models"), name)(weights=None, **arguments)
    return model, {"library_name": "torchvision", "architecture": name, **arguments}


def answer(model: torch.nn.Module, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a network of images gives, with or without a head."""
    found = model(pixel_values)
    if isinstance(found, torch.Tensor):
        return {"logits": found}
    return {name: found[name] for name in ("logits", "last_hidden_state", "pooler_output") if name in found}


def sized(size: int, make: Maker) -> Maker:
    """A maker whose public folder has images of that size."""
    make.size = size
    return make


def write_folder(folder: Path, make: Maker, answer: Callable[..., dict]) -> None:
    """A whole public network with random weights; its images are of the size its maker names, at most 224, or it names all
    its inputs.
    """
    torch.manual_seed(0)
    size = make.size if hasattr(make, "size") else 224
    inputs = make.inputs if hasattr(make, "inputs") else {"pixel_values": reference.images(2, size, size)}
    model, _ = settled(make, folder, inputs, answer)
    np.savez(folder / "inputs.npz", **{name: as_ours(x) for name, x in inputs.items()})
    np.savez(folder / "outputs.npz", **{name: as_ours(x) for name, x in outputs(model, inputs, answer).items()})
    print(folder)
