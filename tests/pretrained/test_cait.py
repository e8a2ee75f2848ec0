import json

import pytest

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from tests.pretrained import folders


@pytest.mark.parametrize("case", folders.cases("cait"))
def test_a_folder_answers_as_timm_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("cait", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")
    folders.distinct(model)


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(global_pool="max"), "global_pool"),
        (dict(num_heads=3), "num_heads = 3 does not divide a width of 20"),
        (dict(class_token=True), "class_token"),
    ],
)
def test_an_option_that_no_cait_here_has_is_named(change, word, tmp_path):
    folders.write("cait", "cait", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"] |= change
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=word):
        pretrained.load(tmp_path)
