"""Optimizers against their formulas, learning rates at their corners, and what weight decay falls on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aigc_jax.optimizers import are_kernels, cosine, falling, falling_by_thirds, linear, optimizer, rising, stairs

DRAW = np.random.default_rng(0)


def arrays():
    kernel, bias = (DRAW.standard_normal(shape, np.float32) for shape in ((3, 2), 2))
    return {"body": {"kernel": kernel, "bias": bias}, "table": np.ones(4, np.float32)}


PARAMS, GRADIENTS = arrays(), [arrays() for _ in range(3)]


def run(tx, gradients=GRADIENTS):
    """The parameters after a step on each gradient."""
    params = PARAMS
    state = tx.init(params)
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_kernels_alone_are_decayed_unless_it_falls_everywhere():
    assert are_kernels(PARAMS) == {"body": {"kernel": True, "bias": False}, "table": False}
    nothing = [jax.tree.map(np.zeros_like, PARAMS)]
    for kind in ("sgd", "nesterov", "adamw"):
        some, all_ = (run(optimizer(kind, 0.1, weight_decay=0.5, everywhere=every, momentum=0), nothing)
                      for every in (False, True))  # fmt: skip
        np.testing.assert_allclose(some["body"]["kernel"], 0.95 * PARAMS["body"]["kernel"], rtol=1e-6, err_msg=kind)
        np.testing.assert_array_equal(some["body"]["bias"], PARAMS["body"]["bias"])
        np.testing.assert_allclose(all_["body"]["bias"], 0.95 * PARAMS["body"]["bias"], rtol=1e-6)
        np.testing.assert_allclose(all_["table"], 0.95, rtol=1e-6)


def test_rmsprop_is_tensorflow_s():
    rates, x = [0.1, 0.1, 0.03], PARAMS["body"]["bias"]
    square, velocity = np.ones(2), np.zeros(2)
    for rate, gradient in zip(rates, GRADIENTS, strict=True):
        g = gradient["body"]["bias"]
        square = 0.9 * square + 0.1 * g**2
        velocity = 0.8 * velocity + rate * g / np.sqrt(square + 0.25)
        x = x - velocity
    tx = optimizer("rmsprop", lambda step: jnp.array(rates)[step], momentum=0.8, eps=0.25, weight_decay=0.3)
    np.testing.assert_allclose(run(tx)["body"]["bias"], x, rtol=1e-5)


def test_lars_scales_a_kernel_by_its_trust_ratio_and_nothing_else():
    w, g = PARAMS["body"]["kernel"], GRADIENTS[0]["body"]["kernel"]
    decayed = g + 0.2 * w
    after = run(optimizer("lars", 0.5, weight_decay=0.2), GRADIENTS[:1])["body"]
    step = 0.5 * 0.001 * np.linalg.norm(w) / np.linalg.norm(decayed) * decayed
    np.testing.assert_allclose(after["kernel"] - w, -step, rtol=1e-3)
    bias = PARAMS["body"]["bias"] - 0.5 * GRADIENTS[0]["body"]["bias"]
    np.testing.assert_allclose(after["bias"], bias, rtol=1e-5)


def test_lamb_s_first_step_has_the_length_of_the_kernel_times_the_rate():
    w, g = PARAMS["body"]["kernel"], GRADIENTS[0]["body"]["kernel"]
    direction = g / (np.abs(g) + 1e-6) + 0.2 * w
    expected = w - 0.1 * np.linalg.norm(w) / np.linalg.norm(direction) * direction
    after = run(optimizer("lamb", 0.1, weight_decay=0.2), GRADIENTS[:1])["body"]["kernel"]
    np.testing.assert_allclose(after, expected, rtol=1e-5)


def test_the_gradient_is_clipped_before_all_else():
    norm = np.sqrt(sum((x**2).sum() for x in (*GRADIENTS[0]["body"].values(), GRADIENTS[0]["table"])))
    after = run(optimizer("sgd", 1.0, clip=0.5), GRADIENTS[:1])["body"]["bias"]
    np.testing.assert_allclose(after, PARAMS["body"]["bias"] - GRADIENTS[0]["body"]["bias"] * 0.5 / norm, rtol=1e-5)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="optimizer 'adam': there are sgd, nesterov"):
        optimizer("adam", 0.1)


@pytest.mark.parametrize(
    "schedule, expected",
    [
        (cosine(2.0, 100), {0: 2, 50: 1, 100: 0}),
        (cosine(2.0, 110, warmup=10, start=0.5, end=0.4), {0: 0.5, 5: 1.25, 10: 2, 60: 1.2, 110: 0.4}),
        (cosine(2.0, 100, end=0.4), {0: 2, 50: 1.2, 100: 0.4}),
        (linear(2.0, 100), {0: 2, 50: 1, 100: 0}),
        (linear(2.0, 110, warmup=10, end=1.0), {0: 0, 5: 1, 10: 2, 60: 1.5, 110: 1}),
        (stairs(2.0, 0.5, 10), {0: 2, 9: 2, 10: 1, 25: 0.5}),
        (stairs(2.0, 0.5, 2.5, warmup=4), {0: 0, 2: 1, 4: 1, 5: 0.5, 7: 0.5}),
        (falling(2.0, 100, (0.5, 0.75), 3), {0: 0.2, 2: 0.2, 3: 2, 49: 2, 51: 0.2, 80: 0.02}),
        (falling(2.0, 100, ()), {0: 2, 50: 1, 100: 0}),
        (rising(0.99), {0: 0.1, 8: 0.5, 10**4: 0.99}),
    ],
)
def test_schedules_pass_through_their_corners(schedule, expected):
    found = [float(schedule(jnp.int32(step))) for step in expected]
    np.testing.assert_allclose(found, list(expected.values()), atol=1e-6)


def test_falling_by_thirds_has_three_to_the_i_passes_at_each_rate():
    """Burda et al.: 0.001 * 10^(-i / 7) for 3^i passes, i = 0 .. 7, 3,280 in all; here of 3 steps each."""
    rate = falling_by_thirds(1e-3, 3 * 3280, 8)
    passes = np.repeat(np.arange(8), 3 ** np.arange(8))
    for step in (0, 2, 3, 11, 12, 38, 39, 3279, 3 * 1093 - 1, 3 * 1093, 3 * 3280 - 1):
        np.testing.assert_allclose(rate(step), 1e-3 * 10 ** (-passes[step // 3] / 7), rtol=1e-5)
    with pytest.raises(ValueError, match="at least 1 stage, not 0"):
        falling_by_thirds(1e-3, 10, 0)
