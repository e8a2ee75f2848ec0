"""Reading ahead: batches in order, and an end without noise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aigc_jax.data.readers import read_ahead

ROOT = Path(__file__).parents[2]
LEFT_OPEN = """
from aigc_jax.data import load_data, scale

if __name__ == "__main__":
    one, two = (load_data("digits", batch_size=4, train=scale(), workers=n).train(0) for n in (0, 1))
    for _ in range(3):
        assert (next(one)["image"] == next(two)["image"]).all()
    print("read")
"""

OUTLIVED = """
import os
from aigc_jax.data.readers import read_ahead
os.reader = read_ahead(lambda index: {"x": index}, 0)  # let go of after most modules
print(next(os.reader))
"""


def test_batches_come_in_order_from_the_one_asked_for():
    reader = read_ahead(lambda index: {"x": index}, 5)
    assert [next(reader)["x"] for _ in range(4)] == [5, 6, 7, 8]


def test_a_stream_that_outlives_its_modules_ends_without_noise():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", OUTLIVED], capture_output=True, text=True, env=environment, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "{'x': 0}\n", "")


def test_processes_read_what_threads_read_and_an_open_stream_does_not_disturb_the_exit(tmp_path):
    pytest.importorskip("grain")
    script = tmp_path / "left_open.py"  # a file: reader processes import the main module again
    script.write_text(LEFT_OPEN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stdout) == (0, "read\n")
    assert "Exception ignored" not in done.stderr and "leaked" not in done.stderr, done.stderr
