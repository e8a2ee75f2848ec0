"""PixelCNN and gated PixelCNN as distributions: what each sub-pixel sees, that all states sum to one, draws with a cache.

Every parameter is random. Parity is with masked convolutions and a gated network that others wrote (golden/make_pixelcnn.py).
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2

from aigc_jax.methods.likelihood.pixels import nll
from aigc_jax.networks.gated_pixelcnn import GatedPixelCNN
from aigc_jax.networks.pixelcnn import PixelCNN
from aigc_jax.probability.pixel_outputs import bernoulli, categorical

GOLDEN = Path(__file__).parent.parent / "golden" / "pixelcnn.npz"
NETS = {
    "plain": partial(PixelCNN, blocks=2, head=7, kernel=5),
    "gated": partial(GatedPixelCNN, layers=2, head=7, kernel=3),
}
COLOUR = dict(levels=4, outputs=4, colours=3, width=5)  # 5 features for 3 colours: groups need not be equal


def random_params(net, x, dtype=jnp.float32, size=0.5, **label):
    shapes = jax.eval_shape(partial(net.init, jax.random.key(0)), x, **label)["params"]
    leaves, tree = jax.tree.flatten(shapes)
    rng = np.random.default_rng(0)
    return jax.tree.unflatten(tree, [jnp.asarray(size * rng.normal(size=leaf.shape), dtype) for leaf in leaves])


def influence(net, shape, examples=6):
    """[D, D] of sub-pixels in raster order: how much the parameters of one move with the value of another, in some pictures."""
    with jax.enable_x64(True):
        x = jnp.asarray(3 * np.random.default_rng(1).random((examples, *shape)))
        params = random_params(net, x, jnp.float64)
        jacobian = jax.vmap(jax.jacrev(lambda x: net.apply({"params": params}, x[None])[0]))(x)
        assert jacobian.dtype == np.float64
        return np.abs(np.asarray(jacobian)).sum((0, 4)).reshape(np.prod(shape), np.prod(shape))


def test_the_gated_network_sees_every_earlier_sub_pixel_and_none_else():
    """Exact zeros from each sub-pixel on; no blind spot before it, R before G before B within a pixel."""
    moved = influence(GatedPixelCNN(**{**COLOUR, "width": 10}, layers=2, kernel=3, head=30), (4, 5, 3))
    np.testing.assert_array_equal(moved[np.triu_indices(60)], 0)
    assert np.all(moved[np.tril_indices(60, -1)] > 1e-12)


def test_the_plain_network_sees_what_its_kernels_reach_and_is_blind_to_the_right_above():
    """From a rows above, as far to the right as the first kernel and one pixel for each further row: a wedge is left out."""
    height, width, reach, blocks = 5, 8, 1, 2
    moved = influence(PixelCNN(**COLOUR, blocks=blocks, kernel=2 * reach + 1, head=12), (height, width, 3))
    blind = 0
    for (i, j, c), (k, m, d) in itertools.product(itertools.product(range(height), range(width), range(3)), repeat=2):
        up, right = i - k, m - j
        far = reach + blocks
        seen = (up, right) == (0, 0) and d < c or up == 0 and 1 <= -right <= far
        seen |= 1 <= up <= far and -far <= right <= reach + min(blocks, up - 1)
        blind += 0 < up <= far and reach + min(blocks, up - 1) < right <= far
        value = moved[(i * width + j) * 3 + c, (k * width + m) * 3 + d]
        assert value > 1e-12 if seen else value == 0, (i, j, c, k, m, d)
    assert blind > 0


@pytest.mark.parametrize("name", NETS)
def test_the_probabilities_of_all_pictures_sum_to_one(name):
    states = np.array(list(itertools.product((0.0, 1.0), repeat=9))).reshape(-1, 3, 3, 1)
    net = NETS[name](levels=2, outputs=1, colours=1, width=6)
    with jax.enable_x64(True):
        params = random_params(net, states, jnp.float64)
        p = np.exp(-nll(net, bernoulli(), params, jnp.asarray(states)))
    assert p.dtype == np.float64 and abs(p.sum() - 1) < 1e-9
    assert p.max() < 0.9 and p.std() > 1e-4, "random parameters make a distribution that is neither flat nor a point"


@pytest.mark.parametrize("name, classes", [("plain", 0), ("gated", 0), ("gated", 3)])
def test_drawing_has_the_parameters_of_teacher_forcing(name, classes):
    """With and without pixels that are given: those stay, and what is drawn after them follows from them."""
    given = {"label": jnp.array([0, 2, 1])} if classes else {}
    net = NETS[name](**COLOUR, **({"classes": classes} if classes else {}))
    known = jnp.asarray(np.random.default_rng(2).integers(0, 4, (3, 5, 6, 3)))
    params, output = random_params(net, known, **given), categorical(4)

    @jax.jit
    def drawn(key, keep):
        x, forced = net.apply({"params": params}, key, output.pick, known, keep, method="draw", **given)
        return x, forced, net.apply({"params": params}, x, **given)

    keep = np.zeros((3, 5, 6, 1))
    x, cached, forced = drawn(jax.random.key(1), keep)
    assert x.dtype == known.dtype and set(np.unique(x)) == {0, 1, 2, 3} and np.std(forced) > 0.3
    np.testing.assert_allclose(cached, forced, rtol=1e-5, atol=1e-5)
    keep[:, :2], keep[:, 3, 4] = 1, 1
    x, cached, forced = drawn(jax.random.key(1), keep)
    np.testing.assert_allclose(cached, forced, rtol=1e-5, atol=1e-5)
    kept = np.broadcast_to(keep > 0, x.shape)
    np.testing.assert_array_equal(x[kept], known[kept])
    assert np.mean(x[~kept] == known[~kept]) < 0.6


@pytest.mark.parametrize(
    "name, shape, levels",
    [("plain", (2, 2, 1), 2), ("gated", (2, 2, 1), 2), ("plain", (1, 1, 3), 3), ("gated", (1, 2, 2), 2)],
)
def test_draws_have_the_enumerated_frequencies(name, shape, levels):
    n, size = 20_000, np.prod(shape)
    states = np.array(list(itertools.product(range(levels), repeat=size))).reshape(-1, *shape)
    output = bernoulli() if levels == 2 else categorical(levels)
    net = NETS[name](levels=levels, outputs=output.size, colours=shape[-1], width=6)
    params = random_params(net, jnp.asarray(states))
    p = np.exp(-nll(net, output, params, jnp.asarray(states)))
    assert abs(p.sum() - 1) < 1e-5
    like = jnp.zeros((n, *shape), jnp.int32)
    x, _ = jax.jit(lambda key: net.apply({"params": params}, key, output.pick, like, method="draw"))(jax.random.key(3))
    number = np.asarray(x).reshape(n, -1) @ levels ** np.arange(size)[::-1]
    counts = np.bincount(number, minlength=len(states))
    assert np.sum((counts - n * p) ** 2 / (n * p)) < chi2.ppf(0.999, len(states) - 1)


def test_a_label_changes_every_parameter_and_is_asked_for():
    net = NETS["gated"](levels=2, outputs=1, colours=1, width=6, classes=2)
    x = jnp.zeros((2, 3, 3, 1))
    params = random_params(net, x, label=jnp.array([0, 1]))
    one, other = net.apply({"params": params}, x, jnp.array([0, 1]))
    assert np.all(one != other)
    with pytest.raises(ValueError, match="for 2 classes"):
        net.apply({"params": params}, x)
    with pytest.raises(ValueError, match="for 0 classes"):
        net.clone(classes=0).init(jax.random.key(0), x, jnp.array([0, 1]))


def test_fields_that_do_not_fit_are_refused():
    x = jnp.zeros((1, 3, 3, 3))
    with pytest.raises(ValueError, match="odd, not 6"):
        PixelCNN(width=4, kernel=6).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="not 7 and 2"):
        GatedPixelCNN(width=4, kernel=2).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="2 features cannot be shared among 3 colours"):
        GatedPixelCNN(width=2, layers=1, head=4).init(jax.random.key(0), x)


@pytest.mark.parametrize("name", NETS)
def test_parameters_are_those_of_networks_that_others_wrote(name):
    with np.load(GOLDEN) as stored:
        golden = {path: stored[path] for path in stored.files}
    sizes = dict(levels=5, outputs=5, colours=3)
    if name == "plain":
        net, given = PixelCNN(**sizes, width=4, blocks=2, head=7, kernel=5), ()
    else:
        net = GatedPixelCNN(**sizes, width=6, layers=2, head=8, kernel=3, first=5, classes=10)
        given = (golden["label"],)
    params = {}
    for path in golden:
        if path.startswith(f"{name}/params/"):
            *folders, leaf = path.split("/")[2:]
            place = params
            for folder in folders:
                place = place.setdefault(folder, {})
            place[leaf] = golden[path]
    ours = net.apply({"params": params}, golden["x"], *given)
    answer = golden[f"{name}/answer"]
    assert np.linalg.norm(ours - answer) < 1e-4 * np.linalg.norm(answer)
