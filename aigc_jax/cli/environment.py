"""What has to be settled before JAX starts: its devices, and where compiled programs are kept."""

from __future__ import annotations

import os
from pathlib import Path

from aigc_jax.errors import UserError


def cache_folder() -> Path:
    """Where XLA's compiled programs are kept: $JAX_COMPILATION_CACHE_DIR, $AIGC_CACHE/xla or ~/.cache/aigc_jax/xla."""
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if named:
        return Path(named)
    return Path(os.environ.get("AIGC_CACHE") or Path.home() / ".cache" / "aigc_jax") / "xla"


def start_jax(devices: int | None = None) -> None:
    """Sets the compile cache and, where `devices` is given, that many simulated devices on the CPU.

    Orbax logs the traceback of each thread of a save that fails, through absl: silenced, for the error says it in one line.
    Raises UserError if JAX is already running with another number of them.
    """
    import jax
    from absl import logging

    logging.set_verbosity(logging.FATAL)
    jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    if devices is None:
        return
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", devices)
    except RuntimeError:
        if jax.device_count() != devices:
            raise UserError(f"cannot simulate {devices} devices: JAX is already running in this process with "
                            f"{jax.device_count()}, start a new one") from None  # fmt: skip
