import json
from functools import partial

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from aigc_jax.networks.googlenet import GoogLeNet
from aigc_jax.pretrained import googlenet
from aigc_jax.pretrained.origin import knobs_of
from tests.pretrained import folders

CONFIG = {"library_name": "torchvision", "architecture": "googlenet"}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """The width of the golden file: torchvision has no option for it."""
    monkeypatch.setattr(googlenet, "GoogLeNet", partial(GoogLeNet, width=1 / 8))


@pytest.mark.parametrize("case", folders.cases("googlenet"))
def test_a_folder_answers_as_torchvision_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("googlenet", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")
    folders.distinct(model)


def test_heads_that_the_configuration_leaves_out_are_kept_for_the_way_back(tmp_path):
    folders.write("googlenet", "heads", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert pretrained.load(tmp_path).published.knobs["auxiliary"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "aux_logits": False}))
    model = pretrained.load(tmp_path)
    assert not any("auxiliary" in name for name in model.params)
    assert knobs_of(model.config, model.published)["auxiliary"] == 0
    folders.check_round_trip(model, tmp_path, tmp_path / "back")


def test_a_configuration_that_says_nothing_of_heads_follows_its_arrays(tmp_path):
    folders.write("googlenet", "heads", tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({name: x for name, x in load_file(file).items() if not name.startswith("aux")}, file)
    assert not any("auxiliary" in name for name in pretrained.load(tmp_path).params)


def test_an_option_that_the_net_lacks_and_small_images_are_refused():
    with pytest.raises(UserError, match="transform_inputs"):
        pretrained.published({**CONFIG, "transform_inputs": True})
    with pytest.raises(UserError, match="at least 15 x 15, not 14 x 20"):
        pretrained.published(CONFIG).arguments({"pixel_values": np.zeros((1, 14, 20, 3))})
