"""Does a class-conditional sampler draw what it was asked for? A classifier trained on real examples judges its samples.

This is the classification accuracy score of samples turned round (cf. arXiv:1905.10887): trained on real images,
tested on samples. The classifier is a support vector machine on pixels, or on other features that need no pretrained network;
its own accuracy on real examples, printed beside, bounds what the number can say. It sees whether a sample is of its class, not
whether samples differ from each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aigc_jax.evals.frechet import pixels

GAMMAS = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Widths of the kernel exp(-gamma |x - y|^2) on pixels in [0, 1], from which `Agreement` chooses; right for digits."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """An evaluator: run -> {"agreement", "real_accuracy"}, both shares of 1.

    agreement:     of `per_class` samples of each class, those that the classifier assigns the class asked for.
    real_accuracy: of the classifier on the evaluation split.

    The classifier is scikit-learn's SVC (RBF kernel, C = 10) on decoded pixels of the training split (its first `most`
    examples); gamma is chosen on every fifth of them before all are used.

    column:   of what is sampled.
    features: what `decode` gives -> [N, D], seen by the classifier instead of pixels; say so in the protocol.
    gammas:   from which it chooses.
    """

    per_class: int = 50
    most: int = 10_000
    protocol: str = (
        "SVM (RBF kernel, gamma chosen on every fifth training example) on decoded pixels of the training split; \
agreement: share of samples assigned the class asked for; real_accuracy: the same of the evaluation split"
    )
    column: str = "image"
    features: Callable[[Any], np.ndarray] = pixels
    gammas: Sequence[float] = GAMMAS

    def __call__(self, run: Any) -> dict[str, float]:
        train, test = self.rows(run, "train"), self.rows(run, None)
        machine = classifier(train[0][: self.most], train[1][: self.most], self.gammas)
        classes = int(train[1].max()) + 1
        asked = np.repeat(np.arange(classes, dtype=np.int32), self.per_class)
        blank = np.zeros((len(asked), *run.data.spec[self.column].shape[1:]), np.float32)
        drawn = run.data.decode(run.sample({self.column: blank, "label": asked}))
        return {
            "agreement": float(np.mean(machine.predict(self.features(drawn)) == asked)),
            "real_accuracy": float(np.mean(machine.predict(test[0]) == test[1])),
        }

    def rows(self, run: Any, split: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Features [N, D] and labels [N] of a split, padding left out."""
        x, label = [], []
        for batch in run.data.evaluate(split):
            keep = np.asarray(batch["mask"]) > 0
            x.append(self.features(run.data.decode(batch[self.column]))[keep])
            label.append(np.asarray(batch["label"])[keep])
        return np.concatenate(x), np.concatenate(label)


def classifier(x: np.ndarray, label: np.ndarray, gammas: Sequence[float] = GAMMAS) -> Any:
    """A fitted SVC for features x [N, D] in [0, 1] and labels [N]."""
    from sklearn.svm import SVC

    held = np.arange(len(x)) % 5 == 4

    def fitted(gamma: float, rows: np.ndarray) -> Any:
        options: dict[str, Any] = dict(kernel="rbf", C=10, gamma=gamma)  # scikit-learn declares gamma as text alone
        return SVC(**options).fit(x[rows], label[rows])

    best = max(gammas, key=lambda gamma: fitted(gamma, ~held).score(x[held], label[held]))
    return fitted(best, np.ones(len(x), bool))
