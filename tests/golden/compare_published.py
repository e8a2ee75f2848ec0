"""Reads whole folders that `make_published_*.py --folders DIR PATTERN` wrote, and compares answers and tensors.

    python -m tests.golden.compare_published DIR

For each folder of DIR: the relative distance of each output (norm of the difference over the norm of what differs between
its examples), and whether what is written back equals what was read. Exits 1 if one is above 1e-4 or not equal.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from aigc_jax import pretrained


def main(root: Path) -> int:
    failed = 0
    for folder in sorted(path.parent for path in root.glob("*/outputs.npz")):
        start = time.perf_counter()
        model = pretrained.load(folder)
        with np.load(folder / "inputs.npz") as inputs, np.load(folder / "outputs.npz") as outputs:
            answer = model(**inputs)
            errors = {name: distance(answer[name], outputs[name]) for name in outputs.files}
        shutil.rmtree(root / "back", ignore_errors=True)
        pretrained.save(model, root / "back")
        before, after = (load_file(path / "model.safetensors") for path in (folder, root / "back"))
        equal = before.keys() == after.keys() and all(
            x.tobytes() == after[name].tobytes() for name, x in before.items()
        )
        good = equal and max(errors.values()) < 1e-4
        failed += not good
        told = ", ".join(f"{name} {value:.1e}" for name, value in errors.items())
        print(f"{'ok  ' if good else 'BAD '}{folder.name}: {told}, round trip {'equal' if equal else 'DIFFERS'}, "
              f"{time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
    shutil.rmtree(root / "back", ignore_errors=True)
    return int(failed > 0)


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs - theirs.mean(0)))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
