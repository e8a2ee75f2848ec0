from types import SimpleNamespace

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from aigc_jax.methods.adversarial import gan as g

GRID = np.linspace(-8, 9, 3_001)
CELL = GRID[1] - GRID[0]


def normal(mean, std=1.0):
    return np.exp(-0.5 * ((GRID - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))


def test_the_best_discriminator_is_p_d_over_p_d_plus_p_g_and_its_value_is_2_jsd_minus_log_4():
    """A logit for each cell of a grid, fitted by gradient descent to N(0, 1) against N(1, 1)."""
    p_d, p_g = normal(0.0), normal(1.0)

    def loss(logits):
        real, fake = (
            g.discriminator_loss(logits, -jnp.inf * jnp.ones(1)),
            g.discriminator_loss(jnp.inf * jnp.ones(1), logits),
        )
        return jnp.sum(p_d * real + p_g * fake) * CELL

    tx = optax.adam(0.05)
    logits, state = jnp.zeros(len(GRID)), tx.init(jnp.zeros(len(GRID)))

    @jax.jit
    def step(_, carry):
        logits, state = carry
        updates, state = tx.update(jax.grad(loss)(logits), state)
        return optax.apply_updates(logits, updates), state

    logits, _ = jax.lax.fori_loop(0, 2_000, step, (logits, state))
    seen = p_d + p_g > 1e-3
    np.testing.assert_allclose(jax.nn.sigmoid(logits)[seen], (p_d / (p_d + p_g))[seen], atol=2e-3)
    middle = (p_d + p_g) / 2
    jsd = 0.5 * np.sum(p_d * np.log(p_d / middle) + p_g * np.log(p_g / middle)) * CELL
    np.testing.assert_allclose(-loss(logits), 2 * jsd - np.log(4), atol=1e-4)
    np.testing.assert_allclose([jsd, -loss(logits)], [0.1114214822, -1.1634513967559736], atol=1e-4)


def test_at_the_data_distribution_the_value_is_minus_log_4():
    half = jnp.zeros(3)
    np.testing.assert_allclose(-g.discriminator_loss(half, half), -1.3862943611198906, rtol=1e-6)


def test_losses_are_the_logarithms_they_stand_for():
    logits = jnp.linspace(-4, 4, 9)
    d = jax.nn.sigmoid(logits)
    np.testing.assert_allclose(g.minimax_loss(logits), jnp.log(1 - d), rtol=1e-4)
    np.testing.assert_allclose(g.non_saturating_loss(logits), -jnp.log(d), rtol=1e-4)
    np.testing.assert_allclose(
        g.discriminator_loss(logits, logits[::-1]), -jnp.log(d) - jnp.log(1 - d[::-1]), rtol=1e-4
    )
    assert np.all(np.isfinite(g.discriminator_loss(jnp.array([-1e4]), jnp.array([1e4]))))


def test_minimax_has_no_gradient_left_where_the_discriminator_is_sure_and_non_saturating_has():
    logits = jnp.array([-20.0, 0.0, 20.0])
    minimax, other = (jax.vmap(jax.grad(g.GENERATOR_LOSSES[name]))(logits) for name in ("minimax", "non_saturating"))
    d = jax.nn.sigmoid(logits)
    np.testing.assert_allclose(minimax, -d, atol=1e-6)
    np.testing.assert_allclose(other, -(1 - d), atol=1e-6)
    assert abs(minimax[0]) < 1e-8 and abs(other[0]) > 0.99


def test_both_generator_losses_have_the_same_fixed_point():
    """Against the best discriminator of N(0, 1) and N(m, 1), the gradient in m is 0 at m = 0 and points there elsewhere."""

    def gradient(name, mean):
        def generator(m):
            x = jnp.asarray(GRID) + (m - mean)  # samples of N(m, 1): those of N(mean, 1), moved
            return jnp.sum(normal(mean) * g.GENERATOR_LOSSES[name](-mean * x + mean**2 / 2)) * CELL  # log p_d / p_g

        return float(jax.grad(generator)(mean))

    for name in g.GENERATOR_LOSSES:
        assert abs(gradient(name, 0.0)) < 1e-6
        assert gradient(name, 1.0) > 0.1 and gradient(name, -1.0) < -0.1
    assert not np.isclose(gradient("minimax", 1.0), gradient("non_saturating", 1.0), rtol=0.1)


class Up(nn.Module):
    @nn.compact
    def __call__(self, z, train):
        h = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(nn.Dense(8)(z)))
        return jnp.tanh(nn.Dense(16)(h)).reshape(-1, 4, 4, 1)


