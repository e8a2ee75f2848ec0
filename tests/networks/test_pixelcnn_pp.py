"""PixelCNN++: what each pixel sees, how it begins, and draws with a cache.

Parameters are random. Parity is with a network that others wrote (golden/make_pixelcnn_pp.py).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.layers import concat_elu
from aigc_jax.networks.pixelcnn_pp import PixelCNNpp, behind
from aigc_jax.probability.pixel_outputs import logistics

GOLDEN = Path(__file__).parent.parent / "golden" / "pixelcnn_pp.npz"


def random_params(net, x, dtype=jnp.float32, **label):
    shapes = jax.eval_shape(partial(net.init, jax.random.key(0)), x, **label)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), dtype), shapes)


def test_every_pixel_sees_all_pixels_before_it_and_none_else():
    """Exact zeros from the pixel itself on, whatever the colour; no blind spot before it, over three resolutions.

    The picture is narrow: in odd rows nothing coarse tells of the own row, and convolutions at full size reach 6 pixels.
    """
    net, shape = PixelCNNpp(outputs=2, width=4, resnets=1), (8, 4, 3)
    with jax.enable_x64(True):
        x = jnp.asarray(255 * np.random.default_rng(1).random((3, *shape)))
        params = random_params(net, x, jnp.float64)

        def one_of_each(x):  # what moves a pixel's outputs moves a sum of them
            return net.apply({"params": params}, x[None])[0].reshape(32, 2) @ jnp.array([1.0, 0.7])

        jacobian = jax.jit(jax.vmap(jax.jacrev(one_of_each)))(x)
        assert jacobian.dtype == np.float64
        moved = np.abs(np.asarray(jacobian)).sum(0).reshape(32, 32, 3)
    np.testing.assert_array_equal(moved[np.triu_indices(32)], 0)
    assert np.all(moved[np.tril_indices(32, -1)] > 1e-12)


def test_the_first_batch_gives_outputs_of_mean_zero_and_variance_one():
    """Of every layer, as they are before what comes from the side: and 0.1^2 for the second of a resnet."""
    net = PixelCNNpp(outputs=9, width=6, resnets=1, resolutions=2)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3)))
    kept = {
        "capture_intermediates": lambda module, _: type(module).__name__ == "WeightNorm",
        "mutable": "intermediates",
    }

    @jax.jit
    def outputs(key):
        return net.apply({"params": net.init(key, x)["params"]}, x, **kept)[1]["intermediates"]

    leaves = jax.tree_util.tree_leaves_with_path(outputs(jax.random.key(0)))
    assert len(leaves) == 4 + 2 * 5 * 2 + (1 + 2) + (2 * 2 - 1) * 2 - 1 + 4, len(leaves)
    for path, y in leaves:
        second = any(getattr(part, "key", None) == "second" for part in path)
        axes = tuple(range(y.ndim - 1))
        np.testing.assert_allclose(np.mean(y, axes), 0, atol=2e-5, err_msg=str(path))
        np.testing.assert_allclose(np.std(y, axes), 0.1 if second else 1, rtol=1e-3, err_msg=str(path))


@pytest.mark.parametrize(
    "shape, fields",
    [((2, 8, 8, 3), dict(resnets=1, resolutions=3)), ((3, 4, 6, 1), dict(resnets=2, resolutions=2, classes=3))],
    ids=["colours", "grey-classes"],
)
def test_drawing_has_the_parameters_of_teacher_forcing(shape, fields):
    """With and without pixels that are given: those stay, and what is drawn after them follows from them."""
    output = logistics(2, shape[-1], 9)
    given = {"label": jnp.array([0, 2, 1])} if "classes" in fields else {}
    net = PixelCNNpp(levels=9, outputs=output.size, width=5, **fields)
    known = jnp.asarray(np.random.default_rng(2).integers(0, 9, shape))
    params = random_params(net, known, **given)

    @jax.jit
    def drawn(key, keep):
        x, cached = net.apply({"params": params}, key, output.pick, known, keep, method="draw", **given)
        return x, cached, net.apply({"params": params}, x, **given)

    keep = np.zeros((*shape[:3], 1))
    x, cached, forced = drawn(jax.random.key(1), keep)
    assert x.dtype == known.dtype and x.min() >= 0 and x.max() <= 8 and len(np.unique(x)) > 4
    assert np.std(forced, (0, 1, 2)).mean() > 0.3, "parameters differ from pixel to pixel"
    np.testing.assert_allclose(cached, forced, rtol=1e-5, atol=1e-5)
    keep[:, :2], keep[:, 3, 1] = 1, 1
    x, cached, forced = drawn(jax.random.key(1), keep)
    np.testing.assert_allclose(cached, forced, rtol=1e-5, atol=1e-5)
    kept = np.broadcast_to(keep > 0, x.shape)
    np.testing.assert_array_equal(x[kept], known[kept])
    assert np.mean(x[~kept] == known[~kept]) < 0.6
    assert drawn._cache_size() == 1


def test_what_layers_are_made_of():
    x = jnp.array([[-1.0, 2.0]])
    np.testing.assert_allclose(concat_elu(x), [[np.expm1(-1), 2, 1, np.expm1(-2)]], rtol=1e-6)
    np.testing.assert_array_equal(behind(jnp.arange(1.0, 7).reshape(1, 2, 3, 1), 1)[0, ..., 0], [[0, 0, 0], [1, 2, 3]])
    np.testing.assert_array_equal(behind(jnp.arange(1.0, 7).reshape(1, 2, 3, 1), 2)[0, ..., 0], [[0, 1, 2], [0, 4, 5]])


def test_dropout_is_in_training_alone():
    net = PixelCNNpp(outputs=3, width=4, resnets=1, resolutions=1)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 3, 3, 1)))
    params = random_params(net, x)
    once, again = (net.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(i)}) for i in range(2))
    assert np.all(once[:, 1:] != again[:, 1:])
    np.testing.assert_array_equal(net.apply({"params": params}, x), net.apply({"params": params}, x))


def test_fields_and_shapes_that_do_not_fit_are_refused():
    x, label = jnp.zeros((1, 6, 8, 3)), jnp.zeros(1, jnp.int32)
    for net, given, words in [
        (PixelCNNpp(width=4), (), "that 4 divides, not 6 x 8"),
        (PixelCNNpp(width=4, resolutions=2), (label,), "for 0 classes"),
        (PixelCNNpp(width=4, resolutions=2, classes=2), (), "for 2 classes"),
        (PixelCNNpp(width=4, resnets=0), (), "not 0 and 3"),
    ]:
        with pytest.raises(ValueError, match=words):
            jax.eval_shape(partial(net.init, jax.random.key(0)), x, *given)


def test_parameters_are_those_of_a_network_that_others_wrote():
    with np.load(GOLDEN) as stored:
        golden = {path: stored[path] for path in stored.files}
    params = {}
    for path in golden:
        if path.startswith("params/"):
            *folders, leaf = path.split("/")[1:]
            place = params
            for folder in folders:
                place = place.setdefault(folder, {})
            place[leaf] = golden[path]
    answer = golden["answer"]
    net = PixelCNNpp(outputs=answer.shape[-1], width=4, resnets=1)
    ours = jax.jit(lambda x: net.apply({"params": params}, x))(golden["x"])
    assert np.linalg.norm(ours - answer) < 1e-4 * np.linalg.norm(answer)
