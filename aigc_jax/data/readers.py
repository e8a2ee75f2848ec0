"""Reading ahead: batches `index, index + 1, ...` in order, made by a thread, or by Grain's threads or processes."""

from __future__ import annotations

import atexit
import itertools
import sys
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aigc_jax.data.tables import Batch
from aigc_jax.errors import UserError

_OPEN: weakref.WeakSet[Generator[Batch, None, None]] = weakref.WeakSet()


def read_ahead(batch_of: Callable[[int], Batch], index: int, depth: int = 2) -> Iterator[Batch]:
    """One thread keeps `depth` batches ready."""
    return _closed_at_exit(_ahead(batch_of, index, depth))


def _ahead(batch_of: Callable[[int], Batch], index: int, depth: int) -> Generator[Batch, None, None]:
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
    return _closed_at_exit(_closing(dataset))


def _closing(dataset: Any) -> Generator[Batch, None, None]:
    batches = iter(dataset)
    try:
        yield from batches
    finally:
        batches.close()  # ends the reader processes


def _closed_at_exit(reader: Generator[Batch, None, None]) -> Generator[Batch, None, None]:
    """The same stream, closed before the interpreter ends, should its user not have done so."""
    _OPEN.add(reader)
    atexit.unregister(_close_open)  # registered anew, after Grain's own: the last to be registered runs first
    atexit.register(_close_open)
    return reader


def _close_open() -> None:
    """Closes streams that are still open at exit: later, the modules that they need to end are gone."""
    for reader in list(_OPEN):
        reader.close()


def _parse_no_flags() -> None:
    """Grain's processes read absl flags, which raise outside `absl.app.run` unless marked as parsed."""
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
