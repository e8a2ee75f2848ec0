"""Reading ahead: batches `index, index + 1, ...` in order, made by a thread, or by Grain's threads or processes."""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from aigc_jax.data.tables import Batch
from aigc_jax.errors import UserError


def read_ahead(batch_of: Callable[[int], Batch], index: int, depth: int = 2) -> Iterator[Batch]:
    """One thread keeps `depth` batches ready."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="data")
    try:
        pending = deque(pool.submit(batch_of, index + k) for k in range(depth))
        for later in itertools.count(index + depth):
            pending.append(pool.submit(batch_of, later))
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def read_with_grain(batch_of: Callable[[int], Batch], index: int, workers: int = 0) -> Iterator[Batch]:
    """Grain maps the numbers of batches to batches: in 16 threads, or in `workers` processes. Order is kept."""
    try:
        import grain
    except ImportError:
        raise UserError("reading this source needs Grain: pip install grain") from None
    numbers = grain.MapDataset.range(index, sys.maxsize)
    dataset = numbers.map(batch_of).to_iter_dataset(grain.ReadOptions(num_threads=16, prefetch_buffer_size=16))
    if workers:
        _parse_no_flags()
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2))
    batches = iter(dataset)
    try:
        yield from batches
    finally:
        batches.close()  # ends the reader processes


def _parse_no_flags() -> None:
    """Grain's processes read absl flags, which raise outside `absl.app.run` unless marked as parsed."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
