import json

import pytest

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from tests.pretrained import folders


@pytest.mark.parametrize("case", folders.cases("resnet"))
def test_a_folder_answers_as_its_library_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("resnet", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(hidden_act="snake"), "snake"),
        (dict(layer_type="wide"), "layer_type"),
        (dict(architectures=["ResNetBackbone"]), "ResNetBackbone"),
    ],
)
def test_an_option_that_no_resnet_here_has_is_named(change, word, tmp_path):
    folders.write("resnet", "basic", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=word):
        pretrained.load(tmp_path)
