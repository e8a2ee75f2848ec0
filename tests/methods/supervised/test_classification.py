import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.supervised import Mix, classifier
from aigc_jax.networks.layers import BatchNorm
from aigc_jax.networks.resnet import ResNet

NET = ResNet(classes=7, depths=(1, 1), widths=(4, 6), bottleneck=False, stem="cifar", shortcut="pad")
KEY = jax.random.key(0)


class Given(nn.Module):
    """Logits are the image itself: the loss can be compared with its formula."""

    @nn.compact
    def __call__(self, x, train=False):
        logits = x.reshape(x.shape[0], -1) * self.param("factor", nn.initializers.ones, ())
        return logits, {"pooled": 2 * logits}


def batch_of(rows=6, seed=0):
    key_image, key_label = jax.random.split(jax.random.key(seed))
    return {
        "image": jax.random.normal(key_image, (rows, 8, 8, 1)),
        "label": jax.random.randint(key_label, (rows,), 0, 7),
    }


def given_batch(classes=7, rows=50):
    logits = 2 * jax.random.normal(jax.random.key(3), (rows, 1, 1, classes))
    return {"image": logits, "label": jnp.arange(rows) % classes}


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.6])
def test_the_loss_is_cross_entropy_with_smoothed_labels(smoothing):
    method, batch = classifier(Given(), optax.sgd(0.1), smoothing=smoothing), given_batch()
    _, metrics = method.step(method.init(KEY, batch), batch, KEY)
    log_p = np.asarray(jax.nn.log_softmax(batch["image"][:, 0, 0]), np.float64)
    right = log_p[np.arange(50), batch["label"]]
    expected = -((1 - smoothing) * right + smoothing * log_p.mean(1)).mean()
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    found = method.evaluate(method.init(KEY, batch), batch, KEY)
    np.testing.assert_allclose(found["cross_entropy"], -right, rtol=1e-4, atol=1e-6)


def test_accuracy_and_top_5_are_ranks_of_the_label():
    method, batch = classifier(Given(), optax.sgd(0.1)), given_batch()
    found = method.evaluate(method.init(KEY, batch), batch, KEY)
    logits = np.asarray(batch["image"])[:, 0, 0]
    rank = (logits > logits[np.arange(50), batch["label"]][:, None]).sum(1)
    np.testing.assert_array_equal(found["accuracy"], rank == 0)
    np.testing.assert_array_equal(found["top_5"], rank < 5)
    assert 0 < found["accuracy"].mean() < found["top_5"].mean() < 1


def test_top_5_of_five_classes_is_left_out():
    method, batch = classifier(Given(), optax.sgd(0.1)), given_batch(classes=5)
    assert set(method.evaluate(method.init(KEY, batch), batch, KEY)) == {"accuracy", "cross_entropy"}


def test_features_are_the_pooled_ones():
    method, batch = classifier(Given(), optax.sgd(0.1)), given_batch()
    chex.assert_trees_all_close(method.encode(method.init(KEY, batch), batch, KEY), 2 * batch["image"][:, 0, 0])


def test_equal_logits_cost_the_logarithm_of_the_classes():
    method, batch = classifier(NET, optax.sgd(0.1)), batch_of()
    state = jax.jit(method.init)(KEY, batch)
    head = jax.tree.map(jnp.zeros_like, state.params["network"]["head"])
    state = state._replace(params={"network": {**state.params["network"], "head": head}})
    found = jax.jit(method.evaluate)(state, batch, KEY)
    chex.assert_trees_all_close(found["cross_entropy"], jnp.full(6, np.log(7)), rtol=1e-6)


