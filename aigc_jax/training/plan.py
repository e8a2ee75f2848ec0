"""What is settled before the first step: shapes, placements, cost, periods, and where the first state comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax import Array
from jax.sharding import Mesh

from aigc_jax.core import TrainState
from aigc_jax.errors import UserError
from aigc_jax.experiment import Experiment
from aigc_jax.training import sharding as placement
from aigc_jax.training.describe import byte_size, parameter_count, state_shapes
from aigc_jax.training.flops import count_flops
from aigc_jax.training.run import KEY_INIT
from aigc_jax.training.step import has_primitive, steps_per_call, train_step


class Periods(NamedTuple):
    """Every how many steps something is due; the last step is always due for all."""

    log: int
    evaluate: int
    sample: int
    save: int

    def next(self, step: int, last: int) -> int:
        """The first step after `step` at which something is due."""
        return min(last, *(step // period * period + period for period in self))


class Plan(NamedTuple):
    """What is known of a run before anything is allocated.

    calls: steps in one call of the compiled function.
    flops: of one step.
    """

    mesh: Mesh
    shapes: TrainState
    shardings: Any
    calls: int
    flops: int
    parameters: int
    state_bytes: int


def make_plan(experiment: Experiment, mesh: Mesh) -> Plan:
    """Shapes, placements and cost of a run; nothing is allocated and no data opened.

    Raises UserError if the mesh does not divide the batch, the networks cannot be built, or a rule does not fit an array.
    """
    spec = dict(experiment.data.spec)
    placement.check_batch(mesh, rows_of(spec))
    try:
        shapes = state_shapes(experiment)
    except (TypeError, ValueError) as error:  # knobs that do not fit together, such as heads and width
        raise UserError(f"{experiment.config.get('experiment', 'the experiment')} cannot be built: {error}") from error
    step = train_step(experiment.method, jax.random.key(experiment.seed))
    flops = count_flops(step, shapes, spec)
    native = has_primitive(jax.make_jaxpr(step)(shapes, spec).jaxpr, "conv_general_dilated")
    return Plan(
        mesh=mesh,
        shapes=shapes,
        shardings=placement.place(experiment.rules, mesh, shapes),
        calls=steps_per_call(flops, byte_size(spec), native),
        flops=flops,
        parameters=parameter_count(shapes),
        state_bytes=byte_size(shapes),
    )


def make_periods(
    steps: int, own: int, log: int | None, evaluate: int | None, sample: int | None, save: int | None
) -> Periods:
    """The periods given; else a row every hundredth of the run, a checkpoint every tenth, evaluation and samples too.

    own: the experiment's length; a tenth of it is how often a shorter run is evaluated, at its end if not before.

    Raises UserError below 1.
    """
    if steps < 1:
        raise UserError(f"steps must be at least 1, not {steps}")
    given = {"log_every": log, "eval_every": evaluate, "sample_every": sample, "save_every": save}
    for name, period in given.items():
        if period is not None and period < 1:
            raise UserError(f"{name} must be at least 1, not {period}")
    usual = (steps // 100, max(steps, own) // 10, max(steps, own) // 10, steps // 10)
    return Periods(*(period or max(1, other) for period, other in zip(given.values(), usual)))


def first_state(
    experiment: Experiment,
    plan: Plan,
    first: Mapping[str, Any],
    seed_key: Array,
    donor: Callable[[TrainState], TrainState] | None,
) -> TrainState:
    """The state of step 0, built in place on its devices from the first batch, then handed to the donor if there is one."""
    batch = placement.put(first, placement.batch_sharding(plan.mesh))
    key = jax.random.fold_in(seed_key, KEY_INIT)
    state = jax.jit(experiment.method.init, out_shardings=plan.shardings)(key, batch)
    return donor(state) if donor else state


def headline(experiment: Experiment, plan: Plan) -> str:
    """What a run will cost, in one line."""
    config = experiment.config
    name = " ".join(str(config[word]) for word in ("experiment", "preset") if config.get(word))
    batch = byte_size(dict(experiment.data.spec))
    shape = " x ".join(f"{axis}={size}" for axis, size in plan.mesh.shape.items())
    return (
        f"{name or 'experiment'}: {plan.parameters:,} parameters, {plan.flops / 1e9:.4g} GFLOP a step, "
        f"state {plan.state_bytes / 1e6:.4g} MB, batch {batch / 1e6:.4g} MB, mesh {shape} on "
        f"{jax.devices()[0].device_kind}, {plan.calls} steps a call"
    )


def rows_of(batch: Mapping[str, Any]) -> int:
    """The number of examples of a batch."""
    return jax.tree.leaves(dict(batch))[0].shape[0]
