"""Cached sampling of pictures beside the naive loop, which runs the whole network once for each pixel, or each colour of it.

    python benchmarks/pixel_sampling.py [--cases gated-28] [--rounds 3] [--record results/benchmarks/pixel_sampling.json]

Batch 16, float32, random weights, one compiled program each. The naive loop is long: of its D equal steps (D pixels, times
colours) `--steps` are timed in one program and multiplied up to D; the cached one draws whole pictures. Both in one process, in
turn; medians.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import record
from jax import Array

from aigc_jax.methods.likelihood.pixels import draw
from aigc_jax.networks.gated_pixelcnn import GatedPixelCNN
from aigc_jax.networks.pixel_transformer import IMAGE, PixelTransformer
from aigc_jax.networks.pixelcnn import PixelCNN
from aigc_jax.networks.pixelcnn_pp import PixelCNNpp
from aigc_jax.probability.pixel_outputs import PixelOutput, bernoulli, categorical, logistics

BATCH, TARGET = 16, 10


class Case(NamedTuple):
    """A network and its pictures. `together`: all colours of a pixel are drawn at once, by one pass of the network."""

    net: nn.Module
    output: PixelOutput
    shape: tuple[int, int, int]
    together: bool = False


CASES: dict[str, Callable[[], Case]] = {
    "gated-28": lambda: Case(
        GatedPixelCNN(2, 1, colours=1, width=64, layers=12, kernel=3, head=32), bernoulli(), (28, 28, 1)
    ),
    "gated-32": lambda: Case(
        GatedPixelCNN(256, 256, colours=3, width=60, layers=8, kernel=3, head=256), categorical(256), (32, 32, 3)
    ),
    "plain-32": lambda: Case(
        PixelCNN(256, 256, colours=3, width=60, blocks=8, head=256), categorical(256), (32, 32, 3)
    ),
    "image-transformer-32": lambda: Case(
        PixelTransformer(256, 256, 3072, 3, 96, **IMAGE, width=128, depth=4, heads=4), categorical(256), (32, 32, 3)
    ),
    "igpt-32": lambda: Case(
        PixelTransformer(512, 512, 1024, width=128, depth=4, heads=4), categorical(512), (32, 32, 1)
    ),
    # a fifth of the published width
    "pp-32": lambda: Case(PixelCNNpp(256, 100, width=32, resnets=5), logistics(10, 3, 256), (32, 32, 3), together=True),
}


def cached(case: Case) -> Callable[[Any, Array], Array]:
    """(params, key) -> pictures."""
    like = jnp.zeros((BATCH, *case.shape), jnp.int32)
    return jax.jit(lambda params, key: draw(case.net, lambda k, p: case.output.pick(k, p, 1.0), params, key, like)[0])


def naive(case: Case, steps: int) -> Callable[[Any, Array], Array]:
    """(params, key) -> pictures of which the first `steps` pixels, or colours of pixels, are drawn."""
    passes = count_passes(case)

    def step(index: Array, carry: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        params, key, x = carry
        out = jnp.asarray(case.net.apply({"params": params}, x))
        out = out.reshape(BATCH, passes, *(out.shape[3:] if case.together else (1, *out.shape[4:])))
        drawn = case.output.pick(jax.random.fold_in(key, index), out[:, index], 1.0).astype(x.dtype)
        return params, key, x.reshape(BATCH, passes, -1).at[:, index].set(drawn).reshape(x.shape)

    like = jnp.zeros((BATCH, *case.shape), jnp.int32)
    return jax.jit(lambda params, key: jax.lax.fori_loop(0, steps, step, (params, key, like))[2])


def count_passes(case: Case) -> int:
    return math.prod(case.shape[: 2 if case.together else 3])


def seconds(program: Callable[[Any, Array], Array], params: Any, round_: int) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(program(params, jax.random.key(round_)))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.cases:
        case = CASES[name]()
        params = jax.jit(case.net.init)(jax.random.key(0), jnp.zeros((1, *case.shape), jnp.int32))["params"]
        fast, slow = cached(case), naive(case, arguments.steps)
        turns = [(seconds(fast, params, r), seconds(slow, params, r)) for r in range(arguments.rounds + 1)]
        times = turns[1:]  # the first has compiled
        ours = statistics.median(fast for fast, _ in times)
        theirs = statistics.median(slow for _, slow in times) * count_passes(case) / arguments.steps
        rows.append({"case": name, "cached_s": round(ours, 3), "naive_s": round(theirs, 1), "ratio": round(theirs / ours, 1),
                     "parameters": sum(leaf.size for leaf in jax.tree.leaves(params))})  # fmt: skip
        print(f"{name:12} cached {ours:8.2f} s   naive {theirs:9.1f} s   {theirs / ours:7.1f} times", flush=True)
    figures = {
        "protocol": f"batch {BATCH}, float32, one program each, medians of {arguments.rounds} rounds in alternation; "
        f"{arguments.steps} passes of the naive loop were timed and multiplied up to a picture's; goal of the 32 x 32 "
        f"cases: at least {TARGET} times",
        "cases": rows,
    }  # fmt: skip
    record.write(arguments.record, "pixel_sampling", figures)


if __name__ == "__main__":
    main()
