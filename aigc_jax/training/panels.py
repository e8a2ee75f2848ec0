"""Panels: pictures of a run for its report.

A panel is (run) -> uint8 image [H, W, 3], or matplotlib Figure. An experiment names those that mean something for its
method, `panels={"samples": samples(64), "features": latent_map(500)}`; those that only one method has stand beside
that method.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from aigc_jax.evals.pictures import spread, tiles
from aigc_jax.training.samples import enlarge, grid

if TYPE_CHECKING:
    from jax import Array
    from matplotlib.figure import Figure

    from aigc_jax.core import TrainState
    from aigc_jax.training.run import Run


def samples(n: int) -> Callable[[Run], np.ndarray]:
    """The panel of n image samples of a run."""

    def panel(run: Run) -> np.ndarray:
        return enlarge(grid(run.data.decode(run.sample(run.condition(n)))))

    return panel


def class_grid(classes: int, columns: int = 10) -> Callable[[Run], np.ndarray]:
    """The panel of image samples by class, one class a row, `columns` of each."""

    def panel(run: Run) -> np.ndarray:
        label = np.repeat(np.arange(classes, dtype=np.int32), columns)
        like = run.data.spec["image"]
        blank = np.zeros((len(label), *like.shape[1:]), like.dtype)
        images = run.data.decode(run.sample({"image": blank, "label": label}))
        return tiles(images.reshape(classes, columns, *images.shape[1:]))

    return panel


def spectrograms(n: int, among: int = 300) -> Callable[[Run], Figure]:
    """The panel of n sounds of a run, under n recordings of the same labels: decibels over time and frequency.

    The recordings are of the first `among` of the evaluation split, of its classes in turn.
    """

    def panel(run: Run) -> Figure:
        from matplotlib.figure import Figure

        from aigc_jax.evals.sound import log_spectrogram

        batch = spread(run, n, among)
        figure = Figure(figsize=(2.2 * n, 5))
        axes = figure.subplots(2, n, sharex=True, sharey=True, squeeze=False)
        for row, (title, sounds) in enumerate((("recorded", batch["wave"]), ("drawn", run.sample(batch)))):
            rate, waves = run.data.decode(sounds)
            power = 10 * log_spectrogram(waves, rate)  # [n, frames, frequencies]
            for column, one in enumerate(power):
                extent = (0, waves.shape[1] / rate, 0, rate / 2000)
                axes[row, column].imshow(
                    one.T, origin="lower", aspect="auto", extent=extent, vmin=-80, vmax=power.max()
                )
                label = f", {batch['label'][column]}" if "label" in batch else ""
                axes[row, column].set_title(f"{title}{label}", fontsize=8)
            axes[row, 0].set_ylabel("kHz")
        for one in axes[1]:
            one.set_xlabel("s")
        return figure

    return panel


def latent_map(n: int) -> Callable[[Run], Figure]:
    """The panel of n encoded evaluation examples: their first two principal components, coloured by label."""

    def panel(run: Run) -> Figure:
        from matplotlib.figure import Figure

        batch = run.condition(n)
        features = np.asarray(run.encode(batch), np.float64).reshape(n, -1)
        centred = features - features.mean(0)
        directions = np.linalg.svd(centred, full_matrices=False)[2][:2]  # [2, D]
        x, y = (centred @ directions.T).T
        figure = Figure(figsize=(5, 5))
        axes = figure.subplots()
        label = batch.get("label")
        dots = axes.scatter(x, y, s=6, c=label, cmap="tab10" if label is not None else None)
        if label is not None:
            axes.legend(*dots.legend_elements(), title="label", fontsize=7, loc="best")
        axes.set(xlabel="first component", ylabel="second component")
        return figure

    return panel


def interpolations(
    decode: Callable[[TrainState, Array], Array], rows: int = 6, columns: int = 9, among: int = 2_000
) -> Callable[[Run], np.ndarray]:
    """The panel of pairs of evaluation pictures at the ends of a row, and between them what lies between their codes.

    decode: (state, codes [B, D]) -> pictures; the codes, those of `run.encode`, go from one to the other along a line.
    among:  the examples are taken from so many, of different classes or far apart: neighbours in a test set may be alike.
    """

    def panel(run: Run) -> np.ndarray:
        import jax

        codes = run.encode(spread(run, 2 * rows, among))  # [2 rows, D]
        share = np.linspace(0, 1, columns, dtype=np.float32)[None, :, None]
        between = (1 - share) * codes[::2, None] + share * codes[1::2, None]  # [rows, columns, D]
        pictures = jax.jit(decode)(run.state, between.reshape(rows * columns, -1))
        return enlarge(grid(run.data.decode(jax.device_get(pictures)), columns))

    return panel


def density(low: float = -3.0, high: float = 3.0, points: int = 200, drawn: int = 2000) -> Callable[[Run], Figure]:
    """The panel of a density of the plane: the data, exp(-nll) over the square from low to high, and samples."""

    def panel(run: Run) -> Figure:
        import jax
        from matplotlib.figure import Figure

        line = np.linspace(low, high, points, dtype=np.float32)
        plane = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
        nll = jax.jit(run.method.evaluate)(run.state, {"x": plane}, run.key)["nll"]
        data = run.condition(drawn)
        figure = Figure(figsize=(12, 4))
        axes = figure.subplots(1, 3, sharex=True, sharey=True)
        axes[0].scatter(*data["x"].T, s=2, alpha=0.5)
        p = np.nan_to_num(np.exp(-np.asarray(nll)))  # far from all data a flow may overflow
        axes[1].imshow(p.reshape(points, points), extent=(low, high, low, high), origin="lower")
        axes[2].scatter(*np.asarray(run.sample(data)).T, s=2, alpha=0.5)
        for axis, title in zip(axes, ("data", "density", "samples")):
            axis.set(title=title, xlim=(low, high), ylim=(low, high), aspect="equal")
        return figure

    return panel


def gradient_flow(
    net: Any, read: Callable[[dict[str, Any]], Any], cost: Callable[[Any, dict[str, Any]], Any], examples: int = 32
) -> Callable[[Run], Figure]:
    """The panel of how much of the last step's loss reaches each step before: || d loss / d h_t || / || d loss / d h_T ||.

    One curve for the trained network, and beside it one for each cell with fresh weights in the same place.

    net:  a recurrent network of one direction with `stack`, `embed` and `logits`.
    read: batch -> what it reads, [B, T] or [B, T, ...].
    cost: (answers of the last step, batch) -> scalar.
    """

    def panel(run: Run) -> Figure:
        import jax
        from matplotlib.figure import Figure

        from aigc_jax.networks.recurrent import gradient_norms

        batch = run.condition(examples)
        params = run.state.params["network"]
        x = net.apply({"params": params}, read(batch), method="embed")

        def loss(h: Any) -> Any:
            return cost(net.apply({"params": params}, h, method="logits"), batch)

        def curve(stack: Any, weights: Any) -> np.ndarray:
            norms = np.asarray(jax.jit(lambda w, x: gradient_norms(stack, w, x, loss))(weights, x), np.float64)
            return norms / norms[-1]

        figure = Figure(figsize=(6, 4))
        axes = figure.subplots()
        back = np.arange(x.shape[1])[::-1]
        axes.semilogy(back, curve(net.stack, params["stack"]), label=f"{net.stack.cell}, trained", linewidth=2)
        for cell in ("elman", "lstm", "gru"):
            fresh = net.stack.clone(cell=cell, matrices=None, use_bias=True, parent=None)
            weights = jax.jit(fresh.init)(run.key, x)["params"]
            axes.semilogy(back, curve(fresh, weights), "--", label=f"{cell}, fresh", linewidth=1)
        axes.set(xlabel="steps before the last", ylabel="gradient of the loss to h, of that at the last step")
        axes.legend(fontsize=7)
        return figure

    return panel


def to_png(picture: np.ndarray | Figure) -> bytes:
    """The bytes of a PNG file from uint8 [H, W], [H, W, 1 or 3] or a Figure. Raises ValueError for another array."""
    from matplotlib.figure import Figure
    from PIL import Image

    file = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(file, format="png", dpi=150, bbox_inches="tight")
        return file.getvalue()

    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in (1, 3)):
        raise ValueError(f"a panel gives a uint8 image [H, W, 3] or a Figure, not {array.dtype} {array.shape}")
    Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array).save(file, format="png")
    return file.getvalue()
