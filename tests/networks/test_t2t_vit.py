import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import unfold
from aigc_jax.networks.t2t_vit import (
    T2TViT,
    TokenPerformer,
    TokenTransformer,
    linear_attention,
    orthogonal_rows,
    random_features,
)

TINY = dict(classes=5, width=12, depth=1, heads=3, early=8, splits=((3, 1, 1), (3, 2, 1)))


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def random_params(net, *inputs):
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), *inputs))["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: 0.4 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("size, stride, padding", [(7, 4, 2), (3, 2, 1), (2, 2, 0)])
def test_soft_split_by_loops(size, stride, padding):
    x = random(2, 9, 12, 3)
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    ours = jax.jit(lambda x: unfold(x, size, stride, padding))(x)
    rows, columns = ours.shape[1:3]
    assert (rows, columns) == tuple((n + 2 * padding - size) // stride + 1 for n in (9, 12))
    for i, j in np.ndindex(rows, columns):
        window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
        chex.assert_trees_all_equal(np.asarray(ours[:, i, j]), window.transpose(0, 3, 1, 2).reshape(2, -1))


def test_soft_split_then_fold_inverts():
    """Fold, its transpose, adds every copy of a pixel where it came from; by their number it is the image again."""
    x = random(2, 8, 12, 3)

    @jax.jit
    def fold_of_split(x):
        def split(x):
            return unfold(x, 5, 2, 2)

        return jax.linear_transpose(split, x)(split(x))[0]

    count = fold_of_split(jnp.ones_like(x))
    assert count.min() == 1 and count.max() == 9
    np.testing.assert_allclose(fold_of_split(x) / count, x, rtol=1e-5, atol=1e-6)


def test_random_features_have_the_exponential_kernel_as_their_mean():
    x, y, w = 0.4 * random(2, 6), 0.4 * random(3, 6, seed=1), random(200_000, 6, seed=2)
    kernel = random_features(x, w) @ random_features(y, w).T
    np.testing.assert_allclose(kernel, np.exp(x @ y.T), rtol=0.02)


def test_random_directions_are_orthogonal():
    w = orthogonal_rows(4, 6, (0,))
    np.testing.assert_allclose(w @ w.T, 4 * np.eye(4), atol=1e-5)
    with pytest.raises(ValueError, match="no 7 orthogonal rows of 6"):
        orthogonal_rows(7, 6, (0,))


def test_linear_attention_is_the_quadratic_one():
    q, k, v = np.exp(random(2, 5, 4)), np.exp(random(2, 5, 4, seed=1)), random(2, 5, 3, seed=2)
    weights = q @ k.swapaxes(1, 2)
    expected = weights / weights.sum(-1, keepdims=True) @ v
    np.testing.assert_allclose(linear_attention(q, k, v), expected, rtol=1e-4, atol=1e-6)


def by_hand(params, x, mixed):
    """norm, one map to three, `mixed`, the skip from the values, and the MLP, in numpy."""

    def norm(x, at):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * at["scale"] + at["bias"]

    def dense(x, at):
        return x @ at["kernel"] + at.get("bias", 0)

    three = np.split(dense(norm(x, params["norm_attention"]), params.get("qkv") or params["kqv"]), 3, -1)
    values, y = mixed(*three)
    y = values + dense(y, params["out"])
    hidden = dense(norm(y, params["norm_mlp"]), params["mlp"]["up"])
    return y + dense(np.asarray(jax.nn.gelu(hidden, approximate=False)), params["mlp"]["down"])


def test_token_attention_by_hand_and_as_a_set():
    """The transformer's scale is that of the width that comes in; the performer's map gives keys first."""
    x, order = random(2, 7, 10), np.random.default_rng(3).permutation(7)

    def softmax(q, k, v):
        weights = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(10))
        return v, weights / weights.sum(-1, keepdims=True) @ v

    w = random(4, 8, seed=5)

    def performer(k, q, v):
        weights = np.asarray(random_features(q, w) @ random_features(k, w).swapaxes(1, 2))
        return v, weights / weights.sum(-1, keepdims=True) @ v

    for net, mixed in ((TokenTransformer(8), softmax), (TokenPerformer(8), performer)):
        params = random_params(net, x, False)
        constants = {} if mixed is softmax else {"constants": {"features": w}}
        y, moved = jax.jit(
            lambda x, z, net=net, variables={"params": params, **constants}: (
                net.apply(variables, x, False),
                net.apply(variables, z, False),
            )
        )(x, x[:, order])
        np.testing.assert_allclose(y, by_hand(params, x, mixed), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(moved, y[:, order], rtol=1e-4, atol=1e-5)


def test_random_features_are_no_parameters_and_belong_to_the_seed():
    x = random(2, 8, 8, 3)
    net = T2TViT(**TINY)
    variables = jax.eval_shape(net.init, jax.random.key(0), x)
    assert set(variables) == {"params"}
    params = random_params(net, x)
    one, other, given = jax.jit(
        lambda: (
            net.apply({"params": params}, x)[0],
            T2TViT(**TINY, seed=1).apply({"params": params}, x)[0],
            T2TViT(**TINY, seed=1).apply(
                {"params": params, "constants": {"mix_1": {"features": orthogonal_rows(4, 8, (0, 1))}}}, x
            )[0],
        )
    )()
    chex.assert_trees_all_close(one, given, rtol=1e-5)
    assert jnp.abs(one - other).max() > 1e-3


def test_positions_are_fixed_and_the_features_have_the_sizes_of_the_paper():
    net = T2TViT()
    variables, (_, features) = jax.eval_shape(
        lambda x: tuple(reversed(net.init_with_output(jax.random.key(0), x))), jnp.zeros((1, 224, 224, 3))
    )
    assert "positions" not in variables["params"]
    assert {name: value.shape[1:] for name, value in features.items()} == {
        "split_1": (56, 56, 147),
        "split_2": (28, 28, 576),
        "split_3": (14, 14, 576),
        "tokens": (197, 384),
        "pooled": (384,),
    }


@pytest.mark.parametrize(
    "fields, words",
    [
        (dict(heads=5), "5 heads do not divide a width of 12"),
        (dict(splits=((9, 1, 0),)), "a window of 9 does not fit an image of 8 x 8 with padding 0"),
    ],
)
def test_fields_that_do_not_fit_are_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(T2TViT(**{**TINY, **fields}).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
