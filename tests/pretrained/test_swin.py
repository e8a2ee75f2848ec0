import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from tests.pretrained import folders


@pytest.mark.parametrize("case", folders.cases("swin"))
def test_a_folder_answers_as_its_library_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("swin", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")
    folders.distinct(model)


@pytest.mark.parametrize(
    "case, change, word",
    [
        ("swin", dict(hidden_act="snake"), "snake"),
        ("swin", dict(architectures=["SwinBackbone"]), "SwinBackbone"),
        ("swin", dict(window_size=7), "images of 17 x 43 are smaller than the network takes, 25 x 37"),
        ("swin", dict(num_heads=[2, 5]), "num_heads = 5 does not divide a width of 16"),
        ("timm", dict(window_size=[4, 4, 4]), "window_size"),
        ("timm", dict(always_partition=True), "always_partition"),
        ("timm", dict(global_pool="max"), "global_pool"),
        ("timm", dict(ape=True), "ape"),
        ("torchvision", dict(architecture="swin_v2_t"), "swin_v2_t"),
    ],
)
def test_what_no_swin_here_has_is_named(case, change, word, tmp_path):
    folders.write("swin", case, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.get("model_args", config).update(change)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=word):
        pretrained.load(tmp_path)


def test_images_of_other_sizes_are_taken_where_the_library_takes_them(tmp_path):
    refused = {"absolute": (16, 20), "timm": (16, 20), "swin": (8, 43)}
    for case, size in refused.items():
        folders.write("swin", case, tmp_path / case)
        with pytest.raises(UserError, match=r"must be|at least 9 x 13, not 8 x 43"):
            pretrained.load(tmp_path / case)(pixel_values=np.zeros((1, *size, 2 if case == "swin" else 3)))


def test_released_files_and_names_in_memory_are_read(tmp_path):
    """The same network from the same arrays; what follows from the sizes may stand beside them, and is written back."""
    newer = {"attention.self.query": "attention.q_proj", "attention.self.key": "attention.k_proj",
             "attention.self.value": "attention.v_proj", "attention.output.dense": "attention.o_proj",
             "attention.self.relative": "attention.relative_position_bias.relative", "intermediate.dense": "mlp.fc1",
             "output.dense": "mlp.fc2"}  # fmt: skip
    released = {"layers.1.downsample": "layers.0.downsample", "head.fc": "head"}
    beside = {"layers.0.blocks.1.attn_mask": np.zeros((2, 9, 9), np.float32),
              "layers.0.blocks.1.attn.relative_position_index": np.zeros((9, 9), np.int64)}  # fmt: skip
    for case, renamed, more in (("swin", newer, {}), ("timm", released, beside)):
        folders.write("swin", case, tmp_path / case)
        arrays = dict(more)
        for name, array in load_file(tmp_path / case / "model.safetensors").items():
            for before, after in renamed.items():
                name = name.replace(before, after)
            arrays[name] = array
        one = pretrained.load(tmp_path / case)
        save_file(arrays, tmp_path / case / "model.safetensors")
        other = pretrained.load(tmp_path / case)
        assert set(other.kinds) == set(arrays) != set(one.kinds)
        folders.equal(one, other)
        folders.check_round_trip(other, tmp_path / case, tmp_path / f"{case}_back")


def test_a_network_of_no_file_is_written_with_the_index_that_torchvision_keeps(tmp_path):
    found = folders.write("swin", "torchvision", tmp_path)
    model = pretrained.load(tmp_path)
    fresh = pretrained.Model(model.published, model.variables, model.config)
    pretrained.save(fresh, tmp_path / "fresh")
    written = load_file(tmp_path / "fresh" / "model.safetensors")
    name = "features.1.0.attn.relative_position_index"
    np.testing.assert_array_equal(written[name], found[f"stored/{name}"])
