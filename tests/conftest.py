"""Every test runs on the CPU, with a persistent compile cache so that a second run of the suite compiles nothing."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

# Tracing makes objects by the million, few of them in cycles: looking for those less often saves a quarter of it.
gc.freeze()
gc.set_threshold(50_000, 50, 100)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nearly all of the suite's time is compiling programs that run for milliseconds: so, that takes a quarter of it.
FLAGS = ("force_host_platform_device_count=8", "backend_optimization_level=0", "cpu_use_fusion_emitters=false",
         "cpu_parallel_codegen_split_count=1")  # fmt: skip
os.environ.setdefault("XLA_FLAGS", " ".join(f"--xla_{flag}" for flag in FLAGS))
# Eight simulated devices that each factor a matrix (orthogonal initial weights) would wait for each other's threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".cache" / "xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")


@pytest.fixture
def no_report(monkeypatch):
    """Runs end without their page, whose charts take longer than a small run: for tests that look at something else."""
    from aigc_jax.training import report

    monkeypatch.setattr(report, "write", lambda run: run.workdir / "report.html")


@pytest.fixture(autouse=True, scope="module")
def forget_compiled():
    """Compiled programs of one file are of no use to the next; kept, those of the whole suite fill gigabytes."""
    yield
    import jax

    jax.clear_caches()
