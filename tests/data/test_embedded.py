"""The embedded sets are what they are said to be, and the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest

from aigc_jax.data import embedded
from aigc_jax.data.sources import open_source
from aigc_jax.errors import UserError


def test_digits_are_split_once_and_by_class():
    splits = embedded.digits()
    train, test = splits["train"], splits["test"]
    assert train["image"].shape == (1437, 8, 8, 1) and test["image"].shape == (360, 8, 8, 1)
    assert train["image"].dtype == np.uint8 and train["image"].max() == 255
    share = np.bincount(test["label"]) / (np.bincount(test["label"]) + np.bincount(train["label"]))
    np.testing.assert_allclose(share, 360 / 1797, atol=0.004)
    whole = np.concatenate([train["image"], test["image"]])
    assert whole.astype(int).sum() == np.rint(np.arange(17) * 255 / 16).astype(int)[_levels()].sum()


def _levels() -> np.ndarray:
    from sklearn.datasets import load_digits

    return np.asarray(load_digits(return_X_y=True)[0]).astype(int)


def test_stratified_holds_out_exactly_the_count():
    label = np.repeat([0, 1, 2], [10, 20, 31])
    held = embedded.stratified(label, 17)
    assert held.sum() == 17 and abs(np.bincount(label[held]) - 17 * np.array([10, 20, 31]) / 61).max() < 1
    np.testing.assert_array_equal(held, embedded.stratified(label, 17))


def test_patches_of_test_share_no_pixel_column_with_train():
    from sklearn.datasets import load_sample_images

    splits = embedded.patches(16)
    china = np.asarray(load_sample_images().images[0])
    np.testing.assert_array_equal(splits["train"]["image"][0], china[:16, :16])
    np.testing.assert_array_equal(splits["test"]["image"][0], china[:16, 512:528])
    per_row = len(range(0, 512 - 15, 4))
    np.testing.assert_array_equal(splits["train"]["image"][per_row - 1], china[:16, 496:512])  # ends at column 512
    assert set(splits["test"]["label"]) == {0, 1}


def test_pydoc_is_whole_and_its_last_tenth_is_test():
    splits = embedded.pydoc()
    train, test = (splits[name]["text"][0] for name in ("train", "test"))
    assert len(train) == (len(train) + len(test)) * 9 // 10 and "statement" in train


@pytest.mark.parametrize("name", sorted(embedded.TOYS))
def test_toy_densities_are_fixed_finite_and_centred(name):
    splits = embedded.toy(name)
    x = splits["train"]["x"]
    assert x.shape == (20_000, 2) and splits["test"]["x"].shape == (5_000, 2) and x.dtype == np.float32
    assert np.abs(x.mean(0)).max() < 0.35 and 0.3 < x.std() < 2 and np.abs(x).max() < 12
    np.testing.assert_array_equal(x, embedded.toy(name)["train"]["x"])


def test_a_checkerboard_has_only_dark_squares():
    x = embedded.toy("checkerboard")["train"]["x"]
    assert ((np.floor(x).sum(1) % 2) == 0).all() and np.abs(x).max() <= 2


def test_gaussians_have_eight_equal_modes():
    x = embedded.toy("gaussians")["train"]["x"]
    mode = np.rint(np.arctan2(x[:, 1], x[:, 0]) / (np.pi / 4)).astype(int) % 8
    np.testing.assert_allclose(np.bincount(mode) / len(x), 1 / 8, atol=0.01)


def test_unknown_sources_get_the_nearest_names():
    for name, hint in [("digit", "'digits'"), ("toy:moon", "'moons'"), ("patchs", "'patches'")]:
        with pytest.raises(UserError, match=f"did you mean {hint}"):
            open_source(name)
    with pytest.raises(UserError, match="patches of 300 pixels: the test region is 128 wide"):
        open_source("patches:300")
    with pytest.raises(UserError, match="/ is a path: write files:/"):
        open_source("/")
    with pytest.raises(UserError, match="mnist is read from its files: --data files:DIR"):
        open_source("mnist")
    with pytest.raises(UserError, match="there are: "):
        open_source("zzz")


def test_blanks_put_back_give_the_lines_of_the_text():
    splits = embedded.blanks()
    text = embedded.pydoc()["test"]["text"][0]
    columns = splits["test"]
    assert len(splits["train"]["inputs"]) > 4 * len(columns["inputs"]) > 2_000
    lines = {" ".join(line.split()) for line in text.split("\n")}
    for row in range(0, len(columns["inputs"]), 50):
        length = columns["length"][row]
        letters = columns["inputs"][row, :length].tobytes().decode()
        follows = columns["labels"][row, :length]
        assert "".join(letter + " " * after for letter, after in zip(letters, follows)) in lines
        assert not columns["inputs"][row, length:].any() and not columns["labels"][row, length - 1 :].any()


def test_numbers_are_spelled_and_those_of_test_are_new():
    assert [embedded.spell(n) for n in (0, 17, 40, 342, 100_000, 999_019)] == [
        "zero", "seventeen", "forty", "three hundred forty two", "one hundred thousand",
        "nine hundred ninety nine thousand nineteen",
    ]  # fmt: skip
    splits = embedded.numbers()
    train, test = (splits[name]["figures"] for name in ("train", "test"))
    assert len(train) == 20_000 and len(set(train)) == 20_000 and len(test) == 2_000 and not set(train) & set(test)
    assert {len(figures) for figures in test} == {1, 2, 3, 4, 5, 6}
    assert set(" ".join(splits["train"]["words"]).split()) == set(embedded.NUMBER_WORDS)
    with pytest.raises(ValueError, match="spelled are 0 to 999,999, not 1000000"):
        embedded.spell(1_000_000)


def test_adding_marks_one_number_in_either_half():
    columns = embedded.adding(11)["test"]
    value, mark = columns["inputs"][..., 0], columns["inputs"][..., 1]
    np.testing.assert_array_equal(mark[:, :5].sum(1), 1)
    np.testing.assert_array_equal(mark[:, 5:].sum(1), 1)
    np.testing.assert_allclose(columns["value"], value[mark > 0].reshape(-1, 2).sum(1), rtol=1e-6)
    assert np.mean((columns["value"] - 1) ** 2) == pytest.approx(1 / 6, abs=0.02)
    with pytest.raises(UserError, match="there are 1 steps"):
        open_source("adding:1")
