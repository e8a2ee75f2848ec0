import pytest

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from tests.pretrained import folders


@pytest.mark.parametrize("case", folders.cases("preactivation"))
def test_a_folder_answers_as_timm_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("preactivation", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")
    folders.distinct(model)


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(output_stride=16), "output_stride"),
        (dict(stem_type="deep"), "stem_type"),
        (dict(avg_down=True), "avg_down"),
        (dict(preact=False), "preact"),
        (dict(norm_layer="groupnorm"), "norm_layer"),
        (dict(conv_layer="std"), "conv_layer"),
        (dict(act_layer="snake"), "snake"),
        (dict(global_pool="max"), "global_pool"),
    ],
)
def test_an_option_that_the_net_lacks_is_named(change, word):
    with pytest.raises(UserError, match=word):
        pretrained.published({"architecture": "resnetv2_50.a1h_in1k", "model_args": change})


def test_names_of_labels_change_nothing():
    network = pretrained.published({"architecture": "resnetv2_18", "num_classes": 2, "label_names": ["cat", "dog"]})
    assert network.shapes()["params.head.kernel"] == (512, 2)


@pytest.mark.parametrize("name", ["resnetv2_50d", "resnetv2_50x1_bit"])
def test_other_nets_of_that_name_are_unknown(name):
    with pytest.raises(UserError, match=name):
        pretrained.published({"architecture": name})
