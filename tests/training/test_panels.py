"""Panels that read a trained network."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.data import sounds
from aigc_jax.networks.recurrent import Reader, Recurrent
from aigc_jax.training.panels import density, gradient_flow, interpolations, spectrograms


def test_gradient_flow_lays_the_trained_net_beside_fresh_cells():
    net = Reader(Recurrent(4, cell="lstm", forget_bias=5.0), outputs=2)
    batch = {"inputs": jax.random.normal(jax.random.key(0), (3, 20, 2)), "value": jnp.ones((3, 2))}
    params = {"network": jax.jit(net.init)(jax.random.key(1), batch["inputs"])["params"]}
    run = SimpleNamespace(state=SimpleNamespace(params=params), key=jax.random.key(2), condition=lambda n: batch)
    panel = gradient_flow(net, lambda batch: batch["inputs"], lambda y, batch: jnp.sum((y - batch["value"]) ** 2))
    (axes,) = panel(run).axes
    lines = {line.get_label(): np.asarray(line.get_xydata()) for line in axes.get_lines()}
    assert list(lines) == ["lstm, trained", "elman, fresh", "lstm, fresh", "gru, fresh"]
    for line in lines.values():
        assert line.shape == (20, 2) and (line[:, 1] > 0).all()
        np.testing.assert_allclose(line[-1], [0, 1])  # no step back: the gradient at the last h itself


def test_spectrograms_show_recordings_and_under_them_sounds_of_their_labels():
    time = np.arange(2000) / 8000
    batch = {
        "wave": np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (500, 1000, 2000)]),
        "label": np.array([4, 5, 6]),
    }
    run = SimpleNamespace(
        condition=lambda n: {name: np.repeat(x, n // 3, axis=0) for name, x in batch.items()},
        sample=lambda batch: 0.5 * batch["wave"],
        data=SimpleNamespace(decode=sounds(8000)),
    )
    figure = spectrograms(3, among=30)(run)
    titles = [one.get_title() for one in figure.axes]
    assert titles == [f"{row}, {label}" for row in ("recorded", "drawn") for label in (4, 5, 6)]
    pictures = [one.images[0].get_array() for one in figure.axes]
    for column, hertz in enumerate((500, 1000, 2000)):
        for picture in (pictures[column], pictures[3 + column]):
            assert picture[:, 4].argmax() == hertz / 31.25


def test_spectrograms_show_different_classes_where_the_examples_are_sorted_or_take_turns():
    """Every 60th of examples that take four turns is of one class; so are the first of a sorted set."""
    time = np.arange(600) / 8000

    def shown(n, labels):
        batch = {"wave": np.sin(2 * np.pi * 500 * time) * np.ones((len(labels), 1)), "label": np.asarray(labels)}
        run = SimpleNamespace(
            condition=lambda n: {name: x[np.arange(n) % len(labels)] for name, x in batch.items()},
            sample=lambda batch: batch["wave"],
            data=SimpleNamespace(decode=sounds(8000)),
        )
        return [int(one.get_title().split(", ")[1]) for one in spectrograms(n)(run).axes[:n]]

    assert shown(5, np.arange(200) % 4) == [0, 1, 2, 3, 0]
    assert shown(5, np.arange(200) // 20) == [0, 2, 4, 6, 8]


def test_interpolations_go_along_a_line_from_picture_to_picture():
    pictures = np.random.default_rng(0).random((4, 3, 3, 1), np.float32)
    run = SimpleNamespace(
        state=2.0,
        condition=lambda n: {"image": np.repeat(pictures, n // 4, axis=0)},
        encode=lambda batch: batch["image"].reshape(-1, 9) * 2,
        data=SimpleNamespace(decode=lambda x: np.rint(np.asarray(x) * 255).astype(np.uint8)),
    )
    panel = interpolations(lambda state, z: (z / state).reshape(-1, 3, 3, 1), rows=2, columns=3, among=8)(run)
    small = panel[:: panel.shape[0] // 9, :: panel.shape[0] // 9]  # 2 rows of 3 pixels, lines between
    tiles = small[1:4, 1:4, 0], small[1:4, 5:8, 0], small[1:4, 9:12, 0]
    ends = [np.rint(picture[..., 0] * 255) for picture in pictures[:2]]
    for tile, share in zip(tiles, (0, 0.5, 1)):
        np.testing.assert_allclose(tile, (1 - share) * ends[0] + share * ends[1], atol=1)


def test_density_shows_the_plane_upright():
    """The density of N((1, -1), 0.1): its peak lies to the right and below."""

    def evaluate(state, batch, key):
        return {"nll": jnp.sum((batch["x"] - jnp.array([1.0, -1.0])) ** 2, axis=1) / 0.02}

    x = np.zeros((5, 2), np.float32)
    run = SimpleNamespace(
        method=SimpleNamespace(evaluate=evaluate), state={}, key=jax.random.key(0), condition=lambda n: {"x": x},
        sample=lambda batch: x,
    )  # fmt: skip
    _, middle, _ = density(points=61)(run).axes
    (image,) = middle.get_images()
    assert np.unravel_index(np.argmax(image.get_array()), (61, 61)) == (20, 40) and image.origin == "lower"
