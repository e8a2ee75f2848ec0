"""Facts of momentum contrast: the loss by hand and in closed form, the queue's order, what a gradient may touch."""

import functools
import math

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.vision.moco import Encoder, contrast, enqueue, moco
from aigc_jax.networks.layers import BatchNorm, Dense
from aigc_jax.networks.resnet import ResNet

KEY = jax.random.key(0)
BATCH, QUEUE, DIM = 8, 32, 6


class Trunk(nn.Module):
    """The smallest network with batch statistics: [B, H, W, C] -> [B, 5]."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(BatchNorm(name="norm")(Dense(5)(x.reshape(len(x), -1)), train))
        return x, {}


def views(seed=1):
    one, other = np.random.default_rng(seed).standard_normal((2, BATCH, 2, 2, 1)).astype(np.float32) + 1
    return {"view1": one, "view2": other}


@functools.cache
def method(lr=0.5, **knobs):
    made = moco(Trunk(), optax.sgd(lr), **{**dict(queue=QUEUE, dim=DIM, bn_groups=2, momentum=0.9), **knobs})
    compiled = {name: jax.jit(getattr(made, name)) for name in ("init", "step", "evaluate", "encode")}
    return made._replace(**compiled)


def state_of(made):
    return made.init(KEY, views())


# ----------------------------------------------------------------------------------------------------------- the loss


def test_all_orthogonal_is_the_logarithm_of_the_number_of_keys():
    q = jnp.eye(3, 8)
    losses, hits = contrast(q, jnp.roll(q, 3, -1), jnp.zeros((65536, 8)).at[:, 7].set(1), 0.2)
    np.testing.assert_allclose(losses, math.log(1 + 65536), rtol=1e-6)
    np.testing.assert_allclose(losses, 11.090370, atol=1e-5)
    assert hits.tolist() == [0, 0, 0]  # a tie is no hit


@pytest.mark.parametrize(("temperature", "expected"), [(0.07, 0.040135), (0.2, 6.092617)])
def test_an_aligned_pair_against_an_orthogonal_queue(temperature, expected):
    q = jnp.eye(3, 8)
    queue = jnp.zeros((65536, 8)).at[:, 7].set(1)  # orthogonal to all three
    losses, hits = contrast(q, q, queue, temperature)
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    assert hits.tolist() == [1, 1, 1]


def random_units():
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((n, 5)).astype(np.float32) for n in (4, 4, 7)]
    return [x / np.linalg.norm(x, axis=1, keepdims=True) for x in rows]


def test_the_loss_is_that_of_a_slow_double_loop():
    q, k, queue = random_units()
    losses, hits = contrast(q, k, queue, 0.3)
    for i in range(4):
        positive = math.exp(sum(float(q[i, d] * k[i, d]) for d in range(5)) / 0.3)
        negatives = [math.exp(sum(float(q[i, d] * queue[j, d]) for d in range(5)) / 0.3) for j in range(7)]
        assert float(losses[i]) == pytest.approx(-math.log(positive / (positive + sum(negatives))), rel=1e-5)
        assert bool(hits[i]) == (positive > max(negatives))


def test_a_common_rotation_changes_nothing():
    q, k, queue = random_units()
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0].astype(np.float32)
    turned = contrast(q @ rotation, k @ rotation, queue @ rotation, 0.2)
    chex.assert_trees_all_close(turned, contrast(q, k, queue, 0.2), rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------- the queue


def test_the_queue_is_first_in_first_out():
    queue, cursor = jnp.full((6, 1), -1.0), jnp.int32(0)
    seen = []
    for step in range(4):
        after = enqueue(queue, cursor, jnp.arange(2.0)[:, None] + 2 * step)
        queue, cursor = after["queue"], after["cursor"]
        seen.append((queue[:, 0].tolist(), int(cursor)))
    assert seen == [
        ([0, 1, -1, -1, -1, -1], 2),
        ([0, 1, 2, 3, -1, -1], 4),
        ([0, 1, 2, 3, 4, 5], 0),
        ([6, 7, 2, 3, 4, 5], 2),  # the oldest two went
    ]


def test_the_queue_begins_with_unit_rows_and_is_refilled_with_unit_rows_after_as_many_steps_as_it_holds_batches():
    made = method()
    state, step = state_of(made), made.step
    first = state.memory["queue"]
    assert first.shape == (QUEUE, DIM)
    for index in range(QUEUE // BATCH):
        np.testing.assert_allclose(jnp.linalg.norm(state.memory["queue"], axis=-1), 1, rtol=1e-5)
        untouched = state.memory["queue"][index * BATCH :]
        chex.assert_trees_all_equal(untouched, first[index * BATCH :])
        state, _ = step(state, views(index), jax.random.key(index))
    assert int(state.memory["cursor"]) == 0 and not np.any(np.asarray(state.memory["queue"]) == np.asarray(first))


def test_the_loss_uses_the_queue_before_the_keys_enter_it():
    """Had the keys entered first, each positive would meet itself among the negatives: a tie, no hit."""
    made = method(queue=BATCH, temperature=0.01)
    state = state_of(made)
    state = state._replace(memory={**state.memory, "queue": jnp.zeros((BATCH, DIM))})
    same = {"view1": views()["view1"], "view2": views()["view1"]}
    after, metrics = made.step(state, same, KEY)
    assert float(metrics["accuracy"]) == 1.0 and float(jnp.abs(after.memory["queue"]).sum()) > 0


# ------------------------------------------------------------------------------------------------------------ one step


def test_one_step_written_by_hand():
    """Order and arithmetic with one group: the key encoder follows, both encode, loss, gradient, queue."""
    made = method(bn_groups=1)
    encoder, state, batch = Encoder(Trunk(), DIM), state_of(made), views()
    apart = jax.tree.map(lambda x: x + 0.1, state.params["encoder"])
    memory = {**state.memory, "key_encoder": apart}
    follower = jax.tree.map(lambda m, p: 0.9 * m + 0.1 * p, apart, state.params["encoder"])

    def embed(params, name, image):
        variables = {"params": params, "batch_stats": memory["batch_stats"][name]}
        (_, z), updated = encoder.apply(variables, image, True, mutable=["batch_stats"])
        return z, updated["batch_stats"]

    def loss(params):
        q, statistics = embed(params, "encoder", batch["view1"])
        return jnp.mean(contrast(q, k, memory["queue"], 0.2)[0]), statistics

    k, of_key_encoder = jax.jit(embed, static_argnums=1)(follower, "key_encoder", batch["view2"])
    (value, of_encoder), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(state.params["encoder"])
    after, metrics = made.step(state._replace(memory=memory), batch, KEY)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, state.params["encoder"], gradient)
    chex.assert_trees_all_close(after.params["encoder"], expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(after.memory["key_encoder"], follower, rtol=1e-5, atol=1e-7)
    chex.assert_trees_all_close(after.memory["queue"], memory["queue"].at[:BATCH].set(k), rtol=1e-4, atol=1e-5)
    statistics = {"encoder": of_encoder, "key_encoder": of_key_encoder}
    chex.assert_trees_all_close(after.memory["batch_stats"], statistics, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)


def test_momentum_one_freezes_the_key_encoder_and_no_gradient_reaches_it():
    made = method(momentum=1.0)
    state, step = state_of(made), made.step
    start = state.memory["key_encoder"]
    for index in range(3):
        state, _ = step(state, views(index), KEY)
    chex.assert_trees_all_equal(state.memory["key_encoder"], start)
    assert set(state.params) == {"encoder"} and set(state.opt_state) == {"all"}
    moved = [bool(jnp.any(x != y)) for x, y in zip(jax.tree.leaves(state.params["encoder"]), jax.tree.leaves(start))]
    assert any(moved)


def test_each_encoder_keeps_running_statistics_of_its_own():
    made = method()
    batch = {"view1": views()["view1"], "view2": 3 * views()["view2"]}
    state, _ = made.step(state_of(made), batch, KEY)
    query, key = (state.memory["batch_stats"][name]["trunk"]["norm"]["var"] for name in ("encoder", "key_encoder"))
    assert bool(jnp.all(key > query))  # not an average of the other's


# ------------------------------------------------------------------------------------------------- shuffled batch norm


def queue_after(made, batch, key=KEY):
    return made.step(state_of(made), batch, key)[0].memory["queue"][:BATCH]


def test_keys_come_back_in_the_order_of_their_queries():
    """With one group no permutation changes the statistics, so any key of the permutation gives the same queue."""
    made = method(bn_groups=1)
    one, other = (queue_after(made, views(), jax.random.key(seed)) for seed in (1, 2))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_query_and_key_are_normalised_among_other_images():
    """Statistics of a group belong to that group: with 2 groups the key of an image depends on who shares its group."""
    made = method(bn_groups=2)
    one, other = (queue_after(made, views(), jax.random.key(seed)) for seed in (1, 2))
    assert float(jnp.abs(one - other).max()) > 1e-3


def test_keys_are_those_of_the_groups_of_a_permuted_batch_put_back_in_order():
    made = method(bn_groups=2)
    state, batch = state_of(made), views()
    encoder = Encoder(Trunk(), DIM)
    variables = {"params": state.params["encoder"], "batch_stats": state.memory["batch_stats"]["encoder"]}

    def by_hand(image):
        halves = jnp.split(image, 2)
        return jnp.concatenate([encoder.apply(variables, half, True, mutable=["batch_stats"])[0][1] for half in halves])

    keys = queue_after(made, batch, KEY)
    key = jax.random.fold_in(KEY, 1)  # the second update of the chain
    shuffle = jax.random.permutation(key, BATCH)
    expected = by_hand(batch["view2"][shuffle])[jnp.argsort(shuffle)]
    np.testing.assert_allclose(keys, expected, atol=1e-5)
    assert float(jnp.abs(keys - by_hand(batch["view2"])).max()) > 1e-3


def test_running_statistics_follow_the_mean_of_the_groups():
    made = method(bn_groups=2)
    state, batch = state_of(made), views()
    variables = {"params": state.params["encoder"], "batch_stats": state.memory["batch_stats"]["encoder"]}
    halves = jnp.split(batch["view1"], 2)
    moved = [Encoder(Trunk(), DIM).apply(variables, x, True, mutable=["batch_stats"])[1]["batch_stats"] for x in halves]
    after = made.step(state, batch, KEY)[0].memory["batch_stats"]["encoder"]
    chex.assert_trees_all_close(after, jax.tree.map(lambda a, b: (a + b) / 2, *moved), rtol=1e-4, atol=1e-6)


# ------------------------------------------------------------------------------------------- evaluation and the paper


def test_evaluation_changes_nothing_and_sees_each_example_by_itself():
    made = method()
    state, _ = made.step(state_of(made), views(), KEY)
    whole = made.evaluate(state, views(3), KEY)
    assert {name: value.shape for name, value in whole.items()} == {"contrastive_loss": (BATCH,), "accuracy": (BATCH,)}
    half = made.evaluate(state, jax.tree.map(lambda x: x[:4], views(3)), KEY)
    chex.assert_trees_all_close(half, jax.tree.map(lambda x: x[:4], whole), rtol=1e-5)


def test_evaluation_compares_the_query_encoder_with_the_key_encoder_each_under_its_own_statistics():
    made = method()
    state, _ = made.step(state_of(made), {"view1": views()["view1"], "view2": 3 * views()["view2"]}, KEY)
    state = state._replace(
        memory={**state.memory, "key_encoder": jax.tree.map(lambda x: x + 0.1, state.memory["key_encoder"])}
    )
    statistics, batch = state.memory["batch_stats"], views(3)

    def embed(params, statistics, image):
        return Encoder(Trunk(), DIM).apply({"params": params, "batch_stats": statistics}, image, False)[1]

    q = embed(state.params["encoder"], statistics["encoder"], batch["view1"])
    k = embed(state.memory["key_encoder"], statistics["key_encoder"], batch["view2"])
    losses, hits = contrast(q, k, state.memory["queue"], 0.2)
    found = made.evaluate(state, batch, KEY)
    chex.assert_trees_all_close(found, {"contrastive_loss": losses, "accuracy": hits}, rtol=1e-4)


@pytest.mark.parametrize("mlp", [True, False])
def test_the_head_has_a_rectified_hidden_layer_or_none(mlp):
    net = Encoder(Trunk(), DIM, mlp)
    variables = net.init(KEY, views()["view1"], False)
    features, z = net.apply(variables, views()["view1"], False)
    h = features
    if mlp:
        h = np.maximum(h @ variables["params"]["hidden"]["kernel"] + variables["params"]["hidden"]["bias"], 0)
    h = h @ variables["params"]["projection"]["kernel"] + variables["params"]["projection"]["bias"]
    np.testing.assert_allclose(z, h / np.linalg.norm(h, axis=-1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_encode_gives_the_features_below_the_head_of_the_first_view():
    made = method()
    state = state_of(made)
    features = made.encode(state, views(), KEY)
    assert features.shape == (BATCH, 5)
    variables = {"params": state.params["encoder"], "batch_stats": state.memory["batch_stats"]["encoder"]}
    chex.assert_trees_all_close(features, Encoder(Trunk(), DIM).apply(variables, views()["view1"], False)[0], rtol=1e-6)
    chex.assert_trees_all_equal(features, made.encode(state, {"view1": views()["view1"]}, jax.random.key(5)))


def test_a_queue_that_the_batch_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="queue length 30 must be a multiple of the batch size 8"):
        method(queue=30).init(KEY, views())
    with pytest.raises(ValueError, match="3 groups of batch norm do not divide a batch of 8"):
        method(bn_groups=3).init(KEY, views())


@pytest.mark.parametrize(("mlp", "count"), [(True, 27_966_656), (False, 23_770_304)])
def test_the_encoders_of_the_papers_have_their_parameter_counts(mlp, count):
    """Trunk 23,508,032; head 2048-2048-128 of v2, or 2048-128 of v1."""
    images = jax.ShapeDtypeStruct((256, 64, 64, 3), jnp.float32)
    made = moco(ResNet(classes=0), optax.sgd(0.03, momentum=0.9), mlp=mlp)
    state = jax.eval_shape(made.init, KEY, {"view1": images, "view2": images})
    assert sum(leaf.size for leaf in jax.tree.leaves(state.params)) == count
    assert state.memory["queue"].shape == (65536, 128)


def test_it_learns_what_the_views_share_and_to_ignore_what_they_do_not():
    """Images of four pixels: two are common to the views, two are noise drawn for each. Chance is ln(1 + K)."""
    made = method(lr=0.1, bn_groups=1)
    state, losses, common = state_of(made), [], np.float32([[1], [1], [0], [0]]).reshape(2, 2, 1)
    for index in range(120):
        image, *noise = np.random.default_rng(index).standard_normal((3, BATCH, 2, 2, 1)).astype(np.float32)
        one, other = (common * image + (1 - common) * each for each in noise)
        state, metrics = made.step(state, {"view1": one, "view2": other}, jax.random.key(index))
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-20:]) < 0.75 * math.log(1 + QUEUE)
