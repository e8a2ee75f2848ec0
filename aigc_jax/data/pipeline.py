"""The pipeline: shuffle, repeat, read, map, prefetch, in this order; evaluation in order, padded and masked.

Batch i of a training stream is a pure function of (seed, i). Each epoch is a permutation of the examples; epochs run on
into each other, so that a batch may hold the end of one and the start of the next, and no example is ever dropped. A
stream's state is therefore one number, and any number of readers may work ahead without changing the order. Every
process reads its own rows of the global batch: process p of P rows p B / P up to (p + 1) B / P.

Nothing is opened before the first batch, or the first evaluation, is asked for.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from aigc_jax.data.conform import Conform
from aigc_jax.data.readers import read_ahead, read_with_grain
from aigc_jax.data.sources import open_source
from aigc_jax.data.synthetic import synthetic
from aigc_jax.data.tables import WEIGHT, Batch, Source, Split, select
from aigc_jax.data.transforms import Transform, compose
from aigc_jax.errors import UserError

Entry = tuple[tuple[int, ...], str] | tuple[tuple[int, ...], str, Any]
Spec = Mapping[str, Entry]
UNCHANGED = compose()
DIGITS: Spec = {"image": ((8, 8, 1), "float32"), "label": ((), "int32", 10)}


class Data(NamedTuple):
    """What an experiment trains on and is evaluated on.

    spec:     {name: ShapeDtypeStruct} of a global training batch, known without opening the source.
    train:    seed -> endless `Stream` of training batches, this process's rows of the global batch, numpy.
    evaluate: (split=None) -> every example of a split once, in order, with the evaluation transforms; None is the
              evaluation split. The last batch is padded; `mask` [B] float32 is the weight of each row, 0 for padding.
    decode:   model arrays -> what a person looks at: uint8 images [N, H, W, C], list[str] or (rate,
              float32 [N, samples]).
    info:     source, batch sizes, and, read when first asked for, classes, vocab, tokenizer, examples and the like.
    """

    spec: dict[str, jax.ShapeDtypeStruct]
    train: Callable[[int], Stream]
    evaluate: Callable[..., Iterator[Batch]]
    decode: Callable[[Any], Any]
    info: Mapping[str, Any]


class Stream:
    """Training batches 0, 1, 2, ... of one seed, read ahead by other threads.

    waited: seconds that `next` has waited for data.
    """

    def __init__(self, start: Callable[[int], Iterator[Batch]]) -> None:
        self.waited = 0.0
        self._start, self._index = start, 0
        self._batches: Iterator[Batch] | None = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Batch:
        begin = time.perf_counter()
        if self._batches is None:
            self._batches = self._start(self._index)
        try:
            batch = next(self._batches)
        except BaseException:
            self._batches = None  # a reader that failed is spent: asking again starts a new one at the same batch
            raise
        self._index += 1
        self.waited += time.perf_counter() - begin
        return batch

    def get_state(self) -> dict[str, int]:
        """{"index": the number of the next batch}."""
        return {"index": self._index}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes on at the batch that `get_state` named."""
        self._index, self._batches = int(state["index"]), None


