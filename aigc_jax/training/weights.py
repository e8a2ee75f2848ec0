"""Published weights into a run folder, and the networks of a run into published weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import unflatten_dict

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from aigc_jax.experiment import load
from aigc_jax.networks.transformer_block import unrolled
from aigc_jax.pretrained.files import read_config
from aigc_jax.pretrained.origin import keep_origin, knobs_of, refilled, with_origin
from aigc_jax.training.checkpoint import Checkpoints, flatten
from aigc_jax.training.folder import prepare
from aigc_jax.training.graft import classes_of, donor_of_model, grafting, shared
from aigc_jax.training.plan import first_state, make_plan
from aigc_jax.training.run import open_run
from aigc_jax.training.sharding import make_mesh

Say = Callable[[str], None]


def import_weights(source: str | Path, workdir: str | Path, say: Say = print, **knobs: Any) -> Path:
    """Makes a run folder at step 0 whose networks are published weights: to evaluate, to resume, to begin others from.

    knobs: of the experiment, over those that the configuration gives.

    Raises UserError for a folder that cannot be read (see `pretrained.load`), and for a run folder that is not empty.
    """
    if Path(workdir).is_file() or (Path(workdir).is_dir() and any(Path(workdir).iterdir())):
        raise UserError(f"{workdir} is not empty: give another folder for the run")
    model = pretrained.load(source)
    experiment = load(model.published.experiment, **{**knobs_of(model.config, model.published), **knobs})
    plan = make_plan(experiment, make_mesh())
    taken = shared(donor_of_model(model, str(source)), experiment, flatten(plan.shapes), say)
    batch = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in experiment.data.spec.items()}
    state = first_state(experiment, plan, batch, jax.random.key(experiment.seed), grafting(taken, plan))
    prepare(Path(workdir), experiment.config, resume=False)
    keep_origin(model, Path(workdir))
    checkpoints = Checkpoints(Path(workdir) / "checkpoints")
    # no data has been read: a resume begins at its start
    checkpoints.save(state, {"data": None, "seed": experiment.seed}, {})
    checkpoints.close()
    return Path(workdir)


def export_weights(workdir: str | Path, target: str | Path, like: str | Path | None = None) -> Path:
    """Writes the network of a run, by its averages where it keeps them, in the layout of the weights it began from.

    like: a folder whose config.json describes the network, for a run that began from none.

    Raises UserError for a run of which nothing says the layout, for a configuration of another network, and for a target
    that is not empty.
    """
    run = open_run(workdir)
    knobs = run.experiment.config["knobs"]
    if like is not None:
        config = read_config(Path(like))
        model = pretrained.Model(pretrained.published(config), {}, config)
    else:
        model = with_origin(Path(workdir), knobs.get("published"))
    if model is None:
        raise UserError(f"{workdir} began from no published weights, so nothing says in which layout to write it: give a "
                        "folder with the config.json of its network by --like")  # fmt: skip
    arrays = unrolled(flatten(jax.device_get(_network(run.state))))
    variables = {kind: tree for kind, tree in unflatten_dict(arrays, sep=".").items() if tree}
    pretrained.save(refilled(model, variables, classes_of(run.experiment), knobs.get("size")), target)
    return Path(target)


def _network(state: Any) -> dict[str, Any]:
    """Parameters and statistics that answer in evaluation."""
    memory = state.memory
    if "ema" in memory:
        return {"params": memory["ema"]["network"], "batch_stats": memory["ema"].get("batch_stats", {})}
    params = memory.get("average", state.params["network"])
    return {"params": params, "batch_stats": memory.get("batch_stats", {})}
