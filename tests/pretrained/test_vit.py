import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from tests.pretrained import folders


@pytest.mark.parametrize("case", folders.cases("vit"))
def test_a_folder_answers_as_its_library_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("vit", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")
    folders.distinct(model)


def changed(case, folder, **options):
    """The folder of a case with other options: of transformers in the configuration, of timm among `model_args`."""
    folders.write("vit", case, folder)
    config = json.loads((folder / "config.json").read_text())
    config.get("model_args", config).update(options)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    "case, change, word",
    [
        ("vit", dict(hidden_act="snake"), "snake"),
        ("pooler", dict(pooler_act="snake"), "pooler_act"),
        ("vit", dict(architectures=["ViTForMaskedImageModeling"]), "ViTForMaskedImageModeling"),
        ("vit", dict(num_attention_heads=5), "num_attention_heads = 5 does not divide a width of 24"),
        ("vit", dict(head_dim=4), "head_dim"),
        ("timm", dict(global_pool="map"), "global_pool"),
        ("timm", dict(class_token=False, global_pool="token"), "class_token"),
        ("timm", dict(qk_norm=True), "qk_norm"),
        ("timm", dict(dynamic_img_size=True), "dynamic_img_size"),
        ("timm", dict(act_layer="hard_swish"), "act_layer"),
        ("timm", dict(rope=True), "rope"),
        ("distilled", dict(global_pool="avg"), "global_pool"),
        ("torchvision", dict(conv_stem_configs=[]), "conv_stem_configs"),
        ("torchvision", dict(architecture="vit_s_16"), "vit_s_16"),
        ("timm", dict(img_size=[3, 20]), "images of 3 x 20 are smaller than the network takes, 4 x 4"),
    ],
)
def test_what_no_vit_here_has_is_named(case, change, word, tmp_path):
    changed(case, tmp_path, **change)
    with pytest.raises(UserError, match=word):
        pretrained.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["vit_base_patch16_clip_224", "vit_base_patch14_dinov2", "vit_base_patch16_siglip_224"]
)
def test_other_networks_of_that_family_are_unknown(name):
    with pytest.raises(UserError, match=name):
        pretrained.published({"architecture": name})


def test_images_of_another_size_are_refused(tmp_path):
    folders.write("vit", "teacher", tmp_path)
    with pytest.raises(UserError, match=r"must be \[B, 12, 20, 3\], channels last, not \[1, 20, 12, 3\]"):
        pretrained.load(tmp_path)(pixel_values=np.zeros((1, 20, 12, 3)))


def test_names_that_the_libraries_have_in_memory_or_had_before_are_read(tmp_path):
    """The same network from the same arrays."""
    newer = {"encoder.layer": "layers", "attention.attention.query": "attention.q_proj",
             "attention.attention.key": "attention.k_proj", "attention.attention.value": "attention.v_proj",
             "attention.output.dense": "attention.o_proj", "intermediate.dense": "mlp.fc1",
             "output.dense": "mlp.fc2"}  # fmt: skip
    older = {"mlp.0": "mlp.linear_1", "mlp.3": "mlp.linear_2"}
    for case, renamed in (("vit", newer), ("torchvision", older)):
        found = folders.write("vit", case, tmp_path / case)
        arrays = {}
        for name, array in load_file(tmp_path / case / "model.safetensors").items():
            for before, after in renamed.items():
                name = name.replace(before, after)
            arrays[name] = array
        assert any(after in name for name in arrays for after in renamed.values())
        one = pretrained.load(tmp_path / case)
        save_file(arrays, tmp_path / case / "model.safetensors")
        other = pretrained.load(tmp_path / case)
        assert set(other.kinds) == set(arrays) and found
        folders.equal(one, other)


def test_sizes_and_classes_come_from_where_timm_keeps_them():
    """The options of the builder first, then what the weights were made with, then the name."""
    config = {"architecture": "vit_base_patch16_224.augreg_in21k", "num_classes": 21_843, "global_pool": "token"}
    made = {"pretrained_cfg": {"input_size": [1, 96, 64]}, "label_names": ["a"]}
    for more, shape in (
        ({}, (224, 224, 3)),
        (made, (96, 64, 1)),
        ({**made, "model_args": {"img_size": 32}}, (32, 32, 1)),
    ):
        network = pretrained.published({**config, **more})
        assert network.example[0].shape == (1, *shape)
        assert network.knobs["classes"] == 21_843
