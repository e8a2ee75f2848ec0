from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.methods.diffusion import panels, samplers
from aigc_jax.methods.diffusion import schedule as s
from aigc_jax.methods.diffusion.bound import estimated_bound, full_bound
from aigc_jax.methods.diffusion.ddpm import FullBound, ddpm, predictor, simple_loss
from aigc_jax.methods.diffusion.samplers import ddim
from aigc_jax.training.panels import class_grid

SHORT = s.linear(50, 1e-3, 0.2)


class Toy(nn.Module):
    """The interface of the U-Net in two layers."""

    num_classes: int | None = 3
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x, t, label=None, train=False):
        flat = x.reshape(len(x), -1)
        told = [flat, t[:, None] / 50.0]
        if self.num_classes is not None:
            label = jnp.full(len(x), self.num_classes) if label is None else label
            told.append(nn.Embed(self.num_classes + 1, 4)(label))
        h = nn.tanh(nn.Dense(16)(jnp.concatenate(told, -1)))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        return nn.Dense(flat.shape[-1])(h).reshape(x.shape)


def batch(n=8, seed=0):
    rng = np.random.RandomState(seed)
    return {
        "image": rng.uniform(-1, 1, (n, 2, 2, 1)).astype(np.float32),
        "label": rng.randint(0, 3, n).astype(np.int32),
    }


def method(net=None, **options):
    return ddpm(net or Toy(), optax.sgd(0.1), SHORT, **{"ema": 0.9, **options})


def close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def test_l_simple_of_the_best_network_for_gaussian_data_is_its_known_minimum():
    """For data N(m, c^2) the least error is E (1 - sigma^2 / (alpha^2 c^2 + sigma^2)), and moving away from it costs."""
    mean, std = 0.3, 0.5
    a = jnp.asarray(SHORT.alpha_bar)
    x0 = jnp.asarray(mean + std * np.random.RandomState(0).randn(200_000, 1), jnp.float32)

    def best(x, t, shift=0.0):
        a_t = a[t][:, None]
        return jnp.sqrt(1 - a_t) * (x - jnp.sqrt(a_t) * (mean + shift)) / (a_t * std**2 + 1 - a_t)

    loss = jnp.mean(simple_loss(SHORT, best, x0, jax.random.key(0)))
    known = np.mean(1 - (1 - SHORT.alpha_bar) / (SHORT.alpha_bar * std**2 + 1 - SHORT.alpha_bar))
    np.testing.assert_allclose(loss, known, rtol=0.01)
    assert jnp.mean(simple_loss(SHORT, lambda x, t: best(x, t, 0.3), x0, jax.random.key(0))) > 1.02 * loss


def test_the_network_is_told_the_times_of_the_original_chain():
    told = []
    respaced = s.respace(SHORT, np.array([4, 17, 49]))
    simple_loss(respaced, lambda x, t: told.append(t) or x, jnp.zeros((100, 2)), jax.random.key(0))
    assert set(np.asarray(told[0]).tolist()) == {4, 17, 49}


def test_the_average_is_kept_as_the_formula_says():
    m = method()
    state = jax.jit(m.init)(jax.random.key(0), batch())
    close(state.memory["ema"], state.params["denoiser"])
    expected = state.memory["ema"]
    step = jax.jit(m.step)
    for i in range(3):
        state, _ = step(state, batch(seed=i), jax.random.key(i))
        expected = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, expected, state.params["denoiser"])
    close(state.memory["ema"], expected, rtol=1e-5, atol=1e-7)


def test_samples_and_metrics_are_those_of_the_average_alone():
    m = method(steps=ddim(s.respace(SHORT, s.spaced(50, 5))))
    state = m.init(jax.random.key(0), batch())
    other = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
    key = jax.random.key(1)
    close(m.sample(state, batch(), key), m.sample(other, batch(), key))
    close(m.evaluate(state, batch(), key), m.evaluate(other, batch(), key))
    moved = state._replace(memory={"ema": jax.tree.map(lambda p: p + 0.1, state.memory["ema"])})
    assert np.abs(m.sample(state, batch(), key) - m.sample(moved, batch(), key)).max() > 1e-3


