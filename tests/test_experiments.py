"""The harness: every experiment file, present and future, is held to the same facts.

A new file is covered the moment it exists: the shapes of all its presets, two steps of `laptop` on synthetic data, a loss that
falls on one repeated batch, resuming that is equal to the last bit, one device that equals eight, evaluation that padding
does not change, and for language models, that no token sees those after it.
"""

from __future__ import annotations

import ast
import functools
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import aigc_jax as aigc
from aigc_jax.experiment import catalogue, signature
from aigc_jax.training import describe, loop
from aigc_jax.training.run import Run
from aigc_jax.training.sharding import batch_sharding, make_mesh, place, put

CATALOGUE = catalogue()
PRESETS = [(name, preset) for name, entry in CATALOGUE.items() for preset in entry.presets]
PUBLISHED = json.loads(Path(__file__).with_name("parameters.json").read_text())  # trainable parameters by preset
SYNTHETIC = dict(data="synthetic")


def one_device():
    return make_mesh(devices=jax.devices()[:1])


@functools.cache
def laptop(name):
    """The laptop preset on synthetic data, without the evaluators and panels that only mean something after training."""
    return aigc.load(name, preset="laptop", **SYNTHETIC)._replace(evals={}, panels={})


@functools.cache
def first_batch(name):
    return next(laptop(name).data.train(0))


@functools.cache
def begun(name):
    """The state at step 0, and the compiled step."""
    method = laptop(name).method
    state = jax.jit(method.init)(jax.random.key(0), first_batch(name))
    return state, jax.jit(method.step)


@pytest.fixture(params=sorted(CATALOGUE))
def name(request):
    return request.param


def test_there_are_experiments():
    assert {"gpt2", "resnet", "vae", "gan", "moco", "pcd", "ddpm"} <= CATALOGUE.keys()


def test_published_counts_are_of_presets_there_are():
    assert {(name, preset) for name, counts in PUBLISHED.items() for preset in counts} <= set(PRESETS)


def test_the_file_says_what_the_list_shows(name):
    entry = CATALOGUE[name]
    assert entry.summary.endswith(".") and entry.paper and entry.systems
    assert entry.presets["paper"] == {} and "laptop" in entry.presets
    expected = entry.expected["laptop"]
    assert expected.keys() >= {"metric", "value", "tolerance", "direction", "device", "minutes"}
    assert expected["direction"] in ("max", "min") and expected["minutes"] <= 5
    knobs = signature(entry)
    assert {"data", "steps", "batch_size", "seed"} <= knobs.keys()
    for knob, parameter in knobs.items():
        assert parameter.annotation is not parameter.empty and parameter.default is not parameter.empty, knob
        assert parameter.kind is parameter.KEYWORD_ONLY, knob


def test_every_knob_is_read(name):
    """A knob that nothing reads would be accepted on the command line and change nothing."""
    tree = ast.parse(Path(CATALOGUE[name].path).read_text(encoding="utf-8"))
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "experiment")
    read = {node.id for part in function.body for node in ast.walk(part) if isinstance(node, ast.Name)}
    assert set(signature(CATALOGUE[name])) <= read


def test_a_negative_temperature_is_found_when_the_experiment_is_built(name):
    """Else it would be met by the first samples, as an error nobody foresaw."""
    if "temperature" in signature(CATALOGUE[name]):
        with pytest.raises(aigc.UserError, match=f"{name}: .* -0.5"):
            aigc.load(name, preset="laptop", temperature=-0.5)


@pytest.mark.parametrize("name, preset", PRESETS, ids=map("-".join, PRESETS))
def test_every_preset_has_a_shape(name, preset):
    """Without its data: a paper preset builds on a machine that has none. Sizes have the published parameter counts."""
    experiment = aigc.load(name, preset=preset)
    state = describe.state_shapes(experiment)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(state))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params)), "parameters stay float32"
    count = describe.parameter_count(state)
    assert count == PUBLISHED.get(name, {}).get(preset, count) > 0
    if preset in ("paper", "laptop"):  # other sizes differ in numbers alone
        check_step(experiment, state)


def check_step(experiment, state):
    after, metrics = jax.eval_shape(experiment.method.step, state, experiment.data.spec, jax.random.key(0))
    jax.tree.map(
        lambda a, b: None if (a.shape, a.dtype) == (b.shape, b.dtype) else pytest.fail(f"{a} {b}"), after, state
    )
    assert metrics and all(metric.shape == () for metric in metrics.values()), "metrics are scalars"
    rows = jax.eval_shape(experiment.method.evaluate, state, experiment.data.spec, jax.random.key(0))
    size = jax.tree.leaves(experiment.data.spec)[0].shape[0]
    assert rows and all(row.shape == (size,) for row in rows.values()), "evaluation is per example"


def test_two_steps_are_finite_and_move_the_parameters(name):
    state, step = begun(name)
    before = state
    for index in range(2):
        state, metrics = step(state, first_batch(name), jax.random.key(index))
        assert all(np.isfinite(value) for value in metrics.values()), metrics
        assert int(state.step) == index, "the trainer alone advances the step"
        state = state._replace(step=state.step + 1)
    moved = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), before.params, state.params)
    assert any(jax.tree.leaves(moved))
    assert jax.tree.structure(before) == jax.tree.structure(state)


