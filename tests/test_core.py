"""Facts of the updates a step is composed of: each against the same thing written out by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from aigc_jax.core import (
    Method,
    TrainState,
    accumulate,
    chain,
    descend,
    every,
    mask_weight,
    micro_batches,
    new_state,
    repeat,
    track,
)

KEY = jax.random.key(0)


def two_networks():
    a, b, c = jax.random.split(jax.random.key(1), 3)
    return {
        "encoder": {"w": jax.random.normal(a, (3, 4)), "b": jnp.ones(4)},
        "decoder": {"w": jax.random.normal(b, (4, 3))},
        "spectator": {"w": jax.random.normal(c, (2,))},
    }


def rows(n=8, seed=2):
    return {"x": jax.random.normal(jax.random.key(seed), (n, 3))}


def reconstruct(params, batch):
    hidden = jnp.tanh(batch["x"] @ params["encoder"]["w"] + params["encoder"]["b"])
    return hidden @ params["decoder"]["w"]


def squared_error(params, memory, batch, key):
    loss = jnp.mean((reconstruct(params, batch) - batch["x"]) ** 2)
    return loss, (memory, {"rmse": jnp.sqrt(loss)})


def remember(name):
    """An update that notes the step it saw, the sum of its batch and the bits of its key."""

    def update(state, batch, key):
        seen = {"calls": state.memory[name]["calls"] + 1, "sum": batch["x"].sum(), "key": jax.random.key_data(key)}
        return state._replace(memory={**state.memory, name: seen}), {name: jnp.float32(1)}

    return update


def noted():
    return {"calls": jnp.int32(0), "sum": jnp.float32(0), "key": jnp.zeros(2, jnp.uint32)}


# ---------------------------------------------------------------------------------------------------------- state


def test_new_state_counts_from_zero_and_holds_one_optimizer_state_for_each_group():
    tx = optax.adam(1e-3)
    params = two_networks()
    state = new_state(params, {"encoder+decoder": tx, "spectator": optax.sgd(1.0)}, {"queue": jnp.zeros(2)})
    assert isinstance(state, TrainState) and state.step.dtype == jnp.int32 and int(state.step) == 0
    pair = {name: params[name] for name in ("encoder", "decoder")}
    chex.assert_trees_all_equal(state.opt_state["encoder+decoder"], tx.init(pair))
    assert set(state.opt_state) == {"encoder+decoder", "spectator"} and set(state.memory) == {"queue"}


def test_new_state_refuses_a_group_of_an_unknown_network():
    with pytest.raises(ValueError, match="no network named critic in params: there are encoder, decoder, spectator"):
        new_state(two_networks(), {"critic": optax.sgd(1.0)})


def test_a_method_may_have_nothing_to_sample_and_nothing_to_encode():
    method = Method(init=lambda k, b: new_state({}, {}), step=lambda s, b, k: (s, {}), evaluate=lambda s, b, k: {})
    assert method.sample is None and method.encode is None


# -------------------------------------------------------------------------------------------------------- descend


def test_descend_is_the_optax_step_written_by_hand():
    tx = optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-2))
    params, opt_state = two_networks(), tx.init(two_networks())
    state, step = new_state(params, tx), jax.jit(descend(squared_error, tx))
    for seed in range(3):
        batch = rows(seed=seed)
        state, metrics = step(state, batch, KEY)
        value, gradient = jax.value_and_grad(lambda p, batch=batch: squared_error(p, {}, batch, KEY)[0])(params)
        updates, opt_state = tx.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        chex.assert_trees_all_close(state.params, params, rtol=1e-5)
        chex.assert_trees_all_close(state.opt_state["all"], opt_state, rtol=1e-4, atol=1e-7)
        chex.assert_trees_all_close(metrics["loss"], value, rtol=1e-5)
        # before clipping: the norm that is reported shows what was clipped
        chex.assert_trees_all_close(metrics["grad_norm"], optax.tree.norm(gradient), rtol=1e-5)
        chex.assert_trees_all_close(metrics["rmse"], jnp.sqrt(value), rtol=1e-5)
    assert int(state.step) == 0  # the trainer advances it


def test_descend_on_some_networks_leaves_the_rest_and_their_optimizers_alone():
    tx = {"encoder": optax.adam(1e-2), "decoder+spectator": optax.adam(1e-2)}
    before = new_state(two_networks(), tx)
    after, metrics = descend(squared_error, tx["encoder"], wrt="encoder")(before, rows(), KEY)
    chex.assert_trees_all_equal(after.params["decoder"], before.params["decoder"])
    chex.assert_trees_all_equal(after.opt_state["decoder+spectator"], before.opt_state["decoder+spectator"])
    moved = jax.tree.map(lambda x, y: bool(jnp.any(x != y)), after.params["encoder"], before.params["encoder"])
    assert all(jax.tree.leaves(moved))
    assert set(metrics) == {"encoder/loss", "encoder/grad_norm", "rmse"}
    gradient = jax.grad(lambda p: squared_error({**before.params, "encoder": p}, {}, rows(), KEY)[0])
    norm = optax.tree.norm(gradient(before.params["encoder"]))
    chex.assert_trees_all_close(metrics["encoder/grad_norm"], norm, rtol=1e-5)


def test_descend_on_a_pair_of_networks_trains_both_with_one_optimizer():
    tx = optax.sgd(0.1)
    state = new_state(two_networks(), {"encoder+decoder": tx})
    pair, metrics = descend(squared_error, tx, wrt=("encoder", "decoder"))(state, rows(), KEY)
    whole, _ = descend(squared_error, tx)(new_state(two_networks(), tx), rows(), KEY)
    chex.assert_trees_all_close(pair.params, whole.params)
    assert "encoder+decoder/loss" in metrics


def test_descend_takes_the_memory_that_the_loss_returns():
    def loss(params, memory, batch, key):
        return jnp.sum(params["encoder"]["b"]) * memory["scale"], ({"scale": memory["scale"] * 3}, {})

    state = new_state(two_networks(), optax.sgd(1.0), {"scale": jnp.float32(2)})
    state, _ = descend(loss, optax.sgd(1.0))(state, rows(), KEY)
    assert float(state.memory["scale"]) == 6
    chex.assert_trees_all_close(state.params["encoder"]["b"], jnp.full(4, 1.0 - 2.0))


def test_descend_without_an_optimizer_state_names_the_groups_there_are():
    state = new_state(two_networks(), {"decoder": optax.sgd(1.0)})
    with pytest.raises(ValueError, match=r"no optimizer state for group 'encoder': new_state was given \['decoder'\]"):
        descend(squared_error, optax.sgd(1.0), wrt="encoder")(state, rows(), KEY)


# ---------------------------------------------------------------------------------------------------------- track


@pytest.mark.parametrize(("decay", "weight_of_old"), [(1.0, 1.0), (0.0, 0.0), (0.9, 0.9), (lambda s: s / 10, 0.4)])
def test_track_is_the_moving_average_frozen_at_one_and_a_copy_at_zero(decay, weight_of_old):
    old = jax.tree.map(lambda x: x + 1, two_networks()["encoder"])
    state = new_state(two_networks(), {}, {"ema": old, "other": jnp.ones(2)})._replace(step=jnp.int32(4))
    after, metrics = jax.jit(track("ema", lambda params: params["encoder"], decay))(state, rows(), KEY)
    expected = jax.tree.map(lambda m, p: weight_of_old * m + (1 - weight_of_old) * p, old, state.params["encoder"])
    chex.assert_trees_all_close(after.memory["ema"], expected, rtol=1e-6)
    chex.assert_trees_all_equal(after.params, state.params)
    assert metrics == {} and float(after.memory["other"].sum()) == 2


def test_track_of_what_is_not_in_memory_names_what_is():
    with pytest.raises(ValueError, match=r"no 'ema' in memory to track: new_state was given \['queue'\]"):
        track("ema", lambda params: params, 0.9)(new_state({}, {}, {"queue": jnp.zeros(2)}), rows(), KEY)


def test_a_tracked_network_gets_no_gradient():
    def loss(params, memory, batch, key):
        return jnp.mean((reconstruct({**params, "encoder": memory["ema"]}, batch) - batch["x"]) ** 2), (memory, {})

    state = new_state(two_networks(), optax.sgd(1.0), {"ema": two_networks()["encoder"]})
    after, _ = descend(loss, optax.sgd(1.0))(state, rows(), KEY)
    chex.assert_trees_all_equal(after.memory["ema"], state.memory["ema"])
    chex.assert_trees_all_equal(after.params["encoder"], state.params["encoder"])  # not in the graph: gradient zero


# ---------------------------------------------------------------------------------------------------------- chain


def test_chain_runs_in_order():
    tx = optax.sgd(0.5)
    ema = track("ema", lambda params: params["encoder"], 0.0)
    start = new_state(two_networks(), tx, {"ema": jax.tree.map(jnp.zeros_like, two_networks()["encoder"])})
    before, _ = chain(ema, descend(squared_error, tx))(start, rows(), KEY)
    after, _ = chain(descend(squared_error, tx), ema)(start, rows(), KEY)
    chex.assert_trees_all_equal(before.memory["ema"], start.params["encoder"])
    chex.assert_trees_all_equal(after.memory["ema"], after.params["encoder"])
    chex.assert_trees_all_equal(before.params, after.params)


def test_chain_gives_every_update_a_key_of_its_own():
    state = new_state({}, {}, {name: noted() for name in "abc"})
    state, metrics = chain(*map(remember, "abc"))(state, rows(), KEY)
    keys = [jax.random.key_data(KEY), *(state.memory[name]["key"] for name in "abc")]
    assert len({tuple(np.asarray(key)) for key in keys}) == 4 and set(metrics) == set("abc")


def test_chain_refuses_two_metrics_of_one_name():
    tx = optax.sgd(1.0)
    twice = chain(descend(squared_error, tx), descend(squared_error, tx))
    with pytest.raises(ValueError, match="two updates report the metric grad_norm, loss, rmse"):
        twice(new_state(two_networks(), tx), rows(), KEY)


def test_a_loss_may_not_report_a_metric_named_loss():
    def loss(params, memory, batch, key):
        return jnp.sum(params["encoder"]["b"]), (memory, {"loss": jnp.float32(0)})

    with pytest.raises(ValueError, match="two updates report the metric loss"):
        descend(loss, optax.sgd(1.0))(new_state(two_networks(), optax.sgd(1.0)), rows(), KEY)


# --------------------------------------------------------------------------------------------------- repeat, every


def test_repeat_equals_as_many_chained_updates():
    def noisy(params, memory, batch, key):
        loss, aux = squared_error(params, memory, batch, key)
        return loss + jnp.sum(params["encoder"]["b"] * jax.random.normal(key, (4,))), aux

    tx = optax.adam(1e-2)
    state, update = new_state(two_networks(), tx), descend(noisy, tx)
    by_hand, last = state, {}
    for index in range(3):
        by_hand, last = update(by_hand, rows(), jax.random.fold_in(KEY, index))
    repeated, metrics = jax.jit(repeat(3, update))(state, rows(), KEY)
    chex.assert_trees_all_close(repeated, by_hand, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_close(metrics, last, rtol=1e-5)


def test_repeat_with_split_shows_every_repetition_another_part():
    x = jnp.arange(6.0)[:, None] ** 2
    state, sums = new_state({}, {}, {"part": noted()}), []
    for n in (1, 2, 3):
        after, _ = repeat(n, remember("part"), split=True)(state, {"x": x}, KEY)
        sums.append(float(after.memory["part"]["sum"]))
        assert int(after.memory["part"]["calls"]) == n
    assert sums == [float(x.sum()), float(x[1::2].sum()), float(x[2::3].sum())]  # the last part that was seen
    with pytest.raises(ValueError, match="4 micro-batches do not divide a batch of 6"):
        repeat(4, remember("part"), split=True)(state, {"x": x}, KEY)


def test_every_updates_on_multiples_of_n_alone():
    update = jax.jit(every(3, remember("it")))
    state, calls = new_state({}, {}, {"it": noted()}), []
    for step in range(7):
        state, metrics = update(state._replace(step=jnp.int32(step)), rows(), KEY)
        calls.append(int(state.memory["it"]["calls"]))
        assert metrics == {}
    assert calls == [1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("many", [repeat, every, accumulate])
def test_zero_times_is_refused(many):
    with pytest.raises(ValueError, match=f"{many.__name__} needs . >= 1, got 0"):
        many(0, descend(squared_error, optax.sgd(1.0)))


# ------------------------------------------------------------------------------------------------------ accumulate

MASKS = [
    [1, 1, 1, 1, 1, 1, 1, 1],
    [1, 0, 1, 1, 1, 0, 0, 1],
    [0, 0.5, 2, 0, 0, 1, 0, 3],  # weights, and a micro-batch that is all padding for k = 4: rows 0, 4
]


def masked_mean(params, memory, batch, key):
    error = jnp.mean((reconstruct(params, batch) - batch["x"]) ** 2, axis=-1)  # [B]
    loss = jnp.sum(error * batch["mask"]) / jnp.sum(batch["mask"])
    return loss, ({"parts": memory["parts"] + 1, "last": loss}, {"mse": loss})


def masked_state(tx):
    return new_state(two_networks(), tx, {"parts": jnp.int32(0), "last": jnp.float32(0)})


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("k", [1, 2, 4])
def test_accumulate_has_the_gradient_of_the_whole_batch_under_unequal_masks(k, mask):
    tx = optax.sgd(1.0)
    batch = {**rows(8), "mask": jnp.asarray(mask, jnp.float32)}
    whole, expected = jax.jit(descend(masked_mean, tx))(masked_state(tx), batch, KEY)
    parts, metrics = jax.jit(accumulate(k, descend(masked_mean, tx)))(masked_state(tx), batch, KEY)
    chex.assert_trees_all_close(parts.params, whole.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(metrics, expected, rtol=1e-5)
    counting = int(np.count_nonzero(np.asarray(mask).reshape(8 // k, k).sum(0)))
    assert int(parts.memory["parts"]) == counting and jnp.isfinite(parts.memory["last"])


def test_accumulate_weighs_by_tokens_where_told():
    def per_token(params, memory, batch, key):
        score = jnp.tanh(batch["tokens"][..., None] * params["net"]["w"])[..., 0]  # [B, T]
        return jnp.sum(score * batch["keep"]) / jnp.sum(batch["keep"]), (memory, {})

    tx = optax.sgd(1.0)
    state = new_state({"net": {"w": jnp.ones(1)}}, tx)
    keep = jnp.asarray([[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    batch = {"tokens": jax.random.normal(KEY, (6, 4)), "keep": keep.astype(jnp.float32)}
    whole, _ = descend(per_token, tx)(state, batch, KEY)
    tokens = accumulate(3, descend(per_token, tx), weight=lambda batch: jnp.sum(batch["keep"]))
    chex.assert_trees_all_close(tokens(state, batch, KEY)[0].params, whole.params, rtol=1e-5)
    examples = accumulate(3, descend(per_token, tx))(state, batch, KEY)[0]  # the wrong weight: parts of 4, 0, 3 tokens
    assert not np.allclose(examples.params["net"]["w"], whole.params["net"]["w"], rtol=1e-3)


def test_accumulate_passes_memory_through_the_parts_in_order_each_with_its_key():
    def loss(params, memory, batch, key):
        seen = jnp.roll(memory["seen"], -1).at[-1].set(batch["x"][0])
        noise = jnp.roll(memory["noise"], -1).at[-1].set(jax.random.normal(key))
        return jnp.mean(batch["x"] * params["net"]["w"]), ({"seen": seen, "noise": noise}, {})

    tx = optax.sgd(1.0)
    state = new_state({"net": {"w": jnp.ones(())}}, tx, {"seen": jnp.full(3, -1.0), "noise": jnp.zeros(3)})
    after, _ = accumulate(3, descend(loss, tx))(state, {"x": jnp.arange(6.0)}, KEY)
    assert after.memory["seen"].tolist() == [0, 1, 2]
    assert len(set(after.memory["noise"].tolist())) == 3


def test_micro_batches_deal_out_the_rows_in_turn():
    parts = micro_batches({"x": jnp.arange(12).reshape(6, 2), "label": jnp.arange(6)}, 3)
    assert parts["label"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert parts["x"].shape == (3, 2, 2) and parts["x"][1].tolist() == [[2, 3], [8, 9]]


def test_accumulate_refuses_what_it_cannot_cut():
    tx = optax.sgd(1.0)
    with pytest.raises(ValueError, match="3 micro-batches do not divide a batch of 8"):
        accumulate(3, descend(squared_error, tx))(new_state(two_networks(), tx), rows(8), KEY)
    with pytest.raises(TypeError, match="inside a chain wrap each descend by itself"):
        accumulate(2, chain(descend(squared_error, tx)))


def test_mask_weight_counts_examples_where_there_is_no_mask():
    assert float(mask_weight(rows(5))) == 5
    assert float(mask_weight({**rows(3), "mask": jnp.asarray([1.0, 0.0, 0.5])})) == 1.5


def wide_step(k):
    """Bytes of temporaries of a compiled step of a wide network whose activations outweigh its parameters."""

    def loss(params, memory, batch, key):
        hidden = jnp.tanh(batch["x"] @ params["net"]["in"])  # [B, 4096]
        return jnp.mean(jnp.tanh(hidden * 2) @ params["net"]["out"]), (memory, {})

    tx = optax.sgd(1.0)
    state = new_state({"net": {"in": jnp.ones((8, 4096)), "out": jnp.ones((4096, 1))}}, tx)
    batch = {"x": jnp.ones((512, 8))}
    compiled = jax.jit(accumulate(k, descend(loss, tx))).lower(state, batch, KEY).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_accumulate_needs_the_memory_of_one_part():
    assert wide_step(8) < wide_step(1) / 4


def test_accumulate_keeps_the_devices_apart():
    """Each device computes its own rows of every part and nothing twice: cost_analysis counts a loop's body once."""

    def loss(params, memory, batch, key):
        return jnp.mean((batch["x"] @ params["net"]) ** 2), (memory, {})

    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    rows, everywhere = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    tx, flops = optax.sgd(1.0), {}
    state = new_state({"net": jnp.ones((128, 128))}, tx)
    for k in (1, 4):
        step = jax.jit(accumulate(k, descend(loss, tx)), in_shardings=(everywhere, rows, everywhere))
        compiled = step.lower(state, {"x": jnp.ones((64, 128))}, KEY).compile()
        assert "all-gather" not in compiled.as_text()
        flops[k] = compiled.cost_analysis()["flops"]
    assert flops[4] < flops[1] / 2
