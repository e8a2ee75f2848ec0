import numpy as np
import pytest

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from aigc_jax.networks.alexnet import SIZES
from tests.pretrained import folders

CONFIG = {"library_name": "torchvision", "architecture": "alexnet"}


def test_a_folder_answers_as_torchvision_does_and_is_written_back_bit_by_bit(tmp_path, monkeypatch):
    """At the widths of the golden file: torchvision has no option for them."""
    narrow = {**SIZES["one-weird-trick"], "widths": (6, 10, 14, 8, 12), "hidden": 18}
    monkeypatch.setitem(SIZES, "one-weird-trick", narrow)
    found = folders.write("alexnet", "narrow", tmp_path / "narrow")
    model = folders.check_answers(tmp_path / "narrow", found)
    folders.check_round_trip(model, tmp_path / "narrow", tmp_path / "back")
    folders.distinct(model)


def test_other_channels_and_images_that_poolings_use_up_are_refused():
    with pytest.raises(UserError, match="in_chans"):
        pretrained.published({**CONFIG, "in_chans": 1})
    network = pretrained.published(CONFIG)
    assert network.arguments({"pixel_values": np.zeros((1, 63, 63, 3))})
    with pytest.raises(UserError, match="at least 63 x 63, not 62 x 80"):
        network.arguments({"pixel_values": np.zeros((1, 62, 80, 3))})
