"""A training step beside torch eager: the same network, float32, forward, backward and AdamW, on the same cores.

    python benchmarks/train_step.py --torch-python /path/to/an/environment/with/torch/bin/python

One process for each side, run in turn (ours, torch, ours, torch, ...), so that both see the machine in the same minutes; each
sleeps while the other works. Reported is the median over all steps after warm-up, and torch over ours: above 1 we are faster.
The parameter counts of the two networks are compared, and a difference is an error.

The torch side needs torch, transformers and diffusers; ours needs neither. The record goes to
results/benchmarks/train_step.json.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 3
KEPT: list[Any] = []  # torch forgets the operators of a library object that is collected
CASES: dict[str, dict[str, Any]] = {
    "resnet18": dict(batch=64, size=32, classes=10, about="ResNet-18, 7x7/2 stem and pooling, batch 64, 32x32"),
    "unet": dict(batch=16, size=32, widths=(64, 128, 128), about="U-Net 64-128-128, attention at 16, batch 16, 32x32"),
    "gpt": dict(
        batch=8, length=256, vocab=8192, width=384, depth=6, heads=6, about="GPT 6 x 384, V 8192, batch 8 x 256"
    ),
}
Step = Callable[[], None]  # runs one training step to its end


def main() -> None:
    parser = argparse.ArgumentParser(description="Training steps beside torch eager.")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter of an environment that has torch")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "train_step.json")
    parser.add_argument("--side", choices=["ours", "torch"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        serve(arguments.side, arguments.cases[0], arguments.cores)
        return
    rows: list[dict[str, Any]] = []
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    head = protocol(arguments)  # before the record itself makes the checkout differ from its commit
    for case in arguments.cases:  # written after each, so that what was measured is not lost with what fails later
        rows.append(compare(case, arguments))
        arguments.out.write_text(json.dumps({**head, "cases": rows}, indent=2) + "\n")
    table(rows)


def compare(case: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs both sides of a case in turn and gives its row of the record."""
    sides = {
        "ours": Side(sys.executable, "ours", case, arguments.cores),
        "torch": Side(arguments.torch_python, "torch", case, arguments.cores),
    }
    counts = {name: side.hello["parameters"] for name, side in sides.items()}
    if counts["ours"] != counts["torch"]:
        raise SystemExit(
            f"{case}: {counts['ours']:,} parameters here, {counts['torch']:,} in torch: not one architecture"
        )
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.rounds):
        for name, side in sides.items():
            times[name] += side.run(arguments.steps)
    for side in sides.values():
        side.close()
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    return {
        "case": case,
        "about": CASES[case]["about"],
        "parameters": counts["ours"],
        "ours_ms": round(1e3 * median["ours"], 1),
        "torch_ms": round(1e3 * median["torch"], 1),
        "torch_over_ours": round(median["torch"] / median["ours"], 3),
        "ours_versions": sides["ours"].hello["versions"],
        "torch_versions": sides["torch"].hello["versions"],
        "ours_first_step_s": sides["ours"].hello["first_step_s"],
        "all_ms": {name: [round(1e3 * one, 1) for one in seconds] for name, seconds in times.items()},
    }


