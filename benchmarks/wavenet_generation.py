"""Drawing from a WaveNet: queues of past inputs beside the naive loop, which runs the network over its context for each sample.

    python benchmarks/wavenet_generation.py [--samples 1000] [--naive 20] [--rounds 3] [--record FILE.json]

10 layers (dilations 1 ... 512), 32 channels, skip 128, batch 16, float32. Both are one compiled program, a scan over samples;
the naive one is given no more context than the receptive field. Reported are milliseconds for each sample of the batch, the
median of the rounds, and the ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import record
from jax import Array

from aigc_jax.networks.wavenet import WaveNet

BATCH, TARGET = 16, 20
NET = WaveNet(stacks=1, doublings=10, residual=32, gate=32, skip=128)


def cached(params: dict, samples: int) -> Callable[[Array], Array]:
    return jax.jit(lambda key: NET.apply(params, key, BATCH, samples, method="draw")[0])


def naive(params: dict, samples: int) -> Callable[[Array], Array]:
    def draw(key: Array) -> Array:
        def step(context: Array, key: Array) -> tuple[Array, Array]:
            code = jax.random.categorical(key, NET.apply(params, context)[:, -1])
            return jnp.concatenate([context[:, 1:-1], code[:, None], context[:, -1:]], axis=1), code

        start = jnp.full((BATCH, NET.receptive_field + 1), 128)  # the last place is what is asked for
        return jax.lax.scan(step, start, jax.random.split(key, samples))[1]

    return jax.jit(draw)


def milliseconds(draw: Callable[[Array], Array], samples: int, rounds: int) -> float:
    """For one sample of each of the batch; the first call has compiled it."""
    jax.block_until_ready(draw(jax.random.key(0)))
    times = []
    for index in range(rounds):
        begin = time.perf_counter()
        jax.block_until_ready(draw(jax.random.key(index)))
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times) / samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--naive", type=int, default=20, help="samples of the naive loop")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    params = jax.jit(NET.init)(jax.random.key(0), jnp.zeros((1, 2), int))
    fast = milliseconds(cached(params, arguments.samples), arguments.samples, arguments.rounds)
    slow = milliseconds(naive(params, arguments.naive), arguments.naive, arguments.rounds)
    print(f"queues {fast:.3f} ms a sample, naive {slow:.1f} ms: {slow / fast:.0f} times; goal {TARGET}")
    figures = {
        "protocol": f"10 layers, receptive field {NET.receptive_field}, 32 channels, skip 128, batch {BATCH}, float32; "
        f"medians of {arguments.rounds} rounds; goal: at least {TARGET} times faster than the naive loop",
        "queues_ms": round(fast, 4),
        "naive_ms": round(slow, 2),
        "ratio": round(slow / fast, 1),
    }
    record.write(arguments.record, "wavenet_generation", figures)


if __name__ == "__main__":
    main()
