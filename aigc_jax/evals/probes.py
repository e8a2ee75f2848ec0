"""What frozen features know: a linear classifier on top of them, and their nearest neighbours.

Both probes encode the training and the evaluation split once, in evaluation mode and with evaluation transforms
(running statistics, no augmentation), and judge the network by labels that it was not trained on. An evaluator's
`protocol` says how it measures; a number without it says little.

The linear probe is logistic regression by L-BFGS on stored features, as in CLIP (arXiv:2103.00020, appendix A.3),
with features standardised and the strength of the penalty chosen without the evaluation split. MoCo's own protocol
(SGD at learning rate 30 over 100 epochs of random crops) re-encodes every image each epoch, to about the same end.
The neighbour classifier is that of instance discrimination (arXiv:1805.01978, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from aigc_jax.evals import Evaluator

Rows = tuple[np.ndarray, np.ndarray]  # features [N, D], labels [N]

PENALTIES = tuple(10.0**power for power in range(-4, 3))
"""Values of C, the inverse strength of the penalty, from which the linear probe chooses."""
FOLDS = 5


def linear_probe(
    labels_per_class: int | None = None, draws: int = 1, penalties: Sequence[float] = PENALTIES, label: str = "label"
) -> Evaluator:
    """Accuracy on the evaluation split of logistic regression on labelled examples of the training split.

    labels_per_class: how many training examples of each class keep their label; None is all.
    draws:            of the examples that keep it, over which accuracy is averaged; one where all keep it.
    penalties:        values of C; taken is the one of best mean accuracy in stratified cross-validation within the
                      labelled examples, so that the evaluation split chooses nothing; 1 where a class has one example.
    label:            the column of labels.

    Gives {"accuracy"}.
    """

    def classify(train: Rows, test: Rows, seed: int) -> float:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        def model(c: float):
            return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))

        def validated(c: float) -> float:
            return cross_val_score(model(c), *train, cv=StratifiedKFold(folds, shuffle=True, random_state=seed)).mean()

        folds = min(FOLDS, np.unique(train[1], return_counts=True)[1].min())
        best = max(penalties, key=validated) if folds > 1 else 1.0
        return float(model(best).fit(*train).score(*test))

    how = (
        f"logistic regression on frozen, standardised features, C from {min(penalties):g} to {max(penalties):g} by "
        f"{FOLDS}-fold cross-validation"
    )
    return _probe(classify, how, labels_per_class, draws, label)


def knn(
    k: int = 200, temperature: float = 0.07, labels_per_class: int | None = None, draws: int = 1, label: str = "label"
) -> Evaluator:
    """Accuracy on the evaluation split of a vote of the nearest labelled examples of the training split.

    The k nearest by cosine similarity s vote for their class with weight exp(s / temperature); 200 and 0.07 are those
    of arXiv:1805.01978. Other arguments as for `linear_probe`. Gives {"accuracy"}.
    """

    def classify(train: Rows, test: Rows, seed: int) -> float:
        return float(np.mean(vote(*train, test[0], k, temperature) == test[1]))

    how = f"{k} nearest neighbours by cosine of frozen features, weights exp(s / {temperature:g})"
    return _probe(classify, how, labels_per_class, draws, label)


def _probe(
    classify: Callable[[Rows, Rows, int], float], how: str, per_class: int | None, draws: int, label: str
) -> Evaluator:
    few = f"{per_class} training labels of each class, mean of {draws} draws"
    protocol = f"{how}, {few if per_class else 'all training labels'}"

    def measure(run: Any) -> dict[str, float]:
        train, test = features(run, "train", label), features(run, None, label)
        labelled = [few_labels(train, per_class, seed) for seed in range(draws if per_class else 1)]
        return {"accuracy": float(np.mean([classify(rows, test, seed) for seed, rows in enumerate(labelled)]))}

    return Evaluator(measure, protocol)


def vote(features: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int, temperature: float) -> np.ndarray:
    """The class of each query [M, D] by the weighted vote of its k (or N) nearest of the features [N, D]; [M]."""
    k = min(k, len(features))
    classes, labels = np.unique(labels, return_inverse=True)
    bank, chosen = _unit(features), []
    for block in np.array_split(_unit(queries), max(1, len(queries) // 1024)):  # [M', D]: M' N similarities at once
        similarity = block @ bank.T  # [M', N]
        near = np.argpartition(-similarity, k - 1, axis=1)[:, :k]  # [M', k]
        nearest = np.take_along_axis(similarity, near, axis=1)
        weight = np.exp((nearest - nearest.max(1, keepdims=True)) / temperature)  # of the vote alone: ratios count
        votes = np.zeros((len(block), len(classes)))
        np.add.at(votes, (np.arange(len(block))[:, None], labels[near]), weight)
        chosen.append(classes[votes.argmax(1)])
    return np.concatenate(chosen)


def features(run: Any, split: str | None = None, label: str = "label") -> Rows:
    """Features [N, D] and labels [N] of a split (None: the evaluation split), padding left out."""
    encoded, labels = [], []
    for batch in run.data.evaluate(split):
        real = np.asarray(batch["mask"]) > 0
        encoded.append(np.asarray(run.encode(batch), np.float32)[real])
        labels.append(np.asarray(batch[label])[real])
    return np.concatenate(encoded), np.concatenate(labels)


def few_labels(rows: Rows, per_class: int | None, seed: int) -> Rows:
    """`per_class` examples of each class, drawn without replacement, or all of a class that has fewer; all for None."""
    if per_class is None:
        return rows
    x, y = rows
    rng = np.random.default_rng(seed)
    kept = np.concatenate([rng.permutation(np.flatnonzero(y == one))[:per_class] for one in np.unique(y)])
    return x[kept], y[kept]


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
