"""Checkpoints: what comes back, what is kept, and what a damaged one does."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.core import new_state
from aigc_jax.errors import RunError, UserError
from aigc_jax.training.checkpoint import Checkpoints
from aigc_jax.training.sharding import make_mesh, place


def state_at(step, width=3):
    params = {"net": {"kernel": jnp.arange(6.0).reshape(2, 3)[:, :width] + step, "bias": jnp.ones(width)}}
    return new_state(params, optax.adam(1e-3), {"queue": jnp.full((4,), step)})._replace(step=jnp.int32(step))


def shapes_of(state):
    shapes = jax.eval_shape(lambda: state)
    return shapes, place([(".*", "replicate")], make_mesh(devices=jax.devices()[:1]), shapes)


@pytest.fixture
def folder(tmp_path):
    """Three saved steps, of which the last two are kept."""
    checkpoints = Checkpoints(tmp_path / "checkpoints", best=("eval/loss", "min"))
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0)):
        checkpoints.save(state_at(step), {"data": {"index": step}}, {"eval/loss": loss})
    checkpoints.close()
    return tmp_path / "checkpoints"


def restore(folder, width=3):
    lines = []
    restored = Checkpoints(folder).restore(*shapes_of(state_at(0, width)), lines.append)
    return restored, lines


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def test_the_whole_state_comes_back(folder):
    restored, lines = restore(folder)
    assert (restored.step, restored.meta["data"], lines) == (30, {"index": 30}, [])
    jax.tree.map(np.testing.assert_array_equal, restored.state, state_at(30))


def test_the_best_does_not_displace_the_latest(folder):
    kept = {kind: sorted(path.name for path in (folder / kind).iterdir()) for kind in ("latest", "best")}
    assert kept == {"latest": ["20", "30"], "best": ["20"]}


def test_an_empty_folder_restores_nothing(tmp_path):
    assert restore(tmp_path / "none") == (None, [])


@pytest.mark.parametrize("harm", ["cut", "flip", "delete"])
def test_a_damaged_checkpoint_is_passed_over_and_kept_aside(folder, harm):
    path = largest_file(folder / "latest" / "30")
    content = path.read_bytes()
    if harm == "delete":
        path.unlink()
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] if harm == "cut" else
                         content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])  # fmt: skip
    restored, lines = restore(folder)
    assert restored.step == 20
    assert len(lines) == 1 and "checkpoint 30 is damaged" in lines[0] and path.name in lines[0]
    assert (folder / "damaged" / "30").is_dir()


def test_damage_without_a_seal_is_found_by_reading(folder):
    (folder / "seals" / "30.json").unlink()
    (folder / "latest" / "30" / "state" / "manifest.ocdbt").write_bytes(b"nonsense")
    restored, lines = restore(folder)
    assert restored.step == 20 and "checkpoint 30 is damaged" in lines[0]


def test_all_damaged_is_an_error(folder):
    for step in ("20", "30"):
        largest_file(folder / "latest" / step).unlink()
    with pytest.raises(UserError, match=r"no checkpoint in .* is whole: all of \[20, 30\] are damaged"):
        restore(folder)
    with pytest.raises(UserError, match="are damaged; begin anew"):  # not a run that never saved
        restore(folder)


def test_half_a_checkpoint_is_never_the_latest(folder):
    half = folder / "latest" / "40.orbax-checkpoint-tmp-1"
    half.mkdir()
    (half / "state").write_text("")
    restored, lines = restore(folder)
    assert restored.step == 30 and lines == []


def test_a_reader_leaves_alone_what_a_trainer_is_writing(folder):
    half = folder / "latest" / "40.orbax-checkpoint-tmp-1"
    half.mkdir()
    (folder / "seals" / "30.json").unlink()
    Checkpoints(folder, reading=True).close()
    assert half.exists() and not (folder / "seals" / "30.json").exists()
    Checkpoints(folder).close()
    assert (folder / "seals" / "30.json").exists()


def test_a_whole_checkpoint_that_cannot_be_read_stays_where_it_is(folder, monkeypatch):
    def full(self, *arguments, **options):
        raise MemoryError("out of memory")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.restore", full)
    with pytest.raises(RunError, match="checkpoint 30 is whole but cannot be read: MemoryError: out of memory"):
        restore(folder)
    assert sorted(path.name for path in (folder / "latest").iterdir()) == ["20", "30"]


def test_a_missing_array_is_named(folder):
    path = folder / "latest" / "30" / "meta" / "metadata"
    meta = json.loads(path.read_text())
    del meta["arrays"]["params.net.bias"]
    path.write_text(json.dumps(meta))
    (folder / "seals" / "30.json").unlink()
    with pytest.raises(UserError, match="does not fit this experiment: it lacks params.net.bias"):
        restore(folder)


def test_another_shape_is_named(folder):
    with pytest.raises(UserError, match=r"params.net.bias \(3,\) here \(2,\)"):
        restore(folder, width=2)
    assert sorted(path.name for path in (folder / "latest").iterdir()) == ["20", "30"]


def test_saving_after_a_fallback_writes_the_step_again(folder):
    largest_file(folder / "latest" / "30").unlink()
    checkpoints = Checkpoints(folder)
    checkpoints.restore(*shapes_of(state_at(0)), lambda line: None)
    checkpoints.save(state_at(30), {"data": {"index": 30}}, {})
    checkpoints.close()
    assert restore(folder)[0].step == 30
