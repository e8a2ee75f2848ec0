"""The forms of convolution agree in value and in both gradients, and with Flax; none of them is native inside a CPU's loop."""

from __future__ import annotations

import itertools
import re

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from aigc_jax.networks.layers import Conv, ConvTranspose, conv, conv_form, conv_forms, conv_transpose

PADDINGS = ("SAME", "VALID", ((2, 1), (0, 3)))


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def value_and_gradients(fn, x, kernel):
    """y, dx, dkernel for a fixed random cotangent."""
    y, back = jax.vjp(fn, x, kernel)
    return y, *back(normal(9, *y.shape))


def assert_close(ours, theirs, tolerance: float = 1e-5):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert one.shape == other.shape
        assert np.linalg.norm(one - other) <= tolerance * np.linalg.norm(other)


def compare(x, cases):
    """cases: [(kernel shape, one form, other form)], all in one compiled function: most of the cost is compiling."""

    @jax.jit
    def run(x, kernels):
        return [[value_and_gradients(f, x, k) for f in forms] for k, (_, *forms) in zip(kernels, cases)]

    kernels = [normal(i, *shape) for i, (shape, *_) in enumerate(cases)]
    for one, other in run(x, kernels):
        assert_close(one, other)


def both(form: str, **options):
    return [lambda x, k, f=f: conv(x, k, **options, form=f) for f in (form, "native")]


@pytest.mark.parametrize("taps", [1, 3, 4, 5, 7])
def test_the_product_form_is_the_convolution(taps):
    settings = itertools.product((1, 2), PADDINGS)
    cases = [((taps, taps, 3, 5), *both("product", strides=s, padding=p)) for s, p in settings]
    compare(normal(0, 2, 8, 9, 3), cases)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (2, 3)])
