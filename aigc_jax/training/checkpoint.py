"""Checkpoints by Orbax: the newest ones to resume from, and the best one, each with a manager of its own.

One manager that keeps the best n deletes the newest, so there are two. A step is written beside and renamed when it is
whole, so a killed run leaves no half checkpoint; once a step is durable its files are sealed with their sizes and
check sums, and a step whose files no longer match its seal is passed over, with a line that says so.

    checkpoints/latest/<step>/    the last two
    checkpoints/best/<step>/      the best by `Experiment.best`, else by the expected metric, if that is a per-example average
    checkpoints/seals/            size and CRC-32 of every file of a durable step of `latest`
    checkpoints/damaged/          steps found damaged, moved out of the way
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from aigc_jax.errors import RunError, UserError
from aigc_jax.training.sharding import path_name

Say = Callable[[str], None]


class Restored(NamedTuple):
    """A checkpoint as it was read: the state, and what was saved beside it (data position, metrics)."""

    state: Any
    meta: dict[str, Any]
    step: int


def flatten(tree: Any) -> dict[str, Any]:
    """A state as {path: leaf}: the names under which arrays are stored."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


class Checkpoints:
    """Writes and reads the checkpoints of one run folder.

    folder:  `<run>/checkpoints`.
    best:    (metric, "max" or "min"): keep the best step by this metric of those given to `save`; None keeps none.
    reading: for one that only restores: what another process may be writing meanwhile is neither cleaned up nor sealed.
    """

    def __init__(self, folder: Path, best: tuple[str, str] | None = None, keep: int = 2, reading: bool = False):
        self.folder, self.best, self.reading = folder, best, reading
        self.latest_manager = _manager(folder / "latest", keep, clean=not reading)
        self.best_manager = _manager(folder / "best", 1, best) if best else None

    def save(self, state: Any, meta: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Starts to save a state; what an earlier save did wrong is raised here.

        meta: JSON data to store beside it, the position of the data at least.
        Raises RunError if this or the save before it failed: the last durable step stays as it is.
        """
        self.wait()
        arrays = flatten(state)
        step = int(jax.device_get(state.step))
        described = {name: [list(leaf.shape), str(leaf.dtype)] for name, leaf in arrays.items()}
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(arrays), meta=ocp.args.JsonSave({**meta, "arrays": described})
        )
        try:
            self.latest_manager.save(step, args=args)
            if self.best_manager and self.best and self.best[0] in metrics:
                self.best_manager.save(step, args=args, metrics={"value": float(metrics[self.best[0]])})
        except Exception as error:
            raise RunError(f"saving step {step} failed ({_reason(error)}); {self._last()}") from error

    def wait(self) -> None:
        """Returns when all that was saved is durable and sealed. Raises RunError if a save failed."""
        try:
            for manager in self._managers():
                manager.wait_until_finished()
                manager.check_for_errors()
            if not self.reading:
                self._seal()
        except Exception as error:
            raise RunError(f"saving a checkpoint failed ({_reason(error)}); {self._last()}") from error

    def restore(self, shapes: Any, shardings: Any, say: Say) -> Restored | None:
        """The newest whole checkpoint placed by `shardings`, or None if there is none at all.

        A damaged one is moved to `damaged/` (not while `reading`) and the one before it taken; `say` is told. Raises
        UserError if all are damaged, now or before, or if a whole one holds other arrays than `shapes` asks for; RunError if
        one that its seal shows to be whole cannot be read, as for lack of memory.
        """
        steps = sorted(self.latest_manager.all_steps(), reverse=True)
        for step in steps:
            trouble = _broken(self._seal_path(step), self.folder / "latest" / str(step))
            if trouble is None:
                try:
                    return self._read(self.latest_manager, step, shapes, shardings)
                except UserError:
                    raise
                except Exception as error:  # whatever the storage layer raises over a file that is not whole
                    trouble = _reason(error)
                    if self._seal_path(step).exists():  # its files are right: the fault lies elsewhere, so it stays
                        raise RunError(f"checkpoint {step} is whole but cannot be read: {trouble}") from error
            moved = "" if self.reading else f"; moved to {self._set_aside(step)}"
            say(f"checkpoint {step} is damaged ({trouble}){moved}")
        damaged = sorted(steps) or sorted(path.name for path in (self.folder / "damaged").glob("*"))
        if damaged:
            raise UserError(f"no checkpoint in {self.folder} is whole: all of {damaged} are damaged; begin anew in another "
                            "folder")  # fmt: skip
        return None

    def restore_best(self, shapes: Any, shardings: Any) -> Restored | None:
        """The best checkpoint placed by `shardings`, or None if none is kept. Raises UserError if it is of other shapes."""
        self.wait()
        manager = self.best_manager
        step = manager.best_step() if manager else None
        return self._read(manager, step, shapes, shardings) if manager and step is not None else None

    def close(self) -> None:
        """Waits for what is being saved and lets go of the folder."""
        self.wait()
        for manager in self._managers():
            manager.close()

    def _read(self, manager: ocp.CheckpointManager, step: int, shapes: Any, shardings: Any) -> Restored:
        meta = manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]
        _compare(flatten(shapes), meta["arrays"], Path(manager.directory) / str(step))
        wanted = {
            name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
            for (name, leaf), sharding in zip(flatten(shapes).items(), jax.tree.leaves(shardings))
        }
        args = ocp.args.Composite(state=ocp.args.StandardRestore(wanted))
        arrays = manager.restore(step, args=args)["state"]
        state = jax.tree.unflatten(jax.tree.structure(shapes), [arrays[name] for name in wanted])
        return Restored(state, meta, step)

    def _managers(self) -> list[ocp.CheckpointManager]:
        return [self.latest_manager, *([self.best_manager] if self.best_manager else [])]

    def _seal_path(self, step: int) -> Path:
        return self.folder / "seals" / f"{step}.json"

    def _seal(self) -> None:
        """Seals durable steps that are not sealed yet; drops the seals of steps that are gone."""
        if jax.process_index():
            return
        seals = self.folder / "seals"
        seals.mkdir(parents=True, exist_ok=True)
        wanted = {self._seal_path(step): self.folder / "latest" / str(step)
                  for step in self.latest_manager.all_steps()}  # fmt: skip
        for path, step_folder in wanted.items():
            if not path.exists():
                write_json(path, _checksums(step_folder))
        for path in seals.glob("*.json"):
            if path not in wanted:
                path.unlink()

    def _set_aside(self, step: int) -> Path:
        target = self.folder / "damaged" / str(step)
        target.parent.mkdir(parents=True, exist_ok=True)
        count = 0
        while target.exists():
            count += 1
            target = target.with_name(f"{step}-{count}")
        (self.folder / "latest" / str(step)).rename(target)
        self._seal_path(step).unlink(missing_ok=True)
        self.latest_manager.reload()
        return target

    def _last(self) -> str:
        whole = sorted(int(path.name) for path in (self.folder / "latest").glob("*") if path.name.isdigit())
        return (
            f"the last whole checkpoint is step {whole[-1]}: free space and --resume"
            if whole
            else "none was saved before"
        )


def write_json(path: Path, value: Any) -> None:
    """Writes JSON beside and renames: a reader sees the old file or the new one, never half of one."""
    beside = path.with_name(path.name + ".tmp")
    try:
        with beside.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=2, sort_keys=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _manager(folder: Path, keep: int, best: tuple[str, str] | None = None, clean: bool = True) -> ocp.CheckpointManager:
    ranking = {"best_fn": lambda metrics: metrics["value"], "best_mode": best[1]} if best else {}
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep, enable_async_checkpointing=True, cleanup_tmp_directories=clean, create=True, **ranking
    )
    return ocp.CheckpointManager(folder.resolve(), options=options)


def _checksums(folder: Path) -> dict[str, list[int]]:
    return {str(path.relative_to(folder)): [path.stat().st_size, _crc(path)] for path in sorted(folder.rglob("*"))
            if path.is_file()}  # fmt: skip


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


def _broken(seal: Path, folder: Path) -> str | None:
    """What is wrong with the files of a sealed step, or None. A step without a seal was renamed whole, then the run died."""
    if not seal.exists():
        return None
    for name, (size, crc) in json.loads(seal.read_text(encoding="utf-8")).items():
        path = folder / name
        if not path.exists():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes, not {size}"
        if _crc(path) != crc:
            return f"{name} has another check sum"
    return None


def _compare(wanted: Mapping[str, Any], stored: Mapping[str, Any], where: Path) -> None:
    """Raises UserError that names the arrays in which a checkpoint differs from the state asked for."""
    missing = [name for name in wanted if name not in stored]
    extra = [name for name in stored if name not in wanted]
    shaped = [f"{name} {tuple(stored[name][0])} here {leaf.shape}" for name, leaf in wanted.items()
              if name in stored and tuple(stored[name][0]) != leaf.shape]  # fmt: skip
    for what, names in (("lacks", missing), ("has besides", extra), ("has other shapes:", shaped)):
        if names:
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise UserError(f"checkpoint {where} does not fit this experiment: it {what} {shown}")


def _reason(error: BaseException) -> str:
    """The first line of the innermost cause, short enough for one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"