def load_data(
    source: str,
    *,
    batch_size: int,
    spec: Spec = DIGITS,
    train: Transform = UNCHANGED,
    evaluate: Transform = UNCHANGED,
    eval_batch_size: int | None = None,
    decode: Callable[[Any], Any] | None = None,
    splits: Mapping[str, str] | None = None,
    channels: int | None = None,
    bits: int | None = None,
    workers: int = 0,
    protocol: str = "",
) -> Data:
    """The data of a source, transformed to a spec.

    source:   see `aigc_jax.data`.
    spec:     {name: (shape of one example, dtype)}, after the transforms. A third entry is the number of classes
              (integers lie below it: checked against the source, and the range of synthetic ones, 2 without it) or
              "binary" (only 0. and 1. are taken).
    train, evaluate: transforms of training and of evaluation batches. Synthetic batches are of the spec already and
              pass through none.
    splits:   {"train": ..., "evaluate": ...} where it is not the source's own choice, in TFDS's notation:
              `train[:50000]`.
    decode:   without it, images in [0, 1] -> uint8 where the spec has an `image`, and `lines` where it has a table `x`.
    channels: pictures are read as grey, 1, or colour, 3; None reads them as the spec has them.
    bits:     of a row of `x`, where tables may be packed into bytes.
    workers:  processes that read ahead through Grain; 0 means threads.
    protocol: what the transforms of evaluation do to figures, in words that are printed beside them.

    Raises ValueError for sizes below 1; what is wrong with the source itself is a UserError at the first batch.
    """
    chosen = {"train": "train", **(splits or {})}
    shapes = {name: (tuple(entry[0]), np.dtype(entry[1])) for name, entry in spec.items()}
    limits = {name: entry[2] for name, entry in spec.items() if len(entry) > 2 and not isinstance(entry[2], str)}
    binary = frozenset(name for name, entry in spec.items() if entry[2:] == ("binary",))
    if source == "synthetic":
        train, evaluate, protocol = UNCHANGED, UNCHANGED, ""

    @functools.cache
    def opened() -> Source:
        if source == "synthetic":
            return synthetic(spec, batch_size, eval_batch_size or batch_size)
        pictures = [shape[-1] for shape, _ in shapes.values() if len(shape) == 3 and shape[-1] in (1, 3)]
        found = open_source(source, channels or (pictures[0] if pictures else None), bits)
        _check_classes(found, limits.get("label"))
        return found

    def facts() -> Mapping[str, Any]:
        found = opened()
        return {**found.info, "evaluation": chosen.get("evaluate", found.evaluation)}

    return assemble(
        Conform(source, shapes, limits, binary=binary),
        batch_size=batch_size,
        eval_batch_size=eval_batch_size,
        train_split=lambda: select(opened(), chosen["train"]),
        eval_split=lambda name: select(opened(), name or chosen.get("evaluate") or opened().evaluation),
        train=train,
        evaluate=evaluate,
        decode=decode or (images() if "image" in spec else lines() if "x" in spec else np.asarray),
        info=Info({"source": source, **({"protocol": protocol} if protocol else {})}, facts),
        workers=workers,
    )