def test_taps_that_see_only_padding_are_dropped_without_a_trace(size):
    cases = [((k, k, 3, 4), *both("product", strides=s, padding=((k // 2,) * 2,) * 2)) for k in (3, 7) for s in (1, 2)]
    compare(normal(0, 3, *size, 3), cases)


def test_of_a_3x3_kernel_on_one_pixel_only_the_middle_tap_is_computed():
    jaxpr = jax.make_jaxpr(lambda x, k: conv(x, k, form="product"))(normal(0, 2, 1, 1, 40), normal(1, 3, 3, 40, 8))
    (product,) = (eqn for eqn in jaxpr.eqns if eqn.primitive.name == "dot_general")
    assert product.invars[0].aval.shape == (2, 40)


@pytest.mark.parametrize("taps", [3, 4])
def test_groups_are_contiguous_channels(taps):
    settings = list(itertools.product((1, 2), PADDINGS))
    cases = [((taps, taps, 3, 4), *both("product", strides=s, padding=p, groups=2)) for s, p in settings]
    compare(normal(0, 2, 8, 7, 6), cases)


@pytest.mark.parametrize("taps", [1, 3, 4])
def test_the_slices_form_is_the_depthwise_convolution(taps):
    settings = list(itertools.product((1, 2), PADDINGS))
    cases = [((taps, taps, 1, 6), *both("slices", strides=s, padding=p, groups=6)) for s, p in settings]
    cases += [((taps, taps, 1, 12), *both("slices", groups=6)), ((taps, taps, 1, 12), *both("product", groups=6))]
    compare(normal(0, 2, 8, 7, 6), cases)


@pytest.mark.parametrize("size", [(4, 4), (5, 8), (7, 9), (2, 1)])
def test_the_winograd_form_is_the_convolution(size):
    paddings = ["SAME", ((2, 1), (0, 3)), ((1, 3), (2, 2))] + ["VALID"] * (min(size) > 2)
    compare(normal(0, 2, *size, 5), [((3, 3, 5, 7), *both("winograd", padding=p)) for p in paddings])


def test_winograd_takes_any_number_of_axes():
    compare(normal(0, 2, 9, 5), [((3, 5, 4), *both("winograd"))])
    compare(normal(0, 2, 5, 4, 6, 3), [((3, 3, 3, 3, 4), *both("winograd"))])


@pytest.mark.parametrize("form", ["winograd", "product"])
def test_what_would_leave_the_cache_is_computed_in_parts(form, monkeypatch):
    monkeypatch.setattr(conv_forms, "CACHE", 2 * 9 * 8 * 45 * 4)  # two of the six images, as slices
    x, case = normal(0, 6, 9, 8, 5), ((3, 3, 5, 7), *both(form))
    compare(x, [case])
    scans = [eqn for eqn in jax.make_jaxpr(case[1])(x, normal(1, 3, 3, 5, 7)).eqns if eqn.primitive.name == "scan"]
    assert [eqn.params["length"] for eqn in scans] == [6 if form == "winograd" else 3]


def test_winograd_is_chosen_for_large_images_of_many_channels_in_float32():
    def products(x, kernel, strides=1):
        return str(jax.make_jaxpr(lambda x, k: conv(x, k, strides))(x, kernel))

    x, kernel = normal(0, 2, 4, 4, 64), normal(1, 3, 3, 64, 64)
    assert "[16,8,64]" in products(x, kernel), "16 products over a quarter of the 2 x 4 x 4 positions"
    for other in (
        products(x[..., :8], kernel[..., :8, :]),
        products(x, kernel, strides=2),
        products(x[:, :2], kernel),
        products(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)),
    ):
        assert "[16,8,64]" not in other and "dot_general" in other


def test_dilation_and_other_numbers_of_axes():
    compare(normal(0, 2, 9, 8, 3), [((3, 2, 3, 4), *both("product", dilation=(2, 3), strides=s)) for s in (1, 2)])
    compare(
        normal(0, 2, 20, 3), [((2, 3, 4), *both("product", dilation=4, padding=((4, 0),)))]
    )  # causal, as in WaveNet
    compare(normal(0, 2, 4, 5, 3, 2), [((3, 2, 1, 2, 4), *both("product", strides=2))])


@pytest.mark.parametrize("taps", [1, 4, 5])
def test_transposed_convolution_is_that_of_lax(taps):
    def case(stride, padding, form):
        def ours(x, kernel):
            return conv_transpose(x, kernel, stride, padding, form=form)

        def theirs(x, kernel):
            return lax.conv_transpose(x, kernel, (stride, stride), padding)

        return (taps, taps, 6, 4), ours, theirs

    compare(
        normal(0, 2, 5, 4, 6), [case(*one) for one in itertools.product((1, 2, 3), PADDINGS, ("product", "native"))]
    )


@pytest.mark.parametrize("module", ["conv", "grouped", "transposed"])
def test_the_modules_are_those_of_flax(module):
    ours, theirs = {
        "conv": (Conv(6, (3, 5), (2, 1)), nn.Conv(6, (3, 5), (2, 1))),
        "grouped": (Conv(6, 3, groups=3), nn.Conv(6, (3, 3), feature_group_count=3)),
        "transposed": (ConvTranspose(6, (4, 5), 2), nn.ConvTranspose(6, (4, 5), (2, 2))),
    }[module]
    x = normal(0, 2, 7, 8, 3)
    params = jax.jit(theirs.init)(jax.random.key(0), x)
    params = jax.tree.map(lambda p: normal(1, *p.shape), params)
    chex.assert_trees_all_equal_shapes(params, jax.eval_shape(ours.init, jax.random.key(0), x))
    assert_close(jax.jit(ours.apply)(params, x), jax.jit(theirs.apply)(params, x))


def test_compute_dtype_is_a_field_and_parameters_stay_float32():
    layer, x = Conv(4, dtype=jnp.bfloat16), normal(0, 1, 4, 4, 3)
    params = layer.init(jax.random.key(0), x)
    assert params["params"]["kernel"].dtype == jnp.float32
    assert layer.apply(params, x).dtype == jnp.bfloat16


class Net(nn.Module):
    form: str | None = None

    @nn.compact
    def __call__(self, x):
        x = nn.relu(Conv(32, form=self.form)(x))
        x = nn.relu(Conv(32, form=self.form)(x))
        x = nn.relu(Conv(8, strides=2, form=self.form)(x))
        x = x if self.form else nn.relu(Conv(8, groups=8)(x))
        return jnp.sum(ConvTranspose(3, 4, 2, form=self.form)(x) ** 2)


def names_of_operations_in_a_trained_loop(net: nn.Module) -> list[str]:
    x = normal(0, 2, 8, 8, 3)
    params = net.init(jax.random.key(0), x)

    def train(params):
        def step(_, p):
            return jax.tree.map(lambda a, g: a - 1e-3 * g, p, jax.grad(net.apply)(p, x))

        return lax.fori_loop(0, 3, step, params)

    hlo = jax.jit(train).lower(params).compile().as_text()
    bodies = [part for part in hlo.split("\n\n") if "region" in part.split("{")[0] or "body" in part.split("{")[0]]
    assert bodies, "the compiled loop has a body"
    return re.findall(r"= \S+ ([a-z-]+)\(", "\n".join(bodies))


def test_no_native_convolution_stands_in_a_loop_on_a_cpu():
    """There it would run 20 to 40 times slower, in the value and in the gradient."""
    assert jax.default_backend() == "cpu"
    assert "convolution" not in names_of_operations_in_a_trained_loop(Net())
    assert "convolution" in names_of_operations_in_a_trained_loop(Net(form="native")), "the test would see one"


def test_the_context_sets_the_form_that_is_chosen():
    x, kernel = normal(0, 1, 4, 4, 3), normal(1, 3, 3, 3, 2)
    fn = jax.jit(lambda x, k: conv(x, k))
    outside = fn(x, kernel)
    assert "convolution" not in fn.lower(x, kernel).as_text()
    with conv_form("native"):
        assert "convolution" in fn.lower(x, kernel).as_text(), "jit's cache knows the context"
        assert_close(fn(x, kernel), outside)


def test_a_linear_map_can_be_differentiated_forward_and_batched():
    x, kernel, t = normal(0, 2, 5, 5, 40), normal(1, 3, 3, 40, 4), normal(2, 2, 5, 5, 40)

    def fn(x):
        return conv(x, kernel)

    def quadratic(x):
        return 0.5 * jnp.sum(fn(x) ** 2)

    assert_close(jax.jit(lambda x, t: jax.jvp(fn, (x,), (t,))[1])(x, t), jax.jit(fn)(t))
    assert_close(jax.jit(jax.vmap(lambda one: fn(one[None])[0]))(x), jax.jit(fn)(x))
    hessian_t = jax.jit(lambda x, t: jax.jvp(jax.grad(quadratic), (x,), (t,))[1])(x, t)
    assert_close(hessian_t, jax.jit(jax.grad(quadratic))(t))


@pytest.mark.parametrize(
    ("x", "kernel", "options", "words"),
    [
        ((1, 4, 4, 3), (3, 3, 4, 8), {}, "do not fit"),
        ((1, 4, 4, 6), (3, 3, 3, 7), {"groups": 2}, "2 groups do not fit"),
        ((1, 4, 4, 3), (3, 3, 3, 8), {"strides": (1, 2, 3)}, "3 numbers for 2 spatial axes"),
        ((1, 4, 4, 3), (3, 3, 3, 8), {"padding": ((1, 1),)}, "1 pairs for 2 spatial axes"),
        ((1, 4, 4, 4), (3, 3, 2, 8), {"groups": 2, "form": "slices"}, "depthwise"),
        ((1, 2, 2, 3), (3, 3, 3, 8), {"padding": "VALID"}, "no output"),
        ((1, 4, 4, 3), (3, 3, 3, 8), {"strides": 2, "form": "winograd"}, "stride, dilation and groups of 1"),
        ((1, 4, 4, 3), (5, 5, 3, 8), {"form": "winograd"}, "3 taps an axis, not .5, 5"),
    ],
)
def test_what_does_not_fit_is_an_error_with_the_numbers(x, kernel, options, words):
    with pytest.raises(ValueError, match=words):
        conv(jnp.zeros(x), jnp.zeros(kernel), **options)
