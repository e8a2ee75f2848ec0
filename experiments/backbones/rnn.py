"""Elman RNN: an image read row by row, its class told from the last state: many to one.

    aigc train rnn --preset laptop                                handwritten digits, 8 rows of 8
    aigc train rnn --data files:DIR                               MNIST: DIR holds the four idx files

Elman's own nets read letters, and words of generated sentences; the paper preset has the 150 units of the net of
section "Discovering lexical classes", and reads the 28 rows of MNIST's digits. He had neither Adam nor clipping: gradients
of an Elman net explode before they vanish, and clipping (arXiv:1211.5063) is what makes the first harmless.

The report shows how much of the loss of the last step reaches each step before, beside an LSTM and a GRU.
"""

from __future__ import annotations

from typing import Literal

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import load_data, normalize
from aigc_jax.experiment import Experiment
from aigc_jax.methods.supervised import classifier
from aigc_jax.networks.recurrent import RULES, Reader, Recurrent
from aigc_jax.training.panels import gradient_flow

SYSTEMS = ["rnn"]
PAPER = "Elman, Finding Structure in Time, Cognitive Science 14, 1990"
PRESETS = {
    "paper": {},
    "laptop": dict(data="digits", size=8, width=64, steps=1500, batch_size=64, lr=3e-3),
}
EXPECTED = {
    "laptop": dict(metric="eval/accuracy", value=0.975, tolerance=0.015, direction="max", device="2 CPU cores",
                   minutes=1),
}  # fmt: skip


def experiment(
    *,
    data: str = "files:mnist",
    size: int = 28,
    classes: int = 10,
    cell: Literal["elman", "lstm", "gru", "gru_before"] = "elman",
    width: int = 150,  # section "Discovering lexical classes from word order"
    depth: int = 1,
    bidirectional: bool = False,
    steps: int = 20_000,
    batch_size: int = 128,
    lr: float = 1e-3,
    clip: float = 1.0,  # of the global norm
    seed: int = 0,
) -> Experiment:
    net = Reader(Recurrent(width, depth, cell, bidirectional), outputs=classes)
    tx = optax.chain(optax.clip_by_global_norm(clip), optax.adam(optax.cosine_decay_schedule(lr, steps)))
    grey = normalize(0.5, 0.5)
    loaded = load_data(
        data,
        batch_size=batch_size,
        spec={"image": ((size, size, 1), "float32"), "label": ((), "int32", classes)},
        train=grey,
        evaluate=grey,
    )

    def cost(logits, batch):
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    flow = {} if bidirectional else {"gradient_flow": gradient_flow(net, lambda batch: batch["image"], cost)}
    return Experiment(classifier(net, tx), loaded, steps, seed, RULES, panels=flow)


if __name__ == "__main__":
    run_file(__file__)