class Side:
    """A subprocess of this script that runs the steps of one side when told, and sleeps otherwise."""

    def __init__(self, python: str, side: str, case: str, cores: int):
        self.name = f"{side}, {case}"
        command = [python, str(Path(__file__).resolve()), "--side", side, "--cases", case, "--cores", str(cores)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.hello = self._read()

    def run(self, steps: int) -> list[float]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the subprocess of {self.name} ended with code {self.process.wait()}")
        return json.loads(line)


def serve(side: str, case: str, cores: int) -> None:
    """The subprocess: builds the step, warms up, then runs as many as each line of standard input says."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    start = time.perf_counter()
    step, parameters, versions = (ours if side == "ours" else theirs)(case, cores)
    step()
    first = time.perf_counter() - start
    for _ in range(WARM_UP - 1):
        step()
    print(json.dumps({"parameters": parameters, "versions": versions, "first_step_s": round(first, 1)}), flush=True)
    for line in sys.stdin:
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


def random_batch(case: str) -> dict[str, Any]:
    """One batch as numpy arrays, channels last; the same for both sides."""
    import numpy as np

    draw, c = np.random.default_rng(0), CASES[case]
    if case == "gpt":
        return {"tokens": draw.integers(0, c["vocab"], (c["batch"], c["length"] + 1), dtype=np.int32)}
    image = draw.standard_normal((c["batch"], c["size"], c["size"], 3), dtype=np.float32)
    if case == "resnet18":
        return {"image": image, "label": draw.integers(0, c["classes"], c["batch"], dtype=np.int32)}
    noise = draw.standard_normal(image.shape, dtype=np.float32)
    return {"image": image, "noise": noise, "t": draw.integers(0, 1000, c["batch"], dtype=np.int32)}


def ours(case: str, cores: int) -> tuple[Step, int, dict[str, str]]:
    """A step of `aigc_jax.core.descend`, compiled with the state donated and the heap kept, as `aigc train` does."""
    from aigc_jax.heap import keep_heap

    keep_heap()
    import flax
    import jax
    import optax

    from aigc_jax.core import descend, new_state

    tx, batch = optax.adamw(1e-4), random_batch(case)
    module, inputs, objective = our_network(case)

    def init(key):
        variables = dict(module.init(key, *inputs(batch)))
        return new_state({"net": variables.pop("params")}, tx, memory=variables)

    def loss(params, memory, batch, key):
        variables = {"params": params["net"], **memory}
        out, memory = module.apply(variables, *inputs(batch), train=True, mutable=list(memory))
        return objective(out, batch), (memory, {})

    key = jax.random.key(0)
    state = jax.jit(init)(key)
    update = jax.jit(descend(loss, tx), donate_argnums=0)

    def step() -> None:
        nonlocal state
        state, metrics = update(state, batch, key)
        jax.block_until_ready((state, metrics))

    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return step, parameters, {"jax": jax.__version__, "flax": flax.__version__, "optax": optax.__version__}


def our_network(case: str) -> tuple[Any, Callable, Callable]:
    """(module, batch -> its inputs, (output, batch) -> loss)."""
    import jax.numpy as jnp
    import optax

    from aigc_jax.networks.gpt import GPT
    from aigc_jax.networks.resnet import SIZES, ResNet
    from aigc_jax.networks.unet import UNet

    def cross_entropy(logits, labels):
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    c = CASES[case]
    if case == "gpt":
        net = GPT(
            vocab=c["vocab"], context=c["length"], width=c["width"], depth=c["depth"], heads=c["heads"], dropout=0.0
        )
        return net, lambda b: (b["tokens"][:, :-1],), lambda out, b: cross_entropy(out, b["tokens"][:, 1:])
    if case == "resnet18":
        net = ResNet(classes=c["classes"], **SIZES["18"])
        return net, lambda b: (b["image"],), lambda out, b: cross_entropy(out[0], b["label"])
    first, *_ = c["widths"]
    net = UNet(width=first, multipliers=tuple(w // first for w in c["widths"]), attention=(16,), dropout=0.0)
    return net, lambda b: (b["image"], b["t"]), lambda out, b: jnp.mean((out - b["noise"]) ** 2)


def theirs(case: str, cores: int) -> tuple[Step, int, dict[str, str]]:
    """A step of torch eager, in its own layout, with its own AdamW at its defaults."""
    import torch

    declare_torchvision_operators()
    import diffusers
    import transformers

    torch.set_num_threads(cores)
    c, batch = CASES[case], {name: torch.from_numpy(value) for name, value in random_batch(case).items()}
    cross_entropy = torch.nn.functional.cross_entropy
    if case == "gpt":
        sizes = dict(
            vocab_size=c["vocab"], n_positions=c["length"], n_embd=c["width"], n_layer=c["depth"], n_head=c["heads"]
        )
        off = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False, bos_token_id=0, eos_token_id=0)
        net = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **off))
        tokens = batch["tokens"].long()

        def loss():
            return cross_entropy(net(tokens[:, :-1]).logits.flatten(0, 1), tokens[:, 1:].flatten())
    elif case == "resnet18":
        net = torch_resnet18(c["classes"])
        image, label = batch["image"].permute(0, 3, 1, 2).contiguous(), batch["label"].long()

        def loss():
            return cross_entropy(net(image), label)
    else:
        net = torch_unet(c["widths"], c["size"])
        image, noise = (batch[name].permute(0, 3, 1, 2).contiguous() for name in ("image", "noise"))
        t = batch["t"]

        def loss():
            return torch.nn.functional.mse_loss(net(image, t).sample, noise)

    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "diffusers": diffusers.__version__,
    }
    return step, sum(p.numel() for p in net.parameters()), versions


def declare_torchvision_operators() -> None:
    """Lets transformers and diffusers import where torchvision was built for another torch: they use none of its operators."""
    import torch

    try:
        importlib.import_module("torchvision")
    except ImportError:
        pass
    except RuntimeError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        KEPT.append(library)
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def torch_unet(widths: tuple[int, ...], size: int) -> Any:
    """diffusers' U-Net as its DDPM checkpoints have it, with attention at half the size."""
    import diffusers

    kinds = ["Attn" if level == 1 else "" for level in range(len(widths))]
    return diffusers.UNet2DModel(
        sample_size=size,
        block_out_channels=widths,
        layers_per_block=2,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in kinds),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(kinds)),
        attention_head_dim=None,
        norm_eps=1e-6,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )


def torch_resnet18(classes: int) -> Any:
    """ResNet-18 of arXiv:1512.03385, table 1, in torch's own layers."""
    import torch
    from torch import nn

    def conv(inputs: int, outputs: int, kernel: int, stride: int) -> Any:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(outputs))

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.body = nn.Sequential(
                conv(inputs, outputs, 3, stride), nn.ReLU(inplace=True), conv(outputs, outputs, 3, 1)
            )
            self.shortcut = nn.Identity() if inputs == outputs else conv(inputs, outputs, 1, stride)

        def forward(self, x: Any) -> Any:
            return torch.relu_(self.body(x) + self.shortcut(x))

    layers: list[Any] = [conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    for inputs, outputs, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


def protocol(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was measured, when, on what and at which commit."""
    from aigc_jax.training.folder import commit

    return {
        "benchmark": "train_step",
        "protocol": f"float32, forward + backward + AdamW; {WARM_UP} steps of warm-up, then {arguments.rounds} turns of "
        f"{arguments.steps} steps for each side in alternation; medians",
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "device": processor(),
        "cores": arguments.cores,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def table(rows: list[dict[str, Any]]) -> None:
    """Prints the rows for people."""
    print(f"{'':58}{'parameters':>12}{'ours ms':>10}{'torch ms':>10}{'torch/ours':>12}")
    for row in rows:
        times = f"{row['ours_ms']:>10}{row['torch_ms']:>10}{row['torch_over_ours']:>12}"
        print(f"{row['about']:58}{row['parameters']:>12,}{times}")


if __name__ == "__main__":
    main()
