from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.inception import InceptionV3
from aigc_jax.pretrained.inception import _tensors
from tests.networks.published import check_fingerprint, count, error, images, listed, run, shapes_of

GOLDEN = Path(__file__).parents[1] / "golden" / "inception.npz"
TINY = dict(classes=7, width=1 / 16, dropout=0.0)


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        (dict(auxiliary=False), 23_834_568),
        (dict(), 27_161_264),
        (dict(classes=1008, auxiliary=False, fid=True), 23_850_960),
    ],
)
def test_the_forms_have_their_counts(fields, parameters):
    assert count(InceptionV3(**fields), 299) == parameters


def test_maps_have_the_sizes_of_the_paper():
    _, features = jax.eval_shape(
        lambda x: InceptionV3().init_with_output(jax.random.key(0), x)[0], jnp.zeros((1, 299, 299, 3))
    )
    assert {name: value.shape[1:] for name, value in features.items()} == {
        "pool_1": (73, 73, 64),
        "pool_2": (35, 35, 192),
        "mixed_6e": (17, 17, 768),
        "pooled": (2048,),
    }


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


def test_logits_and_those_of_the_head_equal_those_of_torchvision(golden):
    counted, fid = InceptionV3(**TINY, count_padding=True), InceptionV3(**TINY, fid=True)
    variables = listed(counted, 299, _tensors(counted), golden)

    def answers(x):
        (trained, more), _ = counted.apply(variables, x, train=True, mutable=["batch_stats"])
        return counted.apply(variables, x), fid.apply(variables, x), trained, more["auxiliary"]

    (logits, features), (fid_logits, _), trained, (head,) = run(answers, images(3, 299, 299))
    assert "auxiliary" not in features
    assert error(logits, golden["logits"]) < 1e-4
    assert error(fid_logits, golden["fid_logits"]) < 1e-4
    assert error(trained, golden["train_logits"]) < 1e-4
    assert error(head, golden["head"]) < 1e-4
    assert error(logits, golden["fid_logits"]) > 1e-2, "the poolings tell the two apart"


def test_the_network_of_the_frechet_distance_gives_the_fingerprint():
    check_fingerprint(InceptionV3(1008, auxiliary=False, fid=True), 299, (-0.033954126, -0.036523356, -0.13026116),
                      -5.4645883e-05, 0.11314143, 576)  # fmt: skip


@pytest.mark.parametrize(
    ("size", "auxiliary", "words"), [(74, False, "at least 75 x 75"), (267, True, "images of 299")]
)
def test_images_too_small_are_refused(size, auxiliary, words):
    with pytest.raises(ValueError, match=words):
        shapes_of(InceptionV3(**TINY, auxiliary=auxiliary), size)
