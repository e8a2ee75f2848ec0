"""Published weights as a run: imported, evaluated, fine-tuned, written back."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import aigc_jax as aigc
from aigc_jax import pretrained
from aigc_jax.cli import main
from aigc_jax.errors import UserError
from aigc_jax.networks.transformer_block import stacked, unrolled
from aigc_jax.training.run import open_run
from aigc_jax.training.weights import export_weights, import_weights
from tests.pretrained import folders


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of transformers, a ResNet of seven classes with a tokenizer's file beside it."""
    folder = tmp_path_factory.mktemp("source") / "basic"
    folders.write("resnet", "basic", folder)
    (folder / "preprocessor_config.json").write_text('{"size": 8}')
    return folder


@pytest.fixture(scope="module")
def imported(source, tmp_path_factory):
    return import_weights(source, tmp_path_factory.mktemp("runs") / "imported", half=True)


def equal(one, other, but=()):
    one, other = (load_file(folder / "model.safetensors") for folder in (one, other))
    return one.keys() == other.keys() and all(
        x.tobytes() == other[name].tobytes() for name, x in one.items() if not name.endswith(but)
    )


def test_an_imported_run_opens_with_the_published_arrays_and_the_knobs_given(source, imported):
    run, model = open_run(imported), pretrained.load(source)
    assert run.step == 0 and run.experiment.config["knobs"]["half"] is True
    assert run.experiment.config["knobs"]["classes"] == 7
    taken = {"params": run.state.params["network"], "batch_stats": run.state.memory["batch_stats"]}
    jax.tree.map(np.testing.assert_array_equal, taken, model.variables)


def test_export_writes_the_folder_back_bit_by_bit(source, imported, tmp_path):
    export_weights(imported, tmp_path / "back")
    assert equal(source, tmp_path / "back")
    assert (tmp_path / "back" / "preprocessor_config.json").read_text() == '{"size": 8}'
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == json.loads(
        (source / "config.json").read_text()
    )


@pytest.mark.parametrize("began_from", ["source", "imported"])
def test_fine_tuning_is_one_command_and_its_network_is_written_with_its_own_classes(
    began_from, source, imported, tmp_path, capsys
):
    folder = {"source": source, "imported": imported}[began_from]
    words = f"train resnet --preset laptop --init-from {folder} --workdir {tmp_path / 'run'} --steps 2 --quiet"
    recipe = ["--lr", "1e-30", "--weight-decay", "0"]
    assert main([*words.split(), *recipe]) == 0
    assert "head" in capsys.readouterr().err, "that the head begins anew is said"
    again = words.replace(f"--init-from {folder} ", "").replace("--steps 2", "--steps 3 --resume")
    assert main([*again.split(), *recipe]) == 0, "a run knows its network"
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "back")]) == 0
    model, before = pretrained.load(tmp_path / "back"), pretrained.load(source)
    assert model.module.classes == 10 and len(model.config["id2label"]) == 10
    np.testing.assert_array_equal(model.params["conv_stem"]["kernel"], before.params["conv_stem"]["kernel"])
    stats = (one.variables["batch_stats"]["norm_stem"]["mean"] for one in (model, before))
    assert not np.array_equal(*stats), "statistics move in training"


def test_an_imported_run_goes_on_training(source, tmp_path):
    said = []
    knobs = dict(data="digits", net="cifar", size=8, pad=1, classes=10, steps=1, batch_size=16)
    folder = import_weights(source, tmp_path / "run", said.append, **knobs)
    assert len(said) == 1 and "head" in said[0] and "7 classes" in said[0]
    before = open_run(folder).state.params["network"]["conv_stem"]["kernel"]
    run = aigc.train(open_run(folder).experiment, folder, resume=True, quiet=True)
    assert run.step == 1 and not np.array_equal(before, run.state.params["network"]["conv_stem"]["kernel"])


def test_a_run_that_began_from_none_is_written_like_a_configuration(source, tmp_path):
    config = json.loads((source / "config.json").read_text())
    made = import_weights(source, tmp_path / "made", data="digits", net="cifar", size=8)
    shutil.rmtree(made / "published")
    export_weights(made, tmp_path / "like", like=source)
    assert equal(source, tmp_path / "like", but=("num_batches_tracked",)), "of which a run keeps no count"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({**config, "hidden_sizes": [6, 11, 15]}))
    with pytest.raises(UserError, match="15"):
        export_weights(made, tmp_path / "never", like=tmp_path / "other")
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    "words, line",
    [
        ("import {source} {full}", "is not empty"),
        ("import {empty} {new}", "holds no published weights"),
        ("export {full} {new}", "holds no run"),
        ("train vit --preset laptop --init-from {source} --workdir {new}", "holds weights of resnet"),
        ("train resnet --preset laptop --init-from {empty} --workdir {new}", "holds no run"),
        ("train resnet --preset laptop --init-from {new} --workdir {new}", "no folder"),
        (
            "train resnet --preset laptop --init-from {source} --channels 1 --workdir {new}",
            "channels is that of the weights",
        ),
        ("import {source} {new} --depht 3", "unknown option '--depht'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_leaves_everything_as_it_is(words, line, source, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    places = {name: str(tmp_path / name) for name in ("full", "empty", "new")}
    assert main([word.format(source=source, **places) for word in words.split()]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and line in said, said
    assert not (tmp_path / "new").exists() and [f.name for f in (tmp_path / "full").iterdir()] == ["notes.txt"]


def test_scanned_stacks_are_cut_into_blocks_and_put_together_again():
    arrays = {"params.blocks.norm.scale": np.arange(6.0).reshape(3, 2), "params.head.bias": np.ones(4)}
    cut = unrolled(arrays)
    assert set(cut) == {f"params.block_{i}.norm.scale" for i in range(3)} | {"params.head.bias"}
    np.testing.assert_array_equal(stacked(cut, "params.blocks.norm.scale"), arrays["params.blocks.norm.scale"])
    assert stacked(cut, "params.head.bias") is None and stacked(cut, "params.blocks.other") is None
