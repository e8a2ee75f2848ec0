"""What a run says while it runs: rows in files, TensorBoard events, and one line or a bar on the terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from aigc_jax.training.folder import append_row, cut_rows, read_rows

PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "V100": 125e12, "TPU v4": 275e12, "TPU v5p": 459e12,
              "TPU v5 lite": 197e12, "TPU v6 lite": 918e12}  # fmt: skip
"""bfloat16 peak of one device, from the vendors' data sheets; model FLOP utilisation is shown for these alone."""


class Log:
    """Writes the rows of one run folder and shows its progress.

    first: the step the run starts from; rows past it are cut.
    steps: the step it ends at.
    batch: examples in a step.
    flops: of a step, for model FLOP utilisation.
    quiet: no bar and no lines of progress; `say` speaks all the same.
    """

    def __init__(self, workdir: Path, first: int, steps: int, batch: int, flops: int, quiet: bool):
        from tensorboardX import SummaryWriter

        self.workdir, self.steps, self.batch, self.flops = workdir, steps, batch, flops
        cut_rows(workdir / "metrics.jsonl", first)
        cut_rows(workdir / "timing.jsonl", first)
        self.events = SummaryWriter(str(workdir / "tensorboard"), purge_step=first, write_to_disk=True)
        earlier = read_rows(workdir / "timing.jsonl")
        self.seconds_before = earlier[-1]["seconds"] if earlier else 0.0
        self.started = self.last_time = time.perf_counter()
        self.last_step, self.last_waited = first, 0.0
        self.last_aside = 0.0  # seconds since the last row that no step took
        self.shown = 0
        self.bar = None if quiet or not sys.stderr.isatty() else _bar(first, steps)
        self.quiet = quiet

    @property
    def seconds(self) -> float:
        """Of training so far, those before a resume included."""
        return self.seconds_before + time.perf_counter() - self.started

    def row(self, step: int, metrics: Mapping[str, float], waited: float) -> None:
        """One logged step. waited: seconds in all that the loop has waited for data."""
        append_row(self.workdir / "metrics.jsonl", {"step": step, **metrics})
        now = time.perf_counter()
        took = max(now - self.last_time - self.last_aside, 1e-9)
        rate = (step - self.last_step) / took
        timing: dict[str, Any] = {
            "step": step,
            "seconds": round(self.seconds, 3),
            "steps_per_second": round(rate, 4),
            "examples_per_second": round(rate * self.batch, 2),
            "waiting_for_data": round(min(1.0, (waited - self.last_waited) / took), 4),
        }
        if (peak := _peak()) is not None:
            timing["model_flop_utilisation"] = round(rate * self.flops / peak, 4)
        append_row(self.workdir / "timing.jsonl", timing)
        for name, value in {**metrics, **{f"timing/{name}": value for name, value in timing.items()}}.items():
            if name != "timing/step":
                self.events.add_scalar(name, value, step)
        self.last_time, self.last_step, self.last_waited, self.last_aside = now, step, waited, 0.0
        self._show(step, metrics, timing)

    @contextlib.contextmanager
    def aside(self, metrics: Any) -> Iterator[None]:
        """Around what is no training: its time does not count against the speed of steps. metrics: of the step before it."""
        import jax

        jax.block_until_ready(metrics)
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.last_aside += time.perf_counter() - begin

    def say(self, line: str) -> None:
        """One line to the user, above the bar if there is one."""
        console = self.bar.console if self.bar else Console(stderr=True, soft_wrap=True, highlight=False)
        console.print(line, markup=False)

    def close(self) -> None:
        """Ends the bar and hands all events to the disk."""
        self.events.close()
        if self.bar:
            self.bar.stop()

    def _show(self, step: int, metrics: Mapping[str, float], timing: Mapping[str, float]) -> None:
        values = "  ".join(f"{name} {value:.4g}" for name, value in list(metrics.items())[:4])
        speed = f"{timing['steps_per_second']:.3g} steps/s  {timing['examples_per_second']:.4g} examples/s"
        speed += f"  data {timing['waiting_for_data']:.0%}"
        if "model_flop_utilisation" in timing:
            speed += f"  MFU {timing['model_flop_utilisation']:.1%}"
        if self.bar:
            self.bar.update(self.bar.task_ids[0], completed=step, values=values, speed=speed)
        elif not self.quiet and (step * 10 // self.steps > self.shown or step == self.steps):
            self.shown = step * 10 // self.steps
            self.say(f"step {step}/{self.steps}  {values}  {speed}")


def _bar(first: int, steps: int) -> Progress:
    columns = (TextColumn("{task.completed}/{task.total}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn(),
               TextColumn("{task.fields[values]}"), TextColumn("[dim]{task.fields[speed]}"))  # fmt: skip
    bar = Progress(*columns, console=Console(stderr=True))
    bar.add_task("", total=steps, completed=first, values="compiling", speed="")
    bar.start()
    return bar


def _peak() -> float | None:
    """bfloat16 peak of all devices of this run together, or None where it is not known."""
    import jax

    kind = jax.devices()[0].device_kind
    one = next((flops for name, flops in PEAK_FLOPS.items() if name in kind), None)
    return one and one * jax.device_count()
