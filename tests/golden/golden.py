"""What the scripts beside this share: they write a golden file, or with --check compare it with the reference made anew.

They run in an environment of their own, with the reference libraries; the tests read only the files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np


def main(path: Path, build: Callable[[], dict[str, np.ndarray]], rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Writes the arrays that `build` makes to `path`; with --check on the command line compares them instead.

    rtol, atol: of floats; integers must be equal. Raises AssertionError that names the first array that differs.
    """
    made = {name: np.asarray(value) for name, value in build().items()}
    if "--check" not in sys.argv:
        np.savez_compressed(path, **made)
        return
    with np.load(path) as stored:
        assert set(stored) == set(made), set(stored) ^ set(made)
        for name, value in made.items():
            if value.dtype.kind == "f":
                np.testing.assert_allclose(stored[name], value, rtol=rtol, atol=atol, err_msg=name)
            else:
                np.testing.assert_array_equal(stored[name], value, err_msg=name)
