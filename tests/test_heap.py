"""In processes of their own: what is done to the heap cannot be undone."""

import os
import subprocess
import sys

import pytest

CODE = """
import platform, sys
from aigc_jax.heap import keep_heap

kept = keep_heap()
assert kept == (platform.libc_ver()[0] == "glibc" and "--mine" not in sys.argv)
if sys.platform != "linux":  # nothing else counts page faults alike
    sys.exit()
import resource

def faults():  # of a buffer of 64 MB that is written to and freed, after one like it
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        bytearray(b"x") * (64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert (faults() < 100) == kept
"""


@pytest.mark.parametrize("chosen", [None, "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_a_freed_buffer_is_used_again_unless_the_user_chose_otherwise(chosen):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment |= {chosen: ""} if chosen else {}
    subprocess.run([sys.executable, "-c", CODE, *(["--mine"] if chosen else [])], env=environment, check=True)
