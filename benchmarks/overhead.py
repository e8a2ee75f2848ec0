"""The trainer's overhead: its steps per second over those of a bare loop that dispatches the same jitted step.

    python benchmarks/overhead.py [--name vae] [--steps 4000] [--rounds 5] [--record results/benchmarks/overhead.json]

Both run over the same stream of the same laptop preset, in turn, in one process; compilation is outside of both, and so are
evaluation, samples and checkpoints, which the trainer does besides. Logging every hundredth of the run is inside.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import jax
import record

import aigc_jax as aigc
from aigc_jax.experiment import Experiment
from aigc_jax.training import loop
from aigc_jax.training.folder import read_rows


def bare(experiment: Experiment, steps: int) -> float:
    """Steps per second of `for batch in stream: state = step(state, batch, key)`."""
    method, stream, key = experiment.method, experiment.data.train(experiment.seed), jax.random.key(experiment.seed)
    state = jax.jit(method.init)(key, next(stream))
    step = jax.jit(method.step, donate_argnums=0)
    fold = jax.jit(jax.random.fold_in)
    state, _ = step(state, next(stream), fold(key, 0))
    jax.block_until_ready(state)
    begin = time.perf_counter()
    for index in range(steps):
        state, _ = step(state, next(stream), fold(key, index))
    jax.block_until_ready(state)
    return steps / (time.perf_counter() - begin)


def trained(experiment: Experiment, steps: int) -> float:
    """Steps per second of the trainer, from its second logged row, past compilation, to the last but one."""
    with tempfile.TemporaryDirectory() as folder:
        run = loop.train(experiment, Path(folder) / "run", steps=steps, quiet=True, eval_every=steps, sample_every=steps,
                         save_every=steps)  # fmt: skip
        assert run.workdir is not None
        rows = read_rows(run.workdir / "timing.jsonl")
    first, last = rows[1], rows[-2]
    return (last["step"] - first["step"]) / (last["seconds"] - first["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="vae")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    if arguments.steps < 4:
        parser.error(f"--steps must be at least 4, two rows between the first and the last, not {arguments.steps}")
    experiment = aigc.load(arguments.name, preset="laptop")._replace(evals={}, panels={})
    pairs = [(trained(experiment, arguments.steps), bare(experiment, arguments.steps)) for _ in range(arguments.rounds)]
    ratios = [one / other for one, other in pairs]
    for (one, other), ratio in zip(pairs, ratios):
        print(f"trainer {one:8.1f} steps/s   bare loop {other:8.1f} steps/s   ratio {ratio:.3f}")
    figures = {
        "case": f"{arguments.name} laptop, {arguments.steps} steps, median of {arguments.rounds}",
        "ours": statistics.median(one for one, _ in pairs),
        "peer": statistics.median(other for _, other in pairs),
        "peer_name": "bare loop over the same jitted step",
        "unit": "steps/s",
        "ratio": statistics.median(ratios),
        "target": 0.95,
    }
    print(f"median ratio {figures['ratio']:.3f} (target {figures['target']})")
    record.write(arguments.record, "trainer overhead", figures)


if __name__ == "__main__":
    main()