def test_statistics_move_in_training_and_rest_in_evaluation():
    method, batch = classifier(NET, optax.sgd(0.0)), batch_of()
    state = jax.jit(method.init)(KEY, batch)
    after, _ = jax.jit(method.step)(state, batch, KEY)
    chex.assert_trees_all_equal(after.params, state.params)  # the rate is 0
    chex.assert_trees_all_equal_structs(after.memory, state.memory)
    stem = after.memory["batch_stats"]["norm_stem"]
    kernel = state.params["network"]["conv_stem"]["kernel"]
    x = jax.lax.conv_general_dilated(batch["image"], kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    chex.assert_trees_all_close(stem["mean"], 0.1 * x.mean((0, 1, 2)), atol=1e-6)
    chex.assert_trees_all_close(stem["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-5)
    alone = {name: rows[:1] for name, rows in batch.items()}  # an answer by the batch's statistics would change
    evaluate = jax.jit(method.evaluate)
    whole, one = evaluate(after, batch, KEY), evaluate(after, alone, KEY)
    chex.assert_trees_all_close(jax.tree.map(lambda rows: rows[:1], whole), one, rtol=1e-5)


def test_micro_batches_see_their_own_statistics_one_after_another():
    batch = batch_of()
    state = jax.jit(classifier(NET, optax.sgd(0.0)).init)(KEY, batch)
    parts, _ = jax.jit(classifier(NET, optax.sgd(0.0), micro_batches=2).step)(state, batch, KEY)
    step = jax.jit(classifier(NET, optax.sgd(0.0)).step)
    for first in (0, 1):
        state, _ = step(state, {name: rows[first::2] for name, rows in batch.items()}, KEY)
    chex.assert_trees_all_close(parts.memory, state.memory, rtol=1e-5)


def test_it_learns_a_batch_by_heart():
    method, batch = classifier(NET, optax.adam(0.02)), batch_of()
    state, step = jax.jit(method.init)(KEY, batch), jax.jit(method.step)
    for _ in range(40):
        state, metrics = step(state, batch, KEY)
    assert metrics["accuracy"] == 1 and metrics["loss"] < 0.1


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_smoothing_out_of_range_is_refused(smoothing):
    with pytest.raises(ValueError, match="label smoothing must lie in"):
        classifier(NET, optax.sgd(0.1), smoothing=smoothing)


class Heads(nn.Module):
    """Logits and two auxiliary ones, all linear in the image, the latter in training alone; dropout before them."""

    @nn.compact
    def __call__(self, x, train=False):
        flat = nn.Dropout(0.5, deterministic=not train)(x.reshape(x.shape[0], -1))
        features = {"pooled": flat}
        if train:
            features["auxiliary"] = tuple(nn.Dense(7, name=f"auxiliary_{i}")(x.reshape(x.shape[0], -1)) for i in (1, 2))
        return nn.Dense(7, name="head")(flat), features


def test_auxiliary_heads_add_their_weighted_cross_entropy_in_training_alone():
    batch = batch_of()
    key, loss = jax.random.key(1), {}
    state = classifier(Heads(), optax.sgd(0.1), auxiliary=0.3).init(KEY, batch)
    assert state.params["network"].keys() == {"head", "auxiliary_1", "auxiliary_2"}
    for weight in (0.0, 0.3):
        method = classifier(Heads(), optax.sgd(0.1), auxiliary=weight)
        loss[weight] = method.step(state, batch, key)[1]["loss"]
    flat, log_p = batch["image"].reshape(6, -1), 0.0
    for name in ("auxiliary_1", "auxiliary_2"):
        head = state.params["network"][name]
        log_p += jax.nn.log_softmax(flat @ head["kernel"] + head["bias"])[jnp.arange(6), batch["label"]]
    assert loss[0.3] - loss[0.0] == pytest.approx(float(-0.3 * jnp.mean(log_p)), rel=1e-5)
    assert method.evaluate(state, batch, KEY)["accuracy"].shape == (6,)


def test_auxiliary_heads_that_are_not_there_are_missed():
    method, batch = classifier(Given(), optax.sgd(0.1), auxiliary=0.4), given_batch()
    with pytest.raises(ValueError, match="auxiliary heads have weight 0.4, but the network gives no auxiliary logits"):
        method.step(method.init(KEY, batch), batch, KEY)
    with pytest.raises(ValueError, match="weight of auxiliary heads must not be negative"):
        classifier(Given(), optax.sgd(0.1), auxiliary=-1)


def test_mixup_with_lambda_1_is_the_plain_loss():
    batch = given_batch()
    plain, mixed = (
        classifier(Given(), optax.sgd(0.1), smoothing=0.1, mix=mix) for mix in (None, Mix(1.0, probability=0))
    )
    state = plain.init(KEY, batch)
    chex.assert_trees_all_close(plain.step(state, batch, KEY), mixed.step(state, batch, KEY), rtol=1e-6)


def test_targets_are_mixed_as_pictures_are():
    """A linear network on one pixel a class: the loss of a mixed batch follows from the mixture of the pictures."""
    batch, mix = given_batch(), Mix(mixup=0.8)
    method = classifier(Given(), optax.sgd(0.1), smoothing=0.1, mix=mix)
    _, metrics = method.step(method.init(KEY, batch), batch, KEY)
    image, share = mix(batch["image"], jax.random.split(KEY, 3)[0])
    assert 0.1 < share < 0.9
    log_p = jax.nn.log_softmax(image[:, 0, 0])
    rows = jnp.arange(50)
    own, other = log_p[rows, batch["label"]], log_p[rows, batch["label"][::-1]]
    expected = -0.9 * (share * own + (1 - share) * other) - 0.1 * log_p.mean(1)
    assert metrics["loss"] == pytest.approx(float(expected.mean()), rel=1e-5)


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = BatchNorm()(x.reshape(x.shape[0], -1), train)
        return nn.Dense(7)(x), {"pooled": x}


def test_the_average_follows_parameters_and_statistics_and_judges():
    batch, decay = batch_of(), 0.75
    method = classifier(Normed(), optax.sgd(0.1), ema=decay)
    state, step = method.init(KEY, batch), jax.jit(method.step)
    expected = {"network": state.params["network"], "batch_stats": state.memory["batch_stats"]}
    chex.assert_trees_all_equal(state.memory["ema"], expected)
    for index in range(2):
        state, _ = step(state, batch, jax.random.key(index))
        now = {"network": state.params["network"], "batch_stats": state.memory["batch_stats"]}
        expected = jax.tree.map(lambda m, x: decay * m + (1 - decay) * x, expected, now)
    chex.assert_trees_all_close(state.memory["ema"], expected, rtol=1e-5, atol=1e-7)
    averaged = state._replace(params={"network": expected["network"]}, memory={"batch_stats": expected["batch_stats"]})
    plain = classifier(Normed(), optax.sgd(0.1))
    without = classifier(Normed(), optax.sgd(0.1), ema=decay, evaluate_ema=False)
    found = method.predict(state, batch, KEY)
    chex.assert_trees_all_close(found, plain.predict(averaged, batch, KEY), rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_equal(without.predict(state, batch, KEY), plain.predict(state, batch, KEY))
    assert jnp.any(found != plain.predict(state, batch, KEY))


def test_the_decay_may_be_a_schedule_of_the_step():
    batch = given_batch()
    method = classifier(Given(), optax.sgd(0.5), ema=lambda step: jnp.where(step < 3, 0.0, 1.0))
    begin = method.init(KEY, batch)
    copied, _ = method.step(begin, batch, KEY)
    chex.assert_trees_all_equal(copied.memory["ema"]["network"], copied.params["network"])
    frozen, _ = method.step(begin._replace(step=jnp.int32(3)), batch, KEY)
    chex.assert_trees_all_equal(frozen.memory["ema"]["network"], begin.params["network"])
