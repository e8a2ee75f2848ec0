"""Distillation: the losses of the paper, a teacher that never moves, and two heads that answer together."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.supervised import Mix, classifier, distilled
from aigc_jax.methods.supervised.distillation import divergence

KEY = jax.random.key(0)
DRAW = np.random.default_rng(0)
BATCH = {"image": jnp.asarray(DRAW.standard_normal((9, 1, 1, 4), np.float32)), "label": jnp.arange(9) % 5}


class Two(nn.Module):
    """Two linear heads; `same` gives both the one's kernel."""

    @nn.compact
    def __call__(self, x, train=False):
        flat = x.reshape(x.shape[0], -1)
        return nn.Dense(5, name="head")(flat), {"pooled": flat, "distilled": nn.Dense(5, name="head_distilled")(flat)}


class One(nn.Module):
    classes: int = 5

    @nn.compact
    def __call__(self, x, train=False):
        flat = x.reshape(x.shape[0], -1)
        return nn.Dense(self.classes, name="head")(flat), {"pooled": flat}


TEACHER = classifier(One(), optax.sgd(0.1))


def logits_of(state, image):
    flat = image.reshape(9, -1)
    student, teacher = state.params["network"], state.memory["teacher"]["params"]["network"]
    heads = (student["head"], student["head_distilled"], teacher["head"])
    return [np.asarray(flat @ head["kernel"] + head["bias"], np.float64) for head in heads]


def log_softmax(z):
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def started(**options):
    """A student, its state with a teacher of its own values, and the loss of its first step."""
    method = distilled(Two(), optax.sgd(0.1), TEACHER, **options)
    state = method.init(KEY, BATCH)
    teacher = jax.tree.map(lambda x: x + 0.5, state.memory["teacher"])
    kernel = teacher["params"]["network"]["head"]["kernel"]
    teacher["params"]["network"]["head"]["kernel"] = kernel * jnp.linspace(-1, 2, kernel.size).reshape(kernel.shape)
    state = state._replace(memory={**state.memory, "teacher": teacher})
    return method, state


def test_the_hard_loss_is_half_the_label_s_and_half_the_teacher_s_decision():
    method, state = started(smoothing=0.1)
    after, metrics = method.step(state, BATCH, KEY)
    z, learnt, told = logits_of(state, BATCH["image"])
    rows, log_p = np.arange(9), log_softmax(z)
    labelled = -0.9 * log_p[rows, BATCH["label"]] - 0.1 * log_p.mean(1)
    decided = -log_softmax(learnt)[rows, told.argmax(1)]
    assert metrics["loss"] == pytest.approx((labelled / 2 + decided / 2).mean(), rel=1e-5)
    chex.assert_trees_all_equal(after.memory["teacher"], state.memory["teacher"])
    assert (told.argmax(1) != np.asarray(BATCH["label"])).any(), "the teacher must disagree with the labels somewhere"


def test_the_soft_loss_is_the_divergence_at_a_temperature():
    method, state = started(kind="soft", temperature=3.0, weight=0.1)
    _, metrics = method.step(state, BATCH, KEY)
    z, learnt, told = logits_of(state, BATCH["image"])
    log_p, log_q = log_softmax(told / 3), log_softmax(learnt / 3)
    expected = -0.9 * log_softmax(z)[np.arange(9), BATCH["label"]] + 0.1 * 9 * (np.exp(log_p) * (log_p - log_q)).sum(1)
    assert metrics["loss"] == pytest.approx(expected.mean(), rel=1e-5)


def test_a_student_that_is_its_teacher_has_no_gradient():
    told = jnp.asarray(DRAW.standard_normal((6, 5), np.float32))
    at = jax.grad(lambda z: divergence(told, z, 1.0).sum())
    chex.assert_trees_all_close(at(told), jnp.zeros((6, 5)), atol=1e-6)
    chex.assert_trees_all_close(divergence(told, told + 3.0, 2.0), jnp.zeros(6), atol=1e-5)  # a shift changes nothing
    assert (divergence(told, told[::-1], 1.0) > 0).all() and jnp.abs(at(told[::-1])).max() > 0.1
    # at a high temperature tau^2 times the gradient is that of half the squared distance of centred logits, over C
    centred = told[::-1] - told - (told[::-1] - told).mean(1, keepdims=True)
    hot = 1e4 * jax.grad(lambda z: divergence(told, z, 100.0).sum())(told[::-1])
    chex.assert_trees_all_close(hot, centred / 5, atol=0.03)


def test_the_teacher_sees_the_mixed_pictures():
    mix = Mix(mixup=0.8)
    method, state = started(kind="soft", temperature=1.0, weight=1.0, mix=mix)
    _, metrics = method.step(state, BATCH, KEY)
    image, share = mix(BATCH["image"], jax.random.split(KEY, 3)[0])
    assert 0.05 < share < 0.95
    _, learnt, told = logits_of(state, image)
    assert metrics["loss"] == pytest.approx(float(divergence(told, learnt, 1.0).mean()), rel=1e-4)


def test_both_heads_answer_together_and_trade_places():
    method, state = started()
    network = state.params["network"]
    swapped = state._replace(params={"network": {"head": network["head_distilled"], "head_distilled": network["head"]}})
    answer = method.predict(state, BATCH, KEY)
    z, learnt, _ = logits_of(state, BATCH["image"])
    chex.assert_trees_all_close(answer, (z + learnt) / 2, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(method.predict(swapped, BATCH, KEY), answer, rtol=1e-6)


def test_without_a_teacher_both_heads_learn_the_labels():
    method = distilled(Two(), optax.sgd(0.1))
    state = method.init(KEY, BATCH)
    assert "teacher" not in state.memory
    _, metrics = method.step(state, BATCH, KEY)
    heads = (state.params["network"][name] for name in ("head", "head_distilled"))
    flat, rows = BATCH["image"].reshape(9, -1), np.arange(9)
    nats = [-log_softmax(np.asarray(flat @ head["kernel"] + head["bias"]))[rows, BATCH["label"]] for head in heads]
    assert metrics["loss"] == pytest.approx(float(np.mean(nats)), rel=1e-5)


@pytest.mark.parametrize(
    "teacher, options, message",
    [
        (TEACHER, dict(temperature=0.0), "tau > 0 and lambda in"),
        (TEACHER, dict(weight=1.5), "tau > 0 and lambda in"),
        (TEACHER._replace(predict=None), {}, "a teacher must predict"),
        (classifier(One(6), optax.sgd(0.1)), {}, "the teacher tells 6 classes apart, the student 5"),
    ],
)
def test_what_does_not_fit_is_refused(teacher, options, message):
    with pytest.raises(ValueError, match=message):
        distilled(Two(), optax.sgd(0.1), teacher, **options).init(KEY, BATCH)
