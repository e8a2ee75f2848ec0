"""Mixup and CutMix: shares of labels are shares of pictures, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.methods.supervised import Mix
from aigc_jax.methods.supervised.mixing import box

KEYS = jax.random.split(jax.random.key(0), 400)
IMAGE = jnp.arange(6.0)[:, None, None, None] * jnp.ones((6, 10, 14, 2))  # row b is b everywhere


def mixed(mix):
    """400 mixtures of the same batch: images [400, 6, 10, 14, 2] and shares [400]."""
    image, share = jax.jit(jax.vmap(lambda key: mix(IMAGE, key)))(KEYS)
    return np.asarray(image), np.asarray(share)


def test_mixup_is_one_convex_combination_everywhere():
    image, share = mixed(Mix(mixup=0.8))
    expected = share[:, None] * np.arange(6) + (1 - share[:, None]) * np.arange(6)[::-1]
    np.testing.assert_allclose(image, np.broadcast_to(expected[:, :, None, None, None], image.shape), atol=1e-5)
    assert abs(share.mean() - 0.5) < 0.06
    assert abs(share.var() - 1 / (4 * (2 * 0.8 + 1))) < 0.015  # of Beta(0.8, 0.8)


def test_cutmix_keeps_a_label_by_the_exact_area_that_is_left():
    image, share = mixed(Mix(cutmix=1.0))
    own = image == np.arange(6)[:, None, None, None]
    other = image == np.arange(6)[::-1][:, None, None, None]
    assert (own ^ other).all(), "every pixel is of the one or of the other"
    np.testing.assert_allclose(own.mean((2, 3, 4)), np.repeat(share[:, None], 6, 1), atol=1e-6)
    cut = other[:, 0, :, :, 0]
    np.testing.assert_array_equal(cut.sum((1, 2)), cut.any(2).sum(1) * cut.any(1).sum(1))  # a box
    assert share.min() < 0.2 and share.max() == 1


def test_the_box_has_its_area_where_the_picture_does_not_cut_it():
    boxes = jax.vmap(lambda key: box(100, 80, jnp.float32(0.75), key))(KEYS)
    areas = np.asarray((boxes == 0).sum((1, 2)))
    assert areas.max() == 50 * 40 and (areas == 2000).mean() > 0.15 and areas.min() < 1000
    assert (boxes == 0).any(0).all(), "every pixel can be cut"
    np.testing.assert_array_equal(box(9, 9, jnp.float32(1), KEYS[0]), np.ones((9, 9)))


def test_one_of_the_two_a_batch_by_its_share():
    image, _ = mixed(Mix(mixup=0.8, cutmix=1.0, switch=0.25))
    even = np.ptp(image[:, 0, :, :, 0], axis=(1, 2)) == 0
    assert abs(even.mean() - 0.75) < 0.09
    _, share = mixed(Mix(mixup=0.8, cutmix=1.0, probability=0.3))
    assert abs((share < 1).mean() - 0.3) < 0.09


@pytest.mark.parametrize(
    "mix, message",
    [
        (Mix(), "needs an alpha above 0, got mixup 0.0 and cutmix 0.0"),
        (Mix(mixup=-0.2, cutmix=1.0), "needs an alpha above 0, got mixup -0.2"),
        (Mix(mixup=0.2, switch=1.5), "switch of mixing must lie in"),
        (Mix(mixup=0.2, probability=-1), "probability of mixing must lie in"),
    ],
)
def test_what_cannot_be_is_refused(mix, message):
    with pytest.raises(ValueError, match=message):
        mix.check()
