"""Accuracy beside torch: ResNet-20 at half width on 5,000 pictures of CIFAR-10, the same recipe and epochs on both sides.

    python benchmarks/resnet_cifar.py --data DIR --torch-python /path/to/an/environment/with/torch/bin/python

DIR is the folder `cifar10_subset`: 20,000 training pictures in four files, of which the first alone is trained on, and all
10,000 of the test set, on which both sides are evaluated. Ours is the preset `cifar-20-half` of `resnet`, through
`aigc_jax.train`; the other side is written here in torch alone: network, initialisation, augmentation and schedule are those
of the preset, drawn from torch's own generator. The two sides of a seed run at the same time, each on a core of its own.

Ours computes with XLA's own convolution: between 8 to 32 channels it takes half the time of the form that is the default on
a CPU. The torch side needs torch and numpy. The record, by default results/benchmarks/resnet_cifar.json, is written after
each seed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import lzma
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
GOAL = 2.0  # points between the means
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of a CIFAR ResNet beside torch.")
    parser.add_argument("--data", type=Path, required=True, help="the folder cifar10_subset")
    parser.add_argument("--torch-python", default=sys.executable, help="interpreter of an environment that has torch")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=0, help="instead of the preset's, for a trial")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "resnet_cifar.json")
    parser.add_argument("--side", choices=["ours", "torch"], help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--knobs", type=json.loads, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, [cores[0 if arguments.side == "ours" else -1]])
        run = {"ours": ours, "torch": theirs}[arguments.side]
        print(json.dumps(run(arguments.data.resolve(), arguments.seed, arguments.knobs)))
        return
    import aigc_jax as aigc

    given = {"steps": arguments.steps} if arguments.steps else {}
    knobs = aigc.load("resnet", preset="cifar-20-half", **given).config["knobs"]
    head, rows = protocol(arguments, knobs), []  # before the record itself makes the checkout differ from its commit
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(arguments.seeds):
        runs = {side: start_run(side, seed, knobs, arguments) for side in ("ours", "torch")}
        rows.append(row(seed, {side: answer(side, seed, run) for side, run in runs.items()}))
        print(rows[-1], flush=True)
        arguments.out.write_text(json.dumps({**head, **summary(rows), "cases": rows}, indent=2) + "\n")
    print(json.dumps(summary(rows), indent=2))


def start_run(side: str, seed: int, knobs: dict[str, Any], arguments: argparse.Namespace) -> subprocess.Popen[str]:
    """One run in a process of its own."""
    python = arguments.torch_python if side == "torch" else sys.executable
    command = [python, str(Path(__file__).resolve()), "--side", side, "--seed", str(seed), "--data", str(arguments.data),
               "--knobs", json.dumps(knobs)]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def answer(side: str, seed: int, run: subprocess.Popen[str]) -> dict[str, Any]:
    """What a run has found, at its end. Raises SystemExit where it failed."""
    printed, _ = run.communicate()
    if run.returncode:
        raise SystemExit(f"the run of {side} with seed {seed} ended with code {run.returncode}")
    return json.loads(printed.splitlines()[-1])


def ours(data: Path, seed: int, knobs: dict[str, Any]) -> dict[str, Any]:
    """The preset, trained as `aigc train` does it."""
    import flax
    import jax
    import optax

    import aigc_jax as aigc
    from aigc_jax.networks.layers import conv_form

    aigc.keep_heap()
    steps = knobs["steps"]
    experiment = aigc.load("resnet", preset="cifar-20-half", data=f"files:{data}#5000", steps=steps, seed=seed)
    start = time.process_time(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, conv_form("native"):
        run = aigc.train(experiment, Path(folder) / "run", quiet=True, eval_every=steps, save_every=steps)
        result = json.loads((Path(folder) / "run" / "result.json").read_text())
    versions = {"jax": jax.__version__, "flax": flax.__version__, "optax": optax.__version__}
    parameters = sum(leaf.size for leaf in jax.tree.leaves(run.state.params))
    accuracy = result["metrics"]["eval/accuracy"]
    return report(accuracy, parameters, start, versions)


def theirs(data: Path, seed: int, knobs: dict[str, Any]) -> dict[str, Any]:
    """The same in torch alone."""
    import numpy as np
    import torch

    def pictures(name: str) -> Any:
        with lzma.open(data / f"{name}.npy.xz") as file:
            return torch.from_numpy(np.load(file)).permute(0, 3, 1, 2).float() / 255

    def labels(name: str) -> Any:
        return torch.from_numpy(np.load(data / f"{name}_labels.npy").astype(np.int64))

    def normal(x: Any) -> Any:
        return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    start = time.process_time(), time.perf_counter()
    image, label = pictures("train_images_0"), labels("train")[:5000]
    net = torch_resnet(knobs["depth"], knobs["width"], knobs["classes"])
    tx = torch.optim.SGD(net.parameters(), knobs["lr"], knobs["momentum"], weight_decay=knobs["weight_decay"])
    steps, size, pad = knobs["steps"], knobs["batch_size"], knobs["pad"]
    rows = torch.empty(0, dtype=torch.long)
    for step in range(steps):
        if len(rows) < size:  # the end of one epoch and the start of the next may share a batch
            rows = torch.cat([rows, torch.randperm(len(image))])
        taken, rows = rows[:size], rows[size:]
        x = normal(augmented(image[taken], pad))
        tx.param_groups[0]["lr"] = knobs["lr"] * (1 + math.cos(math.pi * step / steps)) / 2
        tx.zero_grad()
        torch.nn.functional.cross_entropy(net(x), label[taken]).backward()
        tx.step()
    net.eval()
    with torch.no_grad():
        test = torch.cat([pictures(f"test_images_{i}") for i in range(2)])
        guesses = torch.cat([net(normal(part)).argmax(1) for part in test.split(500)])
    accuracy = (guesses == labels("test")).double().mean().item()
    parameters = sum(p.numel() for p in net.parameters())
    return report(accuracy, parameters, start, {"torch": torch.__version__, "numpy": np.__version__})


def augmented(x: Any, pad: int) -> Any:
    """Each picture at a random place within `pad` black pixels, and half of them mirrored."""
    import torch

    count, side = len(x), x.shape[-1]
    x = torch.nn.functional.pad(x, (pad,) * 4)
    tops, lefts = torch.randint(0, 2 * pad + 1, (2, count)).tolist()
    cut = torch.stack([one[:, t : t + side, s : s + side] for one, t, s in zip(x, tops, lefts)])
    return torch.where((torch.rand(count) < 0.5)[:, None, None, None], cut.flip(-1), cut)


def torch_resnet(depth: int, width: float, classes: int) -> Any:
    """A CIFAR net of arXiv:1512.03385, section 4.2, with shortcuts that have no parameters (option A)."""
    import torch
    from torch import nn

    def conv(inputs: int, outputs: int, stride: int) -> Any:
        layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out")
        return nn.Sequential(layer, nn.BatchNorm2d(outputs))

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int):
            super().__init__()
            self.stride, self.more = stride, outputs - inputs
            self.body = nn.Sequential(conv(inputs, outputs, stride), nn.ReLU(), conv(outputs, outputs, 1))

        def forward(self, x: Any) -> Any:
            shortcut = x[:, :, :: self.stride, :: self.stride]
            return torch.relu(self.body(x) + nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.more)))

    before, *rest = widths = [round(channels * width) for channels in (16, 32, 64)]
    layers: list[Any] = [conv(3, before, 1), nn.ReLU()]
    for outputs in widths:
        for index in range((depth - 2) // 6):
            layers.append(Block(before, outputs, 2 if index == 0 and outputs in rest else 1))
            before = outputs
    head = nn.Linear(before, classes)  # its kernel is uniform in +-1 / sqrt(inputs), as ours
    nn.init.zeros_(head.bias)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def report(accuracy: float, parameters: int, start: tuple[float, float], versions: dict[str, str]) -> dict[str, Any]:
    """What a run says of itself; start: its clocks before the data were read."""
    return {
        "accuracy": accuracy,
        "parameters": parameters,
        "cpu_s": round(time.process_time() - start[0]),
        "wall_s": round(time.perf_counter() - start[1]),
        "versions": versions,
    }


def row(seed: int, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A row of the record. Raises SystemExit where the networks have not the same number of parameters."""
    counts = {side: one["parameters"] for side, one in found.items()}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"{counts['ours']:,} parameters here, {counts['torch']:,} in torch: not one architecture")
    facts = {f"{side}_{fact}": one[fact] for fact in ("accuracy", "cpu_s", "wall_s") for side, one in found.items()}
    versions = {f"{side}_versions": one["versions"] for side, one in found.items()}
    return {"seed": seed, "parameters": counts["ours"], **facts, **versions}


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and deviations over the seeds, in per cent of the test set, and the standard error of the difference."""
    percent = {side: [100 * one[f"{side}_accuracy"] for one in rows] for side in ("ours", "torch")}
    mean = {side: statistics.mean(values) for side, values in percent.items()}
    spread = {side: statistics.stdev(values) if len(values) > 1 else 0.0 for side, values in percent.items()}
    difference = mean["ours"] - mean["torch"]
    return {
        "ours_mean_percent": round(mean["ours"], 2),
        "torch_mean_percent": round(mean["torch"], 2),
        "difference_points": round(difference, 2),
        "goal_points": GOAL,
        "reached": abs(difference) <= GOAL,
        "ours_deviation": round(spread["ours"], 2),
        "torch_deviation": round(spread["torch"], 2),
        "difference_error": round(math.hypot(*spread.values()) / math.sqrt(len(rows)), 2),
    }


def protocol(arguments: argparse.Namespace, knobs: dict[str, Any]) -> dict[str, Any]:
    """What was measured, when, on what and at which commit."""
    from aigc_jax.training.folder import commit

    epochs = knobs["steps"] * knobs["batch_size"] / 5000
    return {
        "benchmark": "resnet_cifar",
        "protocol": f"ResNet-{knobs['depth']} at {knobs['width']:g} of its width, float32, 5,000 training pictures of "
        f"CIFAR-10, {epochs:g} epochs of batches of {knobs['batch_size']}, pad {knobs['pad']}, random crop and mirror; "
        f"SGD, rate {knobs['lr']:g} falling by a cosine, momentum {knobs['momentum']:g}, "
        f"weight decay {knobs['weight_decay']:g}; accuracy on all 10,000 test pictures after the last step",
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "device": processor(),
        "cores": "one a side",
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
