from types import SimpleNamespace

import numpy as np
import pytest

from aigc_jax.evals.frechet import Frechet, Gaussian, fit, frechet_distance, pixels

A = np.random.RandomState(0).standard_normal((500, 8))
B = 1.5 * np.random.RandomState(1).standard_normal((400, 8)) + 0.1


def test_the_distance_of_diagonal_gaussians_is_the_closed_form():
    a = Gaussian(np.array([1.0, 0.0]), np.diag([1.0, 4.0]))
    b = Gaussian(np.zeros(2), np.diag([9.0, 1.0]))
    np.testing.assert_allclose(frechet_distance(a, b), 6.0, rtol=1e-12)  # 1 + (3 - 1)^2 + (2 - 1)^2


def test_the_distance_is_that_of_the_published_code():
    np.testing.assert_allclose(frechet_distance(fit(A), fit(B)), 2.5233349810034724, rtol=1e-9)


def test_the_distance_is_a_squared_metric():
    assert abs(frechet_distance(fit(A), fit(A))) < 1e-9
    np.testing.assert_allclose(frechet_distance(fit(A), fit(B)), frechet_distance(fit(B), fit(A)), rtol=1e-9)
    rotation = np.linalg.qr(np.random.RandomState(2).standard_normal((8, 8)))[0]
    np.testing.assert_allclose(
        frechet_distance(fit(A @ rotation + 3), fit(B @ rotation + 3)), frechet_distance(fit(A), fit(B)), rtol=1e-9
    )


def test_the_order_of_examples_does_not_matter():
    shuffled = np.random.RandomState(3).permutation(A)
    np.testing.assert_allclose(frechet_distance(fit(shuffled), fit(B)), frechet_distance(fit(A), fit(B)), rtol=1e-9)


def test_fewer_examples_than_dimensions_are_no_trouble():
    """Singular covariances: of two points each, (mean, one direction): closed form with std along one common axis."""
    axis = np.eye(8)[2]
    a, b = np.stack([axis, -axis]), np.stack([3 * axis, -3 * axis]) + 1.0
    stds = np.sqrt([2.0, 18.0])  # over N - 1
    np.testing.assert_allclose(frechet_distance(fit(a), fit(b)), 8 + (stds[1] - stds[0]) ** 2, rtol=1e-9)


def test_covariances_are_over_n_minus_1():
    np.testing.assert_allclose(fit(np.array([[0.0], [2.0]])).covariance, [[2.0]])


def test_what_has_no_distance_is_an_error():
    with pytest.raises(ValueError, match="8 and of 7 dimensions"):
        frechet_distance(fit(A), fit(B[:, :7]))
    with pytest.raises(ValueError, match=r"N >= 2, got \(1, 8\)"):
        fit(A[:1])


def a_run(samples):
    """A run whose data are 10 pictures for training and 6 for evaluation, in batches of 4."""
    rng = np.random.RandomState(0)
    splits = {"train": rng.randint(0, 256, (10, 2, 2, 1)), None: rng.randint(0, 256, (6, 2, 2, 1))}

    def evaluate(split=None):
        images = splits[split]
        for start in range(0, len(images), 4):
            rows = images[start : start + 4].astype(np.uint8)
            padding = 4 - len(rows)
            yield {
                "image": np.concatenate([rows, np.full((padding, 2, 2, 1), 7, np.uint8)]),
                "mask": np.array([1.0] * len(rows) + [0.0] * padding, np.float32),
            }

    import jax

    data = SimpleNamespace(evaluate=evaluate, decode=lambda x: np.asarray(x, np.uint8))
    return SimpleNamespace(data=data, key=jax.random.key(0), sample=lambda batch, key: samples(batch)), splits


def test_samples_and_training_examples_are_held_against_the_evaluation_split():
    run, splits = a_run(lambda batch: 255 - batch["image"])
    result = Frechet()(run)
    train, test = (pixels(splits[split]) for split in ("train", None))
    np.testing.assert_allclose(result["floor"], frechet_distance(fit(train), fit(test)), rtol=1e-9)
    np.testing.assert_allclose(result["distance"], frechet_distance(fit(1 - train), fit(test)), rtol=1e-9)
    assert result["samples"] == 10


def test_samples_as_good_as_data_reach_the_floor_and_their_number_can_be_limited():
    run, splits = a_run(lambda batch: batch["image"])
    result = Frechet(most=5)(run)
    assert result["distance"] == result["floor"] and result["samples"] == 5
    train, test = (pixels(splits[split]) for split in ("train", None))
    np.testing.assert_allclose(result["floor"], frechet_distance(fit(train[:5]), fit(test)), rtol=1e-9)
