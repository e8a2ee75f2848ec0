"""Panels that read a trained network."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from aigc_jax.data import sounds
from aigc_jax.networks.recurrent import Reader, Recurrent
from aigc_jax.training.panels import gradient_flow, spectrograms


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
