"""Facts of the probes: nearest neighbours, votes, scale, and that padding and the evaluation split teach nothing."""

import numpy as np
import pytest

from aigc_jax.evals.probes import features, few_labels, knn, linear_probe, vote


class Data:
    """Two splits in batches of 5, the last one padded with rows that would spoil everything."""

    def __init__(self, **splits):
        self.splits = splits

    def evaluate(self, split=None):
        x, y = self.splits[split or "test"]
        for start in range(0, len(x), 5):
            rows = x[start : start + 5]
            pad = 5 - len(rows)
            yield {
                "x": np.concatenate([rows, np.full((pad, x.shape[1]), np.nan, x.dtype)]),
                "label": np.concatenate([y[start : start + 5], np.full(pad, 99, y.dtype)]),
                "mask": np.repeat(np.float32([1, 0]), [len(rows), pad]),
            }


class Run:
    """A run whose features are what stands in the batch, with a constant column and of any scale."""

    def __init__(self, train, test, scale=1.0):
        self.data, self.scale = Data(train=train, test=test), scale

    def encode(self, batch):
        return np.concatenate([batch["x"] * self.scale, np.full((len(batch["x"]), 1), self.scale)], 1)


def blobs(n, seed, spread=0.2, classes=3):
    """Rows around the axes of a space of 4, one axis for each class."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return (np.eye(4)[y] * 2 + spread * rng.standard_normal((n, 4))).astype(np.float32), y.astype(np.int32)


def noise(n, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 4)).astype(np.float32), rng.integers(0, 3, n).astype(np.int32)


# --------------------------------------------------------------------------------------------------- nearest neighbours


def test_the_nearest_neighbour_of_a_training_example_is_itself():
    train = noise(43, 0)
    assert knn(k=1)(Run(train, train)) == {"accuracy": 1.0}


def test_one_neighbour_is_the_nearest_by_cosine():
    (x, y), (queries, _) = noise(30, 0), noise(12, 1)
    for query, chosen in zip(queries, vote(x, y, queries, 1, 0.07)):
        cosine = [row @ query / np.linalg.norm(row) / np.linalg.norm(query) for row in x]
        assert chosen == y[int(np.argmax(cosine))]


def test_a_high_temperature_is_a_plain_majority_and_a_low_one_the_nearest():
    (x, y), (queries, _) = noise(40, 2), noise(50, 3)
    near = np.argsort(
        -(queries / np.linalg.norm(queries, axis=1)[:, None]) @ (x / np.linalg.norm(x, axis=1)[:, None]).T
    )
    counts = [np.bincount(y[row[:7]], minlength=3) for row in near]
    clear = np.array([np.sort(c)[-1] > np.sort(c)[-2] for c in counts])  # a tie is settled by the weights
    majority = np.array([c.argmax() for c in counts])
    np.testing.assert_array_equal(vote(x, y, queries, 7, 1e6)[clear], majority[clear])
    np.testing.assert_array_equal(vote(x, y, queries, 7, 1e-4), y[near[:, 0]])
    assert np.any(majority != y[near[:, 0]])


def test_weights_are_exponentials_of_the_similarity():
    """Two neighbours at s against one at 1: exp(1 / T) > 2 exp(s / T) as long as 1 - s > T ln 2."""
    s = 0.9
    x = np.array([[1, 0], [s, np.sqrt(1 - s**2)], [s, -np.sqrt(1 - s**2)]])
    y, query, edge = np.array([7, 4, 4]), np.array([[1.0, 0.0]]), (1 - s) / np.log(2)
    assert vote(x, y, query, 3, 0.99 * edge).tolist() == [7]
    assert vote(x, y, query, 3, 1.01 * edge).tolist() == [4]


def test_scaling_features_changes_neither_probe():
    train, test = blobs(60, 0, spread=1.5), blobs(50, 1, spread=1.5)
    for probe in (knn(k=5), linear_probe(penalties=[0.01, 1.0])):
        small, large = (probe(Run(train, test, scale)) for scale in (0.01, 100.0))
        assert small == large and small["accuracy"] < 1


def test_votes_do_not_depend_on_how_many_ask_at_once():
    (x, y), (queries, _) = noise(20, 2), noise(3000, 3)
    apart = np.concatenate([vote(x, y, part, 5, 0.1) for part in np.split(queries, 3)])
    np.testing.assert_array_equal(vote(x, y, queries, 5, 0.1), apart)


def test_more_neighbours_than_examples_are_all_of_them():
    (x, y), (queries, _) = noise(20, 2), noise(9, 3)
    np.testing.assert_array_equal(vote(x, y, queries, 200, 0.1), vote(x, y, queries, 20, 0.1))


# ------------------------------------------------------------------------------------------------------- linear probe


def test_a_linear_probe_reads_what_is_linear_and_nothing_from_noise():
    assert linear_probe(penalties=[0.01, 1.0])(Run(blobs(60, 0), blobs(42, 1))) == {"accuracy": 1.0}
    assert linear_probe(penalties=[0.1])(Run(noise(150, 0), noise(150, 1)))["accuracy"] < 0.45


def test_the_penalty_is_chosen_within_the_training_split():
    """Labels of the evaluation split move the score alone: the same predictions, right where the others were wrong."""
    train, (x, y) = blobs(30, 0, classes=2), blobs(30, 1, classes=2)
    right, wrong = (linear_probe(penalties=[0.01, 1.0])(Run(train, (x, labels)))["accuracy"] for labels in (y, 1 - y))
    assert right + wrong == pytest.approx(1)


def test_one_label_of_each_class_is_enough():
    assert linear_probe(labels_per_class=1, draws=2)(Run(blobs(60, 0), blobs(42, 1)))["accuracy"] > 0.9


# ------------------------------------------------------------------------------------------------------------- labels


def test_padding_is_left_out():
    train, test = blobs(13, 0), blobs(7, 1)
    run = Run(train, test)
    x, y = features(run, "train")
    assert x.shape == (13, 5) and np.isfinite(x).all()
    np.testing.assert_array_equal(y, train[1])
    np.testing.assert_array_equal(features(run)[1], test[1])


def test_few_labels_are_as_many_of_each_class_and_another_draw_is_another_choice():
    x, y = blobs(30, 0)
    chosen, labels = few_labels((x, y), 4, seed=0)
    assert np.bincount(labels).tolist() == [4, 4, 4]
    assert len(np.unique(chosen, axis=0)) == 12 and {tuple(row) for row in chosen} <= {tuple(row) for row in x}
    for row, label in zip(chosen, labels):
        assert y[np.flatnonzero((x == row).all(1))[0]] == label
    assert not np.array_equal(chosen, few_labels((x, y), 4, seed=1)[0])
    np.testing.assert_array_equal(chosen, few_labels((x, y), 4, seed=0)[0])
    assert len(few_labels((x, y), 11, seed=0)[0]) == 30 and few_labels((x, y), None, 0)[0] is x


def test_accuracy_with_few_labels_is_the_mean_over_draws():
    train, test = noise(60, 0), blobs(40, 1)
    once = [float(np.mean(vote(*few_labels(features(Run(train, test), "train"), 2, seed), features(Run(train, test))[0],
                               3, 0.07) == test[1])) for seed in range(4)]  # fmt: skip
    assert knn(k=3, labels_per_class=2, draws=4)(Run(train, test))["accuracy"] == pytest.approx(np.mean(once))
    assert len(set(once)) > 1


def test_the_protocol_says_neighbours_and_labels():
    probe = knn(k=3, labels_per_class=2, draws=4)
    assert "3 nearest neighbours" in probe.protocol and "2 training labels of each class, mean of 4" in probe.protocol
    assert "all training labels" in linear_probe().protocol and "0.0001 to 100" in linear_probe().protocol
