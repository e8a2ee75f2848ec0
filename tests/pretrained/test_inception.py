from functools import partial

import numpy as np
import pytest

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from aigc_jax.networks.inception import InceptionV3
from aigc_jax.pretrained import inception
from tests.pretrained import folders


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """The width of the golden file: neither library has an option for it."""
    monkeypatch.setattr(inception, "InceptionV3", partial(InceptionV3, width=1 / 16))


@pytest.mark.parametrize("case", folders.cases("inception"))
def test_a_folder_answers_as_its_library_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("inception", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")
    folders.distinct(model)


def test_a_head_that_the_configuration_leaves_out_is_kept_for_the_way_back(tmp_path):
    """As in timm's folder of torchvision's weights."""
    folders.write("inception", "head", tmp_path)
    config = '{"architecture": "inception_v3.tv_in1k", "num_classes": 7}'
    (tmp_path / "config.json").write_text(config)
    model = pretrained.load(tmp_path)
    assert not any("auxiliary" in name for name in model.params)
    folders.check_round_trip(model, tmp_path, tmp_path / "back")


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(norm_layer="groupnorm"), "norm_layer"),
        (dict(act_layer="snake"), "snake"),
        (dict(global_pool="max"), "global_pool"),
        (dict(transform_input=True), "transform_input"),
    ],
)
def test_an_option_that_the_net_of_timm_lacks_is_named(change, word):
    with pytest.raises(UserError, match=word):
        pretrained.published({"architecture": "inception_v3", "model_args": change})


@pytest.mark.parametrize("head, size, words", [(False, 74, "at least 75 x 75, not 74 x 300"), (True, 298, "299 x 299")])
def test_images_too_small_are_refused(head, size, words):
    network = pretrained.published({"architecture": "inception_v3", "model_args": {"aux_logits": head}})
    with pytest.raises(UserError, match=words):
        network.arguments({"pixel_values": np.zeros((1, size, 300, 3))})
