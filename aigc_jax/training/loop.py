"""The training loop, in one piece.

Its order: everything that can be wrong with the call is checked before anything is written; shapes come before arrays,
so the state is born where its rules place it; then steps run in calls that end where something is due (a logged row,
an evaluation, samples, a checkpoint). At such a point the row is written first and the checkpoint last: a run killed
between the two repeats steps after a resume, and never misses a row.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from aigc_jax.errors import RunError, UserError
from aigc_jax.experiment import Experiment, find, resolve
from aigc_jax.training import guards, report
from aigc_jax.training import sharding as placement
from aigc_jax.training.checkpoint import Checkpoints, Restored, write_json
from aigc_jax.training.folder import commit, prepare, versions
from aigc_jax.training.graft import donor_of
from aigc_jax.training.metrics import Log
from aigc_jax.training.plan import Plan, first_state, headline, make_periods, make_plan, rows_of
from aigc_jax.training.run import KEY_SAMPLE, Run
from aigc_jax.training.samples import save_samples
from aigc_jax.training.step import compile_steps, train_step

RESUME_ME = 75  # exit code after SIGTERM: saved, run me again with --resume (EX_TEMPFAIL)


def train(
    experiment: Experiment,
    workdir: str | Path,
    *,
    steps: int | None = None,
    resume: bool = False,
    mesh: Mapping[str, int] | Mesh | None = None,
    save_every: int | None = None,
    log_every: int | None = None,
    eval_every: int | None = None,
    sample_every: int | None = None,
    init_from: str | Path | None = None,
    profile: bool = False,
    quiet: bool = False,
) -> Run:
    """Trains an experiment in a run folder and evaluates it at the end.

    steps:   instead of the experiment's own.
    resume:  go on from the newest whole checkpoint of `workdir`; bit-equal to a run that was never stopped.
    mesh:    {"data": 2, "fsdp": 4}, or a mesh; all devices on `fsdp` by default. The batch is the global one.
    *_every: periods in steps. Rows every hundredth of the run and a checkpoint every tenth; evaluation and samples every
             tenth of the experiment's own length, if that is longer: a short trial is not spent on them.
    init_from: a run folder whose networks are taken over, see `aigc_jax.training.graft`.
    profile: trace the second call of the step, the first after compilation, into `<workdir>/profile`.
    quiet:   no bar and no lines of progress; what else there is to say still goes to standard error.

    Raises UserError for what the call got wrong, before anything is written; RunError if the run fails: a loss that is not
    finite (with the step and the first bad tensor), a disk that fills. On SIGTERM it saves and raises SystemExit(75), on
    Ctrl-C it saves and raises KeyboardInterrupt; a second Ctrl-C does not wait.
    """
    workdir = Path(workdir)
    steps = experiment.steps if steps is None else steps
    expected = _expected(experiment, steps)  # now: a user's file may have changed by the end of the run
    periods = make_periods(steps, experiment.steps, log_every, eval_every, sample_every, save_every)
    plan = make_plan(experiment, mesh if isinstance(mesh, Mesh) else placement.make_mesh(mesh))
    stream = experiment.data.train(experiment.seed)
    start = stream.get_state()
    first = next(stream)  # opens the data: whatever is wrong with it is said here
    stream.set_state(start)
    donor = donor_of(init_from, experiment, plan, _warn)
    _check_best(experiment)
    prepare(workdir, {"experiment": None, "preset": None, "knobs": {}, **experiment.config}, resume)

    checkpoints = Checkpoints(workdir / "checkpoints", best=_best(experiment))
    seed_key = jax.random.key(experiment.seed)
    restored = checkpoints.restore(plan.shapes, plan.shardings, _warn) if resume else None
    if resume and not restored and (workdir / "result.json").exists():
        raise UserError(f"{workdir} holds a finished run without its checkpoints: begin anew in another folder")
    if restored and restored.step > steps:
        raise UserError(
            f"{workdir} is at step {restored.step} already, past {steps}: ask for more than {restored.step} steps"
        )
    state = restored.state if restored else first_state(experiment, plan, first, seed_key, donor)
    stream.set_state((restored.meta["data"] if restored else None) or start)  # an imported run has read none yet
    step = restored.step if restored else 0

    log = Log(workdir, step, steps, rows_of(first), plan.flops, quiet)
    log.say(headline(experiment, plan))
    log.say(f"from step {step} of {workdir}" if resume else f"into {workdir}")
    run = Run(experiment, state, plan.mesh, plan.shardings, workdir)
    run_steps = compile_steps(experiment.method, seed_key, plan.shardings, plan.calls)
    feed = _feed(stream, plan)
    bad = jax.device_put(jnp.int32(-1), plan.shardings.step)
    pending, compiled = None, 0
    stops: list[signal.Signals] = []

    def check(bad_at: Array) -> None:
        """Stops the run if a number went wrong at some step so far."""
        if int(bad_at) >= 0:
            raise RunError(_diagnose(experiment, plan, checkpoints, first, seed_key, donor, int(bad_at)))

    def flush() -> dict[str, float]:
        """Writes the row that waits, now that the next call is on its way."""
        nonlocal pending
        if pending is None:
            return {}
        at, values, bad_at = pending
        pending = None
        check(bad_at)
        row = {name: float(value) for name, value in jax.device_get(values).items()}
        log.row(at, row, stream.waited)
        return row

    with _noting(signal.SIGTERM, stops), _closing(log, checkpoints):
        with _noting(signal.SIGINT, stops):
            while step < steps:
                n = min(plan.calls, periods.next(step, steps) - step)
                batches = feed(n)
                with _trace(workdir / "profile", profile and compiled and not (workdir / "profile").exists()):
                    state, bad, metrics = run_steps(state, bad, batches, n)
                step += n
                compiled = _watch_compilation(run_steps, compiled, batches, log)
                flush()
                due = [step % period == 0 or step == steps for period in periods]
                if due[0] or due[1]:
                    pending = (step, metrics, bad)
                run.state = state
                if due[1]:
                    with log.aside(metrics):
                        pending = (step, {**metrics, **run.averages(), **_validation(run)}, bad)
                if due[2] and experiment.method.sample is not None:
                    with log.aside(metrics):
                        _draw(run, step)
                if due[3] or stops:
                    row = flush()
                    check(bad)  # no row need be due here, and a bad state must not displace a good checkpoint
                    checkpoints.save(state, {"data": stream.get_state(), "seed": experiment.seed}, row)
                    if stops:  # asked where a state was just saved: a signal may come between any two lines
                        log.say(f"stopped by {stops[0].name} at step {step}, saved: continue with --resume")
                        raise KeyboardInterrupt if stops[0] == signal.SIGINT else SystemExit(RESUME_ME)
        flush()
        if restored is None or restored.step < steps or not (workdir / "result.json").exists():
            _finish(run, steps, log, expected, _take_best(run, plan, checkpoints))
    return run


def _feed(stream: Any, plan: Plan) -> Callable[[int], Any]:
    """n -> the next n batches on their devices: as they are for one step a call, stacked to [calls, B, ...] for more.

    The stack always has the same length, so that the step compiles once; rows past n repeat and are not used.
    """
    sharding = placement.batch_sharding(plan.mesh, stacked=plan.calls > 1)

    def feed(n: int) -> Any:
        if plan.calls == 1:
            return placement.put(next(stream), sharding)
        batches = [next(stream) for _ in range(n)]
        batches += batches[-1:] * (plan.calls - n)
        return placement.put({name: np.stack([batch[name] for batch in batches]) for name in batches[0]}, sharding)

    return feed


def _watch_compilation(run_steps: Any, compiled: int, batches: Any, log: Log) -> int:
    """Reports a second compilation of the step with the shapes that caused it."""
    count = run_steps._cache_size()
    if compiled and count > compiled:
        shapes = ", ".join(f"{name} {rows.dtype}{list(rows.shape)}" for name, rows in batches.items())
        log.say(f"the step was compiled again ({count} times so far): the batch was now {shapes}")
    return count


def _diagnose(
    experiment: Experiment, plan: Plan, checkpoints: Checkpoints, first: Any, seed_key: Array, donor: Any, bad: int
) -> str:
    """Repeats the run up to the bad step from the newest checkpoint, and looks into that step.

    The checkpoint is never past it: no state is saved once a step went bad.
    """
    checkpoints.wait()
    restored: Restored | None = checkpoints.restore(plan.shapes, plan.shardings, lambda line: None)
    state = restored.state if restored else first_state(experiment, plan, first, seed_key, donor)
    stream = experiment.data.train(experiment.seed)
    if restored and restored.meta["data"]:
        stream.set_state(restored.meta["data"])
    step = train_step(experiment.method, seed_key)
    sharding = placement.batch_sharding(plan.mesh)
    again = jax.jit(step, donate_argnums=0, out_shardings=(plan.shardings, None))
    for _ in range(restored.step if restored else 0, bad):
        state, _ = again(state, placement.put(next(stream), sharding))
    batch = placement.put(next(stream), sharding)
    where = guards.first_bad_leaf({"batch": batch}) or guards.first_bad_leaf(state)
    where = (
        where
        or guards.first_bad_operation(step, state, batch)
        or "not found when the step is run operation by operation"
    )
    return f"metrics are not finite at step {bad}; first bad tensor: {where}"


def _draw(run: Run, step: int) -> None:
    """Samples of this moment, always from the same condition and key so that they can be compared over training."""
    samples = run.sample(run.condition(_gallery(run)), jax.random.fold_in(run.key, KEY_SAMPLE))
    assert run.workdir is not None
    save_samples(run.workdir / "samples" / f"step_{step:08d}", run.data.decode(samples))


def _gallery(run: Run) -> int:
    """Samples in one picture: 64 images, or 4 texts."""
    return 64 if "image" in run.data.spec else 4


def _validation(run: Run) -> dict[str, float]:
    """The metric by which the experiment chooses its best state, under the name of the split it is measured on."""
    if run.experiment.best is None:
        return {}
    split, metric = run.experiment.best
    return {f"{split}/{metric}": run.averages(split)[f"eval/{metric}"]}


def _check_best(experiment: Experiment) -> None:
    """Opens the split by which the best state is chosen. Raises UserError if the data have none of this name."""
    if experiment.best is None:
        return
    try:
        next(experiment.data.evaluate(experiment.best[0]))
    except UserError as error:
        raise UserError(f"the best state is to be chosen by {experiment.best[0]!r}: {error}") from None


def _take_best(run: Run, plan: Plan, checkpoints: Checkpoints) -> dict[str, int]:
    """Puts the best state in the place of the last, where the experiment asks for it, and says of which step it is."""
    if run.experiment.best is None:
        return {}
    best = checkpoints.restore_best(plan.shapes, plan.shardings)
    if best is None:
        return {}
    run.state = best.state
    return {"best_step": best.step}


def _finish(run: Run, steps: int, log: Log, expected: dict[str, Any] | None, best: dict[str, int]) -> None:
    """The final evaluation, the result and the report."""
    assert run.workdir is not None
    seconds = log.seconds
    metrics = run.evaluate()
    protocol = run.protocol()
    config = run.experiment.config
    write_json(run.workdir / "result.json", {
        "experiment": config.get("experiment"),
        "preset": config.get("preset"),
        "knobs": json.loads(json.dumps(config.get("knobs", {}))),
        "steps": steps,
        **best,
        "metrics": metrics,
        "expected": expected,
        "protocol": protocol,
        "seconds": round(seconds, 1),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "versions": versions(),
        "commit": commit(),
    })  # fmt: skip
    for name, value in metrics.items():
        log.say(f"{name} {value:.6g}")
    for name, how in protocol.items():
        log.say(f"({name}: {how})")
    page = report.write(run)
    log.say(f"report: {page}")


def _expected(experiment: Experiment, steps: int) -> dict[str, Any] | None:
    """What this run is expected to reach: what its file promises of the preset, if the run is that of the preset.

    Another seed, and another place of files, leave it the same run; fewer steps or any other knob do not.
    """
    config = experiment.config
    if not config.get("experiment") or steps != experiment.steps:
        return None
    preset = resolve(find(config["experiment"]), config["preset"])
    own = {"seed"} | ({"data"} if str(preset.get("data")).startswith("files:") else set())
    if any(value != config["knobs"][name] for name, value in preset.items() if name not in own):
        return None
    return _promised(experiment)


def _promised(experiment: Experiment) -> dict[str, Any] | None:
    config = experiment.config
    return find(config["experiment"]).expected.get(config["preset"]) if config.get("experiment") else None


def _best(experiment: Experiment) -> tuple[str, str] | None:
    """The metric by which the best checkpoint is kept: the one asked for, or the promised one if training measures it."""
    if experiment.best is not None:
        return "/".join(experiment.best), "min"
    expected = _promised(experiment)
    if expected is None or not expected["metric"].startswith("eval/"):
        return None
    return expected["metric"], expected.get("direction", "min")


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


@contextlib.contextmanager
def _noting(number: signal.Signals, stops: list[signal.Signals]) -> Iterator[None]:
    """Inside, this signal is put into `stops`, by which the loop ends with its call; a second Ctrl-C does not wait."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(received: int, frame: Any) -> None:
        stops.append(number)
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            _warn("interrupted: saving after the steps under way (once more, and nothing is saved)")

    before = signal.signal(number, note)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def _closing(log: Log, checkpoints: Checkpoints) -> Iterator[None]:
    """Hands everything to the disk at the end, also of a run that fails. A full disk is a failed run."""
    try:
        yield
        checkpoints.close()
    except BaseException as error:
        with contextlib.suppress(RunError):  # what failed first is what is reported
            checkpoints.close()
        if isinstance(error, OSError):
            reason = f"{error.strerror or error}: {error.filename or 'the run folder'}"
            raise RunError(f"{reason}; the last checkpoint stays readable") from error
        raise
    finally:
        log.close()


@contextlib.contextmanager
def _trace(folder: Path, on: bool | int) -> Iterator[None]:
    with jax.profiler.trace(str(folder)) if on else contextlib.nullcontext():
        yield
