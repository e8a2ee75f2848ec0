import json

import pytest

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from tests.pretrained import folders


@pytest.mark.parametrize("case", folders.cases("efficientnet"))
def test_a_folder_answers_as_its_library_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("efficientnet", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(hidden_act="snake"), "snake"),
        (dict(pooling_type="median"), "pooling_type"),
        (dict(hidden_dim=64), "hidden_dim = 64"),
        (dict(in_channels=[32, 320]), "in_channels"),
        (dict(kernel_sizes=[3]), "kernel_sizes has 1"),
        (dict(strides=[3, 1]), "strides"),
    ],
)
def test_an_option_of_transformers_that_no_efficientnet_here_has_is_named(change, word, tmp_path):
    folders.write("efficientnet", "classes", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(UserError, match=word):
        pretrained.published({**config, **change})


@pytest.mark.parametrize(
    "name, value",
    [
        ("channel_divisor", 6),
        ("group_size", 8),
        ("output_stride", 16),
        ("pad_type", "valid"),
        ("global_pool", "catavgmax"),
    ],
)
def test_an_option_of_timm_that_no_efficientnet_here_has_is_named(name, value):
    with pytest.raises(UserError, match=name):
        pretrained.published({"architecture": "efficientnet_b0", "model_args": {name: value}})


def test_no_classes_are_no_head(tmp_path):
    """transformers writes an empty table of names then; its logits are the pooled features."""
    folders.write("efficientnet", "classes", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    described = pretrained.published({**config, "id2label": {}, "label2id": {}})
    assert not any(tensor.ours.startswith("params.head.") for tensor in described.tensors)
