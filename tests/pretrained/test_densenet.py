import re

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from tests.pretrained import folders


@pytest.mark.parametrize("case", folders.cases("densenet"))
def test_a_folder_answers_as_its_library_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("densenet", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")
    folders.distinct(model)


def test_names_with_a_dot_are_read_and_written_back(tmp_path):
    """As older files have them, which do not count batches either."""
    folders.write("densenet", "torchvision", tmp_path)
    file, plain = tmp_path / "model.safetensors", pretrained.load(tmp_path)
    dotted = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): value
        for name, value in load_file(file).items()
        if "num_batches" not in name
    }
    assert "features.denseblock1.denselayer3.conv.2.weight" in dotted
    save_file(dotted, file)
    model = pretrained.load(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, model.variables, plain.variables)
    folders.check_round_trip(model, tmp_path, tmp_path / "back")


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(stem_type="deep"), "stem_type"),
        (dict(aa_layer="blurpool"), "aa_layer"),
        (dict(norm_layer="groupnorm"), "norm_layer"),
        (dict(act_layer="snake"), "snake"),
        (dict(num_init_features=64), "num_init_features"),
    ],
)
def test_an_option_that_the_net_lacks_is_named(change, word):
    with pytest.raises(UserError, match=word):
        pretrained.published({"architecture": "densenet121", "model_args": change})


def test_older_names_of_the_net_are_known():
    assert pretrained.published({"architecture": "tv_densenet121"}).knobs["depth"] == 121


def test_images_that_poolings_use_up_are_refused():
    network = pretrained.published({"architecture": "densenet121", "library_name": "torchvision"})
    assert network.arguments({"pixel_values": np.zeros((1, 29, 40, 3))})
    with pytest.raises(UserError, match="at least 29 x 29, not 28 x 40"):
        network.arguments({"pixel_values": np.zeros((1, 28, 40, 3))})