def test_a_share_of_labels_is_dropped_in_training_only():
    """The gradient of a row of the label table is not zero where that label was seen."""

    def rows(drop):
        m = method(drop_label=drop)
        state = m.init(jax.random.key(0), batch(64))
        after, _ = m.step(state, batch(64), jax.random.key(1))
        moved = after.params["denoiser"]["Embed_0"]["embedding"] - state.params["denoiser"]["Embed_0"]["embedding"]
        return (np.abs(moved).max(1) > 0).tolist()

    assert rows(0.0) == [True, True, True, False]
    assert rows(1.0) == [False, False, False, True]
    assert rows(0.5) == [True, True, True, True]


def test_a_sample_has_the_label_of_its_row_and_guidance_moves_it():
    def draw(guidance, label):
        m = method(steps=ddim(s.respace(SHORT, s.spaced(50, 5))), guidance=guidance, clip="none")
        state = m.init(jax.random.key(0), batch())
        return np.asarray(m.sample(state, {**batch(), "label": label}, jax.random.key(1)))

    zeros, ones = np.zeros(8, np.int32), np.ones(8, np.int32)
    mixed = np.where(np.arange(8) % 2, ones, zeros)
    expected = np.where((np.arange(8) % 2)[:, None, None, None], draw(1.0, ones), draw(1.0, zeros))
    np.testing.assert_allclose(draw(1.0, mixed), expected, atol=1e-5)
    np.testing.assert_allclose(draw(0.0, zeros), draw(0.0, ones), atol=1e-5)
    assert np.abs(draw(3.0, zeros) - draw(1.0, zeros)).max() > 1e-3


@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small"])
@pytest.mark.parametrize("clip", ["x0", "none"])
def test_the_default_sampler_is_ancestral_with_the_variance_and_clipping_asked_for(variance, clip):
    m = method(variance=variance, clip=clip)
    state, key = m.init(jax.random.key(0), batch()), jax.random.key(1)
    key_start, key_steps = jax.random.split(key)
    denoise = predictor(Toy(), state.memory["ema"], jnp.asarray(batch()["label"]))
    start = jax.random.normal(key_start, batch()["image"].shape)

    def draw(variance, clip):
        return samplers.sample(samplers.ancestral(SHORT, variance), denoise, start, key_steps, clip)

    drawn = m.sample(state, batch(), key)
    close(drawn, draw(variance, clip), rtol=1e-5, atol=1e-6)
    others = [(v, c) for v in ("fixed_large", "fixed_small") for c in ("x0", "none") if (v, c) != (variance, clip)]
    assert all(np.abs(drawn - draw(*other)).max() > 1e-3 for other in others)


@pytest.mark.parametrize("variance", ["fixed_large", "fixed_small"])
def test_both_bounds_are_those_of_the_average_under_the_variance_asked_for(variance):
    m = method(variance=variance)
    state = m.init(jax.random.key(0), batch())
    state = state._replace(params=jax.tree.map(jnp.zeros_like, state.params))
    run = a_run(m, state)
    first = batch(5)
    denoise = predictor(Toy(), state.memory["ema"], jnp.asarray(first["label"]))
    full = full_bound(SHORT, denoise, jnp.asarray(first["image"]), jax.random.fold_in(run.key, 0), variance)
    found = FullBound(Toy(), SHORT, variance, images=5)(run)
    close(found, {name: float(value.mean()) for name, value in full.items()}, rtol=1e-5)
    key = jax.random.key(1)
    key_bound = jax.random.split(key)[1]
    estimated = estimated_bound(SHORT, denoise, jnp.asarray(first["image"]), key_bound, 8, variance)
    close(m.evaluate(state, first, key)["bits_per_dim"], estimated, rtol=1e-5)


def test_without_classes_labels_are_not_needed():
    m = method(Toy(num_classes=None))
    images = {"image": batch()["image"]}
    state = m.init(jax.random.key(0), images)
    state, metrics = m.step(state, images, jax.random.key(1))
    assert set(metrics) == {"loss", "grad_norm"}
    assert m.sample(state, images, jax.random.key(2)).shape == (8, 2, 2, 1)


