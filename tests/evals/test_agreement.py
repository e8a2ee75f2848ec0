from types import SimpleNamespace

import numpy as np
import pytest

from aigc_jax.evals.agreement import Agreement, classifier


def pictures(label, seed):
    """Class k has pixel k lit, with noise: easy to tell apart."""
    rng = np.random.RandomState(seed)
    image = rng.uniform(0, 80, (len(label), 4))
    image[np.arange(len(label)), label] += 150
    return image.reshape(-1, 2, 2, 1).astype(np.uint8)


def a_run(answer):
    def evaluate(split=None):
        label = np.arange(40 if split == "train" else 12).astype(np.int32) % 4
        image = pictures(label, seed=0 if split == "train" else 1)
        image[-3:], mask = 255, np.ones(len(label), np.float32)  # padding that would mislead, were it used
        mask[-3:] = 0
        yield {"image": image, "label": label, "mask": mask}

    asked = []

    def sample(batch, key=None):
        asked.append(batch)
        return pictures(answer(batch["label"]), seed=2)

    data = SimpleNamespace(
        evaluate=evaluate, decode=np.asarray, spec={"image": SimpleNamespace(shape=(64, 2, 2, 1))}, info={}
    )
    return SimpleNamespace(data=data, sample=sample), asked


def test_samples_of_the_class_asked_for_agree():
    run, asked = a_run(lambda label: label)
    assert Agreement(per_class=5)(run) == {"agreement": 1.0, "real_accuracy": 1.0}
    assert len(asked) == 1 and asked[0]["image"].shape == (20, 2, 2, 1)
    np.testing.assert_array_equal(asked[0]["label"], np.repeat(np.arange(4), 5))


@pytest.mark.parametrize("wrong, share", [(lambda label: (label + 1) % 4, 0.0), (lambda label: 0 * label, 0.25)])
def test_samples_of_another_class_do_not(wrong, share):
    run, _ = a_run(wrong)
    assert Agreement(per_class=5)(run)["agreement"] == share


def test_the_classifier_chooses_its_width():
    """Stripes: the finer they are, the narrower the kernel must be."""
    x = np.random.RandomState(0).uniform(0, 1, (500, 1))

    def chosen(stripes, stretch):
        return classifier(stretch * x, (np.floor(x[:, 0] * stripes) % 2).astype(int)).gamma

    assert chosen(8, stretch=10.0) == 0.2
    assert chosen(2, stretch=10.0) < 0.2
