"""Freed memory is kept for the next step, instead of going back to the system after every one.

A compiled step on a CPU asks the C library for one large buffer each time and frees it at the end. glibc maps such a
buffer anew, so that the kernel clears every page of it again: 10 to 20 % of a training step of the networks of
`benchmarks/train_step.py`.
"""

from __future__ import annotations

import ctypes
import os
import platform

ARENA_MAX, MMAP_MAX, TRIM_THRESHOLD = -8, -4, -1  # options of mallopt(3)


def keep_heap() -> bool:
    """Makes glibc keep what is freed, in one heap for all threads; gives whether it does.

    Call it before JAX computes anything: its threads take the heap that they meet when they begin. The process then stays as
    large as it ever was, at worst twice what it needs at one time. Elsewhere than on glibc, and where its own variables
    (`MALLOC_ARENA_MAX` and its like, `GLIBC_TUNABLES`) are set already, nothing changes.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if platform.libc_ver()[0] != "glibc" or chosen:
        return False
    libc = ctypes.CDLL(None)
    return all(libc.mallopt(*option) == 1 for option in ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, -1)))