def test_dropout_acts_in_training_only():
    """Noise and t are those of the key, so under one key only dropout can tell the two networks apart."""
    dropped, whole = method(Toy(dropout=0.5)), method(Toy())
    state, key = whole.init(jax.random.key(0), batch()), jax.random.key(1)
    one, other = (m.step(state, batch(), key)[1]["loss"] for m in (dropped, whole))
    assert abs(one - other) > 1e-3
    close(dropped.evaluate(state, batch(), key), whole.evaluate(state, batch(), key))


def test_training_lowers_the_loss():
    m = ddpm(Toy(), optax.adam(1e-2), SHORT, ema=0.9)
    state, step, key = m.init(jax.random.key(0), batch(64)), jax.jit(m.step), jax.random.key(1)
    before = m.evaluate(state, batch(64), key)
    for i in range(300):
        state, _ = step(state, batch(64), jax.random.fold_in(key, i))
    after = m.evaluate(state, batch(64), key)
    assert set(after) == {"mse", "bits_per_dim"} and after["mse"].shape == (64,)
    assert after["mse"].mean() < 0.8 * before["mse"].mean()
    assert after["bits_per_dim"].mean() < before["bits_per_dim"].mean()


def a_run(m, state):
    """What evaluators and panels see of a run."""
    full = {**batch(5), "mask": np.ones(5, np.float32)}
    padded = {**batch(5, seed=1), "mask": np.array([1, 1, 0, 0, 0], np.float32)}
    padded["image"][2:] = 100.0

    def sample(rows, key=None):
        return np.asarray(m.sample(state, rows, jax.random.key(4)))

    def decode(x):
        return np.rint((np.clip(x, -1, 1) + 1) * 127.5).astype(np.uint8)

    data = SimpleNamespace(
        evaluate=lambda split=None: iter([full, padded]),
        spec={"image": jax.ShapeDtypeStruct((8, 2, 2, 1), jnp.float32)},
        decode=decode,
    )
    return SimpleNamespace(state=state, data=data, key=jax.random.key(3), sample=sample, condition=lambda n: batch(n))


@pytest.mark.parametrize("images", [None, 5, 3])
def test_the_full_bound_is_averaged_over_examples_and_not_over_padding(images):
    m = method()
    run = a_run(m, m.init(jax.random.key(0), batch()))
    bound = FullBound(Toy(), SHORT, images=images)(run)
    assert set(bound) == {"prior", "denoising", "decoder", "bits_per_dim"}
    np.testing.assert_allclose(bound["prior"] + bound["denoising"] + bound["decoder"], bound["bits_per_dim"], rtol=1e-5)
    rows = [row for part in run.data.evaluate() for row, kept in zip(part["image"], part["mask"]) if kept][
        : images or 7
    ]
    a = SHORT.alpha_bar[-1]
    prior = np.mean([np.mean(0.5 * (a * row**2 - a - np.log1p(-a))) / np.log(2) for row in rows])
    np.testing.assert_allclose(bound["prior"], prior, rtol=1e-4)


def test_the_strip_begins_with_noise_and_ends_with_the_samples():
    steps = ddim(s.respace(SHORT, s.spaced(50, 5)))
    m = method(steps=steps, guidance=2.0)
    run = a_run(m, m.init(jax.random.key(0), batch()))
    picture = panels.denoising_strip(Toy(), steps, guidance=2.0, examples=3, moments=4)(run)
    assert picture.dtype == np.uint8 and picture.shape == (3 * 40, 4 * 40, 3)
    last = picture[10:-10:40, -30:-10]  # the first line of pixels of the last column, example by example
    samples = run.data.decode(np.asarray(m.sample(run.state, batch(3), run.key)))
    np.testing.assert_array_equal(last[:, 0, 0], samples[:, 0, 0, 0])


def test_the_grid_has_a_row_for_each_class():
    m = method(steps=ddim(s.respace(SHORT, s.spaced(50, 5))))
    run = a_run(m, m.init(jax.random.key(0), batch()))
    assert class_grid(3, columns=2)(run).shape == (3 * 40, 2 * 40, 3)


def test_a_predictor_without_labels_is_the_unconditional_network():
    net = Toy()
    params = net.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)), jnp.zeros(1, jnp.int32))["params"]
    x, t = jnp.asarray(batch()["image"]), jnp.arange(8)
    none = jnp.full(8, 3)
    close(predictor(net, params)(x, t), predictor(net, params, none)(x, t))