def assemble(
    conform: Conform,
    *,
    batch_size: int,
    eval_batch_size: int | None,
    train_split: Callable[[], Split],
    eval_split: Callable[[str | None], Split],
    train: Transform,
    evaluate: Transform,
    decode: Callable[[Any], Any],
    info: Info,
    workers: int = 0,
    shuffle: bool = True,
) -> Data:
    """`Data` from splits that are opened when first used; without `shuffle`, training reads them in order, too."""
    eval_batch_size = eval_batch_size or batch_size
    if min(batch_size, eval_batch_size) < 1:
        raise ValueError(f"batch sizes must be at least 1: batch_size {batch_size}, eval_batch_size {eval_batch_size}")

    def stream(seed: int) -> Stream:
        def start(index: int) -> Iterator[Batch]:
            split, (process, count) = train_split(), _processes(batch_size)
            batch_of = TrainBatches(split, Order(len(split), batch_size, seed, shuffle), train, conform, process, count)
            if workers or split.grain:
                return read_with_grain(batch_of, index, workers)
            return read_ahead(batch_of, index)

        return Stream(start)

    def evaluation(split: str | None = None) -> Iterator[Batch]:
        rows, (process, count) = eval_split(split), _processes(eval_batch_size)
        for index in range(-(-len(rows) // eval_batch_size)):
            yield _evaluation_batch(rows, index, eval_batch_size, evaluate, conform, process, count)

    info.known.update(batch_size=batch_size, eval_batch_size=eval_batch_size)
    shapes = {name: jax.ShapeDtypeStruct((batch_size, *s), dtype) for name, (s, dtype) in conform.shapes.items()}
    return Data(shapes, stream, evaluation, decode, info)


class Order(NamedTuple):
    """Which examples batch i holds: a permutation for every epoch, or the order of the split; epochs end to end."""

    length: int
    batch_size: int
    seed: int
    shuffle: bool = True

    def rows(self, index: int) -> np.ndarray:
        """Example numbers [batch_size] of batch `index`."""
        positions = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        epochs, within = positions // self.length, positions % self.length
        if not self.shuffle:
            return within
        if epochs[0] == epochs[-1]:
            return _permutation(self.length, self.seed, int(epochs[0]))[within].astype(np.int64)
        parts = [_permutation(self.length, self.seed, int(e))[within[epochs == e]] for e in np.unique(epochs)]
        return np.concatenate(parts).astype(np.int64)


@functools.lru_cache(maxsize=4)
def _permutation(length: int, seed: int, epoch: int) -> np.ndarray:
    dtype = np.uint32 if length < 2**32 else np.int64  # half the memory, for the windows of a long text
    return np.random.default_rng((seed, 0, epoch)).permutation(np.arange(length, dtype=dtype))


class TrainBatches(NamedTuple):
    """index -> this process's rows of training batch `index`. A value, so that it can be sent to reader processes."""

    split: Split
    order: Order
    transform: Transform
    conform: Conform
    process: int
    count: int

    def __call__(self, index: int) -> Batch:
        rows = _share(self.order.rows(index), self.process, self.count)
        rng = np.random.default_rng((self.order.seed, 1 + self.process, index))  # tag 0 is the order's
        raw = self.split.take(rows)
        return self.conform(_transformed(raw, self.transform, rng, self.split, rows), self.split, rows)


def _evaluation_batch(
    split: Split, index: int, size: int, transform: Transform, conform: Conform, process: int, count: int
) -> Batch:
    positions = _share(np.arange(index * size, (index + 1) * size), process, count)
    real = positions < len(split)
    rows = np.where(real, positions, len(split) - 1)  # padding repeats the last example
    raw = split.take(rows)
    weight = raw.pop(WEIGHT, np.ones(len(rows), np.float32))
    rng = np.random.default_rng((0, 1 + process, index))
    batch = conform(_transformed(raw, transform, rng, split, rows), split, rows)
    return {**batch, "mask": np.where(real, weight, 0).astype(np.float32)}


def _transformed(raw: Batch, transform: Transform, rng: np.random.Generator, split: Split, rows: np.ndarray) -> Batch:
    """The transform of a batch; what it cannot take is reported with the file of the first such example."""
    try:
        return transform(raw, rng)
    except UserError:
        for place, row in enumerate(rows.tolist()):
            try:
                transform({name: x[place : place + 1] for name, x in raw.items()}, rng)
            except UserError as error:
                raise UserError(f"{split.where(row)}: {error}") from None
        raise


def _processes(batch_size: int) -> tuple[int, int]:
    process, count = jax.process_index(), jax.process_count()
    if batch_size % count:
        raise ValueError(f"a global batch of {batch_size} does not divide over {count} processes")
    return process, count


def _share(rows: np.ndarray, process: int, count: int) -> np.ndarray:
    local = len(rows) // count
    return rows[process * local : (process + 1) * local]


def _check_classes(source: Source, limit: int | None) -> None:
    classes = source.info.get("classes")
    if limit is not None and classes is not None and len(classes) > limit:
        raise UserError(f"{source.name} has {len(classes)} classes, the experiment {limit}: set its knob for classes")


class Info(Mapping[str, Any]):
    """What is known at once, and what is read from the source when it is first asked for."""

    def __init__(self, known: dict[str, Any], read: Callable[[], Mapping[str, Any]]) -> None:
        self.known, self._read = known, functools.cache(read)

    def __getitem__(self, name: str) -> Any:
        return self.known[name] if name in self.known else self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._read(), **self.known})

    def __len__(self) -> int:
        return len({**self._read(), **self.known})


def images(low: float = 0.0, high: float = 1.0) -> Callable[[Any], np.ndarray]:
    """decode for images in [low, high]: -> uint8 [N, H, W, C], clipped and rounded."""

    def decode(x: Any) -> np.ndarray:
        unit = (np.asarray(x, np.float32) - low) / (high - low)
        return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)

    return decode


def lines(digits: int = 3) -> Callable[[Any], list[str]]:
    """decode for tables: -> rows of numbers with blanks between them."""
    return lambda rows: [" ".join(f"{value:.{digits}f}" for value in row) for row in np.asarray(rows)]


def sounds(rate: int) -> Callable[[Any], tuple[int, np.ndarray]]:
    """decode for waves in [-1, 1]: -> (rate, float32 [N, samples])."""
    return lambda x: (rate, np.clip(np.asarray(x, np.float32), -1, 1))