def test_the_loss_falls_on_one_repeated_batch(name):
    """With one key, and memory and step put back each time, the loss is a function of the parameters alone."""
    begin, step = begun(name)
    state, losses = begin, []
    for _ in range(25):
        state, metrics = step(
            state._replace(memory=begin.memory, step=begin.step + 1), first_batch(name), jax.random.key(7)
        )
        losses.append({key: float(value) for key, value in metrics.items() if key.endswith("loss")})
    assert losses[0]
    fell = [key for key, value in losses[0].items() if min(row[key] for row in losses[5:]) < value - 1e-6 * abs(value)]
    assert fell, (losses[0], losses[-1])


def test_resuming_is_bit_equal(name, tmp_path, no_report):
    """A run of four steps, and its folder as it was after the second, with rows that were not saved, resumed."""
    experiment = laptop(name)._replace(method=laptop(name).method._replace(sample=None))  # looked at by itself below
    train = functools.partial(loop.train, experiment, mesh=one_device(), quiet=True, log_every=1, eval_every=4,
                              save_every=2, steps=4)  # fmt: skip
    straight = train(tmp_path / "straight")
    shutil.copytree(straight.workdir, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "latest" / "4")
    resumed = train(tmp_path / "cut", resume=True)
    jax.tree.map(np.testing.assert_array_equal, straight.state, resumed.state)
    rows = [[json.loads(line) for line in (run.workdir / "metrics.jsonl").read_text().splitlines()]
            for run in (straight, resumed)]  # fmt: skip
    assert [row["step"] for row in rows[0]] == [1, 2, 3, 4]
    assert rows[0] == rows[1]


def test_one_device_equals_eight(name, monkeypatch):
    """With plain SGD: Adam turns round-off into whole steps where a true gradient is zero."""
    for optimizer in ("adam", "adamw", "adagrad", "rmsprop", "adamax", "lamb", "lars"):
        monkeypatch.setattr(optax, optimizer, lambda learning_rate, *args, **options: optax.sgd(learning_rate))
    experiment = aigc.load(name, preset="laptop", batch_size=16, **SYNTHETIC)
    batch, states = next(experiment.data.train(0)), []
    for mesh in (one_device(), make_mesh({"data": 2, "fsdp": 4})):
        plan = loop.make_plan(experiment, mesh)
        placed = put(batch, batch_sharding(mesh))
        state = jax.jit(experiment.method.init, out_shardings=plan.shardings)(jax.random.key(0), placed)
        step = jax.jit(experiment.method.step, out_shardings=(plan.shardings, None))
        for index in range(2):
            state, _ = step(state, placed, jax.random.key(index))
        states.append(jax.device_get(state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), *states)


def test_padding_changes_no_average(name):
    """The same examples in batches without padding give the same averages, to round-off."""
    experiment = laptop(name)
    state, _ = begun(name)
    mesh = one_device()
    shapes = jax.eval_shape(lambda: state)
    run = Run(experiment, state, mesh, place(experiment.rules, mesh, shapes))
    padded = run.averages()

    def cut(split=None):
        for batch in experiment.data.evaluate(split):
            real = np.asarray(batch["mask"]) > 0
            yield {key: value[real] for key, value in batch.items()}

    unpadded = Run(
        experiment._replace(data=experiment.data._replace(evaluate=cut)), state, mesh, run.shardings
    ).averages()
    sizes = [int((np.asarray(batch["mask"]) > 0).sum()) for batch in experiment.data.evaluate()]
    assert sizes[-1] < sizes[0], "the synthetic evaluation split must need padding"
    for metric, value in padded.items():
        assert value == pytest.approx(unpadded[metric], rel=2e-4, abs=1e-5), metric


def test_samples_are_of_the_data(name):
    experiment = laptop(name)
    if experiment.method.sample is None:
        return
    state, _ = begun(name)
    mesh = one_device()
    run = Run(experiment, state, mesh, None)
    samples = np.asarray(run.sample(run.condition(4)))
    assert len(samples) == 4 and np.isfinite(samples).all()
    decoded = experiment.data.decode(samples)
    assert len(decoded[1] if isinstance(decoded, tuple) else decoded) == 4  # sounds come with their rate


LANGUAGE = [name for name in CATALOGUE if "tokens" in laptop(name).data.spec]


@pytest.mark.parametrize("name", LANGUAGE)
def test_a_causal_language_model_sees_no_later_token(name):
    """The cost of token t, singled out by its weight, moves with the tokens up to t and with none after it."""
    experiment = laptop(name)
    state, _ = begun(name)
    tokens = np.array(next(experiment.data.evaluate())["tokens"][:1])
    length, at = tokens.shape[1] - 1, 5
    variants = np.repeat(tokens, 3, axis=0)
    variants[1, at + 2 :] = (variants[1, at + 2 :] + 1) % 7
    variants[2, at - 1] = (variants[2, at - 1] + 1) % 7
    weights = np.zeros((3, length), np.float32)
    weights[:, at] = 1
    evaluate = jax.jit(experiment.method.evaluate)
    nats = evaluate(state, {"tokens": variants, "weights": weights}, jax.random.key(0))["nats_per_token"]
    assert nats[0] == nats[1], "a later token changed the cost of an earlier one"
    assert nats[0] != nats[2], "an earlier token does not count"
