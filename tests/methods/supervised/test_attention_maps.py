from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.core import TrainState
from aigc_jax.methods.supervised.attention_maps import class_attention_panel, rollout, rollout_panel
from aigc_jax.networks.cait import CaiT
from aigc_jax.networks.vit import ViT


def random_maps(layers=3, batch=2, heads=4, tokens=5):
    return jax.nn.softmax(jnp.asarray(np.random.default_rng(0).standard_normal((layers, batch, heads, tokens, tokens))))


def test_rollout_follows_every_path_from_a_patch_to_the_class():
    """The sum over paths of the product of their weights, half of each layer being the residual."""
    maps = random_maps(layers=2, tokens=3)
    mixed = (np.asarray(maps.mean(2)) + np.eye(3)) / 2
    expected = np.zeros((2, 3, 3))
    for end, middle, start in np.ndindex(3, 3, 3):
        expected[:, end, start] += mixed[1][:, end, middle] * mixed[0][:, middle, start]
    found = rollout(maps)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


def test_tokens_that_see_only_themselves_stay_where_they_are():
    maps = jnp.broadcast_to(jnp.eye(5), (3, 2, 4, 5, 5))
    chex.assert_trees_all_close(rollout(maps), jnp.broadcast_to(jnp.eye(5), (2, 5, 5)))


def test_panels_show_a_map_for_every_image_and_head():
    images = np.random.default_rng(0).standard_normal((2, 8, 12, 3)).astype(np.float32)
    sizes = dict(classes=3, patch=4, width=6, depth=1, heads=2)
    for net, panel, rows in (
        (ViT(**sizes, distilled=True), rollout_panel, 2),
        (CaiT(**sizes, class_depth=1), class_attention_panel, 3),
    ):
        params = {"network": jax.jit(net.init)(jax.random.key(0), images)["params"]}
        state = TrainState(jnp.int32(0), params, {}, {})
        run = SimpleNamespace(state=state, condition=lambda n: {"image": images[:n]})
        options = (net, 4) if rows == 2 else (net, 4, 2)
        figure = panel(*options, examples=2)(run)
        shapes = [axis.images[0].get_array().shape[:2] for axis in figure.axes]
        assert shapes == [(8, 12)] * 2 + [(2, 3)] * 2 * (rows - 1)
