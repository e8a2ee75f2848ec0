"""FLOPs from the jaxpr: twice the multiply-adds, as often as they run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from aigc_jax.networks.layers import conv, conv_transpose
from aigc_jax.training.flops import count_flops


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


X, W = shape(256, 256), shape(256, 256)
ONE = 2 * 256**3  # 33.6 MFLOP


def test_a_scan_of_ten_products_is_ten_products():
    """XLA's own cost_analysis says one."""

    def scanned(x, w):
        return lax.scan(lambda c, _: (c @ w, None), x, length=10)[0]

    assert count_flops(lambda x, w: x @ w, X, W) == ONE == 33_554_432
    assert count_flops(scanned, X, W) == 10 * ONE
    assert count_flops(lambda x, w: lax.fori_loop(0, 10, lambda i, c: c @ w, x), X, W) == 10 * ONE
    assert count_flops(lambda x, w: lax.scan(lambda c, _: (scanned(c, w), None), x, length=3)[0], X, W) == 30 * ONE


def test_a_gradient_is_two_more_products_and_remat_one_besides():
    def loss(w, x):
        return jnp.sum(jnp.tanh(x @ w) ** 2)

    assert count_flops(jax.grad(loss, argnums=(0, 1)), W, X) == 3 * ONE
    assert count_flops(jax.grad(loss), W, X) == 2 * ONE
    assert count_flops(jax.grad(jax.checkpoint(loss), argnums=(0, 1)), W, X) == 4 * ONE


def test_a_cond_is_its_dearest_branch_and_a_while_one_pass():
    def branches(x, w):
        return lax.cond(x[0, 0] > 0, lambda: x @ w, lambda: (x @ w) @ w)

    def unknown(x, w):
        return lax.while_loop(lambda c: c[0, 0] > 0, lambda c: c @ w, x)

    assert count_flops(branches, X, W) == 2 * ONE
    assert count_flops(unknown, X, W) == ONE


def test_wrappers_are_followed():
    @jax.custom_vjp
    def product(x, w):
        return x @ w

    product.defvjp(lambda x, w: (x @ w, (x, w)), lambda r, g: (g @ r[1].T, r[0].T @ g))
    assert count_flops(jax.jit(product), X, W) == ONE
    assert count_flops(jax.grad(lambda x, w: jnp.sum(product(x, w))), X, W) == 3 * ONE
    assert count_flops(jax.vmap(lambda x, w: jnp.where(x @ w > 0, 0, x), (None, 0)), X, shape(5, 256, 256)) == 5 * ONE

    @jax.custom_jvp
    def other(x, w):
        return x @ w

    other.defjvp(lambda primals, tangents: (other(*primals), tangents[0]))
    assert count_flops(other, X, W) == ONE


def test_what_each_device_computes_is_added_up():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spec = jax.P("data")
    fn = jax.shard_map(lambda x, w: x @ w, mesh=mesh, in_specs=(spec, jax.P()), out_specs=spec)
    assert count_flops(fn, X, W) == ONE


@pytest.mark.parametrize("form", ["native", "product"])
@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (1, 2), (4, 1)])
def test_a_convolution_is_twice_its_multiply_adds_in_every_form(form, groups, stride):
    """B H' W' k k (C / groups) F of them; the gradients to the input and to the kernel as many each."""
    macs = 2 * (8 // stride) ** 2 * 9 * (32 // groups) * 16

    def run(x, kernel):
        return conv(x, kernel, stride, ((1, 1), (1, 1)), groups, form=form)

    x, kernel = shape(2, 8, 8, 32), shape(3, 3, 32 // groups, 16)
    assert count_flops(run, x, kernel) == 2 * macs
    assert count_flops(jax.grad(lambda x, k: jnp.sum(run(x, k) ** 2), argnums=(0, 1)), x, kernel) == pytest.approx(
        6 * macs
    )


def test_gradients_of_a_native_convolution_count_no_zeros_between_elements():
    def loss(x, kernel):
        return jnp.sum(conv(x, kernel, 2, ((1, 1), (1, 1)), form="native") ** 2)

    macs = 2 * 4**2 * 9 * 32 * 16
    for argument in (0, 1):
        assert count_flops(jax.grad(loss, argnums=argument), shape(2, 8, 8, 32), shape(3, 3, 32, 16)) == 2 * 2 * macs


@pytest.mark.parametrize("form", ["native", None])
def test_a_depthwise_convolution_is_nine_multiply_adds_an_output(form):
    def run(x, kernel):
        return conv(x, kernel, groups=32, form=form)

    x, kernel, macs = shape(2, 8, 8, 32), shape(3, 3, 1, 32), 2 * 8 * 8 * 32 * 9
    assert count_flops(run, x, kernel) == 2 * macs
    assert count_flops(jax.grad(lambda x, k: jnp.sum(run(x, k)), argnums=(0, 1)), x, kernel) in (4 * macs, 6 * macs)


@pytest.mark.parametrize("form", ["native", "product"])
def test_a_transposed_convolution_is_that_of_its_input(form):
    """Every input element meets every tap once: B H W k k C F, and dilation of the kernel adds none."""
    x, kernel = shape(2, 8, 8, 32), shape(4, 4, 32, 16)
    assert count_flops(lambda x, k: conv_transpose(x, k, 2, form=form), x, kernel) == 2 * 2 * 64 * 16 * 32 * 16
    dilated = count_flops(lambda x, k: conv(x, k, dilation=2, form=form), shape(2, 9, 9, 32), shape(3, 3, 32, 16))
    assert dilated == 2 * 2 * 81 * 9 * 32 * 16


def test_trees_of_shapes_are_accepted():
    assert count_flops(lambda p, b: b["x"] @ p["w"], {"w": W}, {"x": X}) == ONE