class Down(nn.Module):
    """As in DCGAN the first layer has no batch norm: real and fake batches are normalised apart, and would lose their means."""

    @nn.compact
    def __call__(self, x, train):
        h = nn.leaky_relu(nn.Dense(16, name="first")(x.reshape(len(x), -1)), 0.2)
        h = nn.BatchNorm(use_running_average=not train, momentum=0.5, name="norm")(nn.Dense(6)(h))
        return {"logits": nn.Dense(1)(nn.relu(h))[:, 0], "features": [x, h.reshape(len(x), 1, 1, 6)]}


def batch(n=32, seed=0):
    x = np.random.RandomState(seed).uniform(0.2, 0.8, (n, 4, 4, 1))
    return {"image": x.astype(np.float32)}


def method(**options):
    m = g.gan(Up(), Down(), optax.sgd(0.1), optax.sgd(0.1), latents=5, **options)
    return m._replace(init=jax.jit(m.init), step=jax.jit(m.step), sample=jax.jit(m.sample))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_each_optimizer_moves_its_own_network_alone():
    for still, group in (("generator", "discriminator"), ("discriminator", "generator")):
        frozen = {group: optax.sgd(0.1), still: optax.sgd(0.0)}
        m = g.gan(Up(), Down(), frozen["generator"], frozen["discriminator"], latents=5)
        before = m.init(jax.random.key(0), batch())
        after, metrics = jax.jit(m.step)(before, batch(), jax.random.key(1))
        assert same(before.params[still], after.params[still]) and not same(before.params[group], after.params[group])
        assert set(after.opt_state) == {"generator", "discriminator"}
        assert {"generator/loss", "discriminator/loss", "real_accuracy", "fake_accuracy"} <= set(metrics)


def test_one_step_written_by_hand():
    """D first, on real and fake batches one after the other; then G against the new D, with noise of its own."""
    m, key = method(), jax.random.key(1)
    before = m.init(jax.random.key(0), batch())
    stats = before.memory["discriminator_stats"]

    def apply(net, params, stats, x):
        out, updated = net.apply({"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"])
        return out, updated["batch_stats"]

    def fakes(params, key):
        return apply(Up(), params, before.memory["generator_stats"], g.draw(key, 32, 5))

    def d_loss(params):
        real, of_real = apply(Down(), params, stats["real"], batch()["image"])
        fake, of_fake = apply(
            Down(), params, stats["fake"], fakes(before.params["generator"], jax.random.fold_in(key, 0))[0]
        )
        loss = jnp.mean(jax.nn.softplus(-real["logits"]) + jax.nn.softplus(fake["logits"]))
        return loss, {"real": of_real, "fake": of_fake}

    def g_loss(params):
        fake, after = fakes(params, jax.random.fold_in(key, 1))
        return jnp.mean(jax.nn.softplus(-apply(Down(), d, stats["fake"], fake)[0]["logits"])), after

    gradient, discriminator_stats = jax.grad(d_loss, has_aux=True)(before.params["discriminator"])
    d = jax.tree.map(lambda p, q: p - 0.1 * q, before.params["discriminator"], gradient)
    gradient, generator_stats = jax.grad(g_loss, has_aux=True)(before.params["generator"])
    expected = {"generator": jax.tree.map(lambda p, q: p - 0.1 * q, before.params["generator"], gradient)}
    after, _ = m.step(before, batch(), key)
    chex.assert_trees_all_close(after.params, {**expected, "discriminator": d}, rtol=1e-4, atol=1e-5)
    memory = {"generator_stats": generator_stats, "discriminator_stats": discriminator_stats}
    chex.assert_trees_all_close(after.memory, memory, rtol=1e-4, atol=1e-5)


def test_statistics_of_real_and_of_fake_batches_are_kept_apart():
    m = method()
    state = m.init(jax.random.key(0), batch())
    for i in range(20):
        state, _ = m.step(state, batch(seed=i), jax.random.key(i))
    kept = {kind: stats["norm"]["mean"] for kind, stats in state.memory["discriminator_stats"].items()}
    assert np.abs(kept["real"] - kept["fake"]).max() > 0.01
    gap = np.abs(kept["real"] - kept["fake"]).max()
    seen = Down().apply(  # statistics of real data under the same weights
        {"params": state.params["discriminator"], "batch_stats": state.memory["discriminator_stats"]["real"]},
        batch(1000, seed=99)["image"], train=True, mutable=["batch_stats"],
    )[1]["batch_stats"]["norm"]["mean"]  # fmt: skip
    assert (
        np.abs(2 * seen - kept["real"] - kept["real"]).max() < 0.5 * gap
    )  # momentum 0.5: twice the mean of old and new


