"""NADE's training step beside that of a MADE of the same width: what the recursion costs over one pass.

    python benchmarks/nade.py [--blocks 4 8 16] [--plain] [--rounds 5] [--record results/benchmarks/nade.json]

D = 784, H = 500, batch 128, float32, forward, backward and Adam, in one process, in turn. Each round runs every case a few
times, so that all see the machine in the same minutes; reported are medians over all steps after the first. `--plain` adds
NADE as a scan over variables with automatic derivatives, which stores all hidden units.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import record
from jax import Array

from aigc_jax.methods.likelihood.autoregressive import autoregressive
from aigc_jax.networks import nade
from aigc_jax.networks.made import MADE

D, H, BATCH, TARGET = 784, 500, 128, 15
STEPS = 3
"""In a turn."""


class Plain(nade.NADE):
    """The same network, one variable after another, differentiated by JAX."""

    def __call__(self, x: Array, member: Array | int = 0) -> Array:
        def step(a: Array, known: tuple[Array, ...]) -> tuple[Array, Array]:
            x, w, v, b = known
            return a + x[:, None] * w, b + jax.nn.sigmoid(a) @ v

        start = jnp.broadcast_to(self.c, (len(x), self.hidden))
        return jax.lax.scan(step, start, (x.T, self.w, self.v, self.b))[1].T


def stepper(net: nn.Module) -> Callable[[], float]:
    """() -> seconds of one training step, from call to result; the first has compiled it."""
    method, key = autoregressive(net, optax.adam(1e-3)), jax.random.key(0)
    batch = {"x": jax.random.bernoulli(key, 0.13, (BATCH, D)).astype(jnp.float32)}
    state = jax.jit(method.init)(key, batch)
    update = jax.jit(method.step, donate_argnums=0)

    def step() -> float:
        nonlocal state
        begin = time.perf_counter()
        state, _ = update(state, batch, key)
        jax.block_until_ready(state)
        return time.perf_counter() - begin

    step()
    return step


def blocked(size: int) -> Callable[[], float]:
    """NADE with blocks of another size; it is read when the step is traced."""
    kept, nade.block_size = nade.block_size, lambda: size
    try:
        return stepper(nade.NADE(D, H))
    finally:
        nade.block_size = kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", nargs="+", type=int, default=[nade.block_size()])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    cases = {"made": stepper(MADE(D, (H,)))}
    cases |= {f"nade, blocks of {size}": blocked(size) for size in arguments.blocks}
    cases |= {"nade, plain scan": stepper(Plain(D, H))} if arguments.plain else {}
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(arguments.rounds):
        for name, step in cases.items():
            times[name] += [step() for _ in range(STEPS)]
    median = {name: 1e3 * statistics.median(seconds) for name, seconds in times.items()}
    rows = [
        {"case": name, "ms": round(ms, 1), "over_made": round(ms / median["made"], 1)} for name, ms in median.items()
    ]
    for row in rows:
        print(f"{row['case']:24} {row['ms']:9.1f} ms   {row['over_made']:6.1f} times MADE")
    figures = {
        "protocol": f"D {D}, H {H}, batch {BATCH}, float32, forward + backward + Adam; medians of {arguments.rounds} turns "
        f"of {STEPS} steps for each case in alternation; goal: at most {TARGET} times MADE",
        "cases": rows,
        "all_ms": {name: [round(1e3 * one, 1) for one in seconds] for name, seconds in times.items()},
    }
    record.write(arguments.record, "nade", figures)


if __name__ == "__main__":
    main()
