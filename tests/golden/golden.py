"""What the scripts beside this share: they write a golden file, or with --check compare it with the reference made anew.

They run in an environment of their own, with the reference libraries; the tests read only the files.
"""

from __future__ import annotations

import os
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


def flat(tree: dict, path: str) -> dict[str, np.ndarray]:
    """The arrays of a tree of dicts by their paths, "PATH/NAME/..."."""
    leaves = {}
    for name, value in tree.items():
        leaves |= flat(value, f"{path}/{name}") if isinstance(value, dict) else {f"{path}/{name}": value}
    return leaves


def packed(arrays: dict[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
    """Many small arrays as one, with the index "NAME SIZE SIZE ..." of each: a zip file takes 300 bytes for every member."""
    index = np.array([" ".join([name, *map(str, array.shape)]) for name, array in arrays.items()])
    flat = np.concatenate([np.asarray(array, np.float32).reshape(-1) for array in arrays.values()])
    return {f"{prefix}weights": flat, f"{prefix}index": index}


def checkout(repository: str, commit: str) -> Path:
    """Lets a reference that is no package be imported: $GOLDEN_SOURCES/NAME, a clone of it at this commit, which is returned.

    Without one the script ends, and says what to clone.
    """
    folder = Path(os.environ.get("GOLDEN_SOURCES", "")) / repository.partition("/")[2]
    if "GOLDEN_SOURCES" not in os.environ or not folder.is_dir():
        print(f"skipped: clone https://github.com/{repository} at {commit} into a folder named by GOLDEN_SOURCES")
        sys.exit(0)
    sys.path.insert(0, str(folder))
    return folder