def test_evaluation_and_sampling_leave_no_trace_and_examples_do_not_see_each_other():
    m = method()
    state, _ = m.step(m.init(jax.random.key(0), batch()), batch(), jax.random.key(1))
    key = jax.random.key(2)
    metrics = m.evaluate(state, batch(), key)
    assert {name: value.shape for name, value in metrics.items()} == dict.fromkeys(
        ("real_logit", "fake_logit", "real_accuracy", "fake_accuracy"), (32,)
    )
    np.testing.assert_array_equal(metrics["real_accuracy"], metrics["real_logit"] > 0)
    np.testing.assert_array_equal(metrics["fake_accuracy"], metrics["fake_logit"] < 0)
    for kind, x in (("real", batch()["image"]), ("fake", m.sample(state, batch(), key))):
        variables = {"params": state.params["discriminator"], "batch_stats": state.memory["discriminator_stats"][kind]}
        logits = Down().apply(variables, x, train=False)["logits"]
        np.testing.assert_allclose(metrics[f"{kind}_logit"], logits, rtol=1e-4, atol=1e-5)
    half = {"image": batch()["image"][:16]}
    np.testing.assert_allclose(
        m.evaluate(state, half, key)["real_logit"], metrics["real_logit"][:16], rtol=1e-4, atol=1e-5
    )
    z = g.draw(key, 32, 5)
    variables = {"params": state.params["generator"], "batch_stats": state.memory["generator_stats"]}
    alone = Up().apply(variables, z[3:4], train=False)
    np.testing.assert_allclose(m.sample(state, batch(), key)[3:4], alone, rtol=1e-4, atol=1e-5)


def test_latents_are_uniform():
    z = g.draw(jax.random.key(0), 1000, 5)
    assert z.shape == (1000, 5) and z.min() >= -1 and z.max() <= 1
    np.testing.assert_allclose([z.mean(), z.var()], [0, 1 / 3], atol=0.02)


def test_features_are_pooled_to_at_most_4_by_4():
    m = method()
    state = m.init(jax.random.key(0), {"image": np.zeros((1, 4, 4, 1))})
    assert m.encode(state, batch(), jax.random.key(0)).shape == (32, 16 + 6)
    x = jnp.arange(64.0).reshape(1, 8, 8, 1)
    np.testing.assert_array_equal(g._pooled(x)[0, :, :, 0], [[9 + 16 * r + 2 * c for c in range(4)] for r in range(4)])


@pytest.mark.parametrize("loss", ["non_saturating", "minimax"])
def test_against_a_network_that_stands_still_the_other_wins(loss):
    still, moves = optax.sgd(0.0), optax.adam(5e-3)

    def before_and_after(tx_generator, tx_discriminator):
        m = g.gan(Up(), Down(), tx_generator, tx_discriminator, latents=5, loss=loss)
        key, state = jax.random.key(1), m.init(jax.random.key(0), batch())
        many = jax.jit(lambda s: jax.lax.fori_loop(0, 200, lambda i, s: m.step(s, batch(), key)[0], s))
        return m.step(state, batch(), key)[1], m.step(many(state), batch(), key)[1]

    _, after = before_and_after(still, moves)
    assert after["real_accuracy"] > 0.9 and after["fake_accuracy"] > 0.9
    before, after = before_and_after(moves, still)
    assert after["generator/loss"] < before["generator/loss"] - 0.05
    assert (before["generator/loss"] < 0) == (loss == "minimax")  # log(1 - D) is negative, -log D positive


def test_the_strip_shows_samples_in_the_order_of_training(tmp_path):
    (tmp_path / "samples").mkdir()
    for step in range(10):
        Image.fromarray(np.full((4, 3, 3), step, np.uint8)).save(tmp_path / "samples" / f"step_{step * 50:08d}.png")
    picture = g.progress(most=4)(SimpleNamespace(workdir=tmp_path))
    assert picture.shape == (4, 12, 3)
    np.testing.assert_array_equal(picture[0, ::3, 0], [0, 3, 6, 9])
    with pytest.raises(ValueError, match="no samples"):
        g.progress()(SimpleNamespace(workdir=tmp_path / "none"))
