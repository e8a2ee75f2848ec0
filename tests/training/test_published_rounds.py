"""Published weights as a run with other classes, other sizes or no auxiliary heads, and back: every layout."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file, save_file

from aigc_jax import pretrained
from aigc_jax.pretrained.origin import compact, refilled
from aigc_jax.training.weights import export_weights, import_weights
from tests.pretrained import folders

CNN = dict(net="cifar", size=8)
TINY_VIT = dict(hidden_size=12, num_hidden_layers=1, num_attention_heads=3, intermediate_size=20, patch_size=4)
TINY_TIMM = dict(embed_dim=12, num_heads=3, depth=1, mlp_ratio=2.0, patch_size=4, img_size=8)
TINY_SWIN = dict(embed_dim=8, depths=[1, 1], num_heads=[2, 2], patch_size=2, window_size=2)
LABELS = {"id2label": {str(i): f"kind {i}" for i in range(4)}}
CASES = {
    "resnet": (dict(model_type="resnet", architectures=["ResNetModel"], layer_type="basic", embedding_size=4,
                    hidden_sizes=[4, 6], depths=[1, 1]), CNN),
    "timm_resnet": (dict(architecture="resnet18.a1", num_classes=4, label_names=[*"abcd"],
                         model_args=dict(layers=[1, 1], channels=[4, 6])), CNN),
    "torchvision_densenet": (dict(library_name="torchvision", architecture="densenet121", num_classes=4, growth_rate=3,
                                  block_config=[1, 2], num_init_features=4), dict(CNN, size=32)),
    "vit": (dict(model_type="vit", architectures=["ViTForImageClassification"], image_size=8, **TINY_VIT, **LABELS),
            dict(size=12)),
    "deit": (dict(model_type="deit", architectures=["DeiTForImageClassificationWithTeacher"], image_size=8, **TINY_VIT,
                  **LABELS), dict(size=8)),
    "timm_vit": (dict(architecture="vit_tiny_patch16_224", num_classes=4, model_args=TINY_TIMM,
                      pretrained_cfg=dict(input_size=[3, 8, 8], num_classes=4)), dict(size=12)),
    "torchvision_vit": (dict(library_name="torchvision", architecture="vit_b_16", num_classes=4, image_size=8, patch_size=4,
                             num_layers=1, num_heads=3, hidden_dim=12, mlp_dim=20), dict(size=12)),
    "swin": (dict(model_type="swin", architectures=["SwinModel"], image_size=16, **TINY_SWIN), dict(size=8)),
    "timm_swin": (dict(architecture="swin_tiny_patch4_window7_224", num_classes=4,
                       model_args=dict(TINY_SWIN, img_size=8)), dict(size=16)),
    "torchvision_swin": (dict(library_name="torchvision", architecture="swin_t", num_classes=4,
                              **{**TINY_SWIN, "patch_size": [2, 2], "window_size": [2, 2]}), dict(size=8)),
}  # fmt: skip


def drawn(shapes):
    rng = np.random.default_rng(0)
    return unflatten_dict({path: rng.random(shape, np.float32) for path, shape in shapes.items()}, sep=".")


def made(config, folder):
    """The folder of a configuration, its weights drawn at random."""
    described = pretrained.published(config)
    pretrained.save(pretrained.Model(described, drawn(described.shapes()), config), folder)
    return folder


def round_trip(source, folder, **knobs):
    import_weights(source, folder / "run", lambda line: None, data="digits", **knobs)
    export_weights(folder / "run", folder / "back")
    return pretrained.load(folder / "back")


def refitted(source, folder, classes, size):
    """As a round trip, without the run: the arrays of a network of so many classes, for pictures of that size."""
    model = pretrained.load(source)
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    wanted = flatten_dict(jax.eval_shape(model.module.clone(classes=classes).init, jax.random.key(0), images), sep=".")
    came = flatten_dict(model.variables, sep=".")
    arrays = {path: came[path] if path in came and came[path].shape == leaf.shape else np.zeros(leaf.shape, np.float32)
              for path, leaf in wanted.items()}  # fmt: skip
    pretrained.save(refilled(model, unflatten_dict(arrays, sep="."), classes, size), folder / "back")
    return pretrained.load(folder / "back")


@pytest.mark.parametrize("case", CASES)
def test_other_classes_and_sizes_are_in_the_configuration_that_is_written(case, tmp_path):
    config, knobs = CASES[case]
    source = made(config, tmp_path / "source")
    if case in ("resnet", "timm_vit"):  # that a run is made and written is the same for all
        after = round_trip(source, tmp_path, classes=10, **knobs)
    else:
        after = refitted(source, tmp_path, 10, knobs["size"])
    before = pretrained.load(source)
    assert after.module.classes == 10 and not {"label_names", "label_descriptions"} & set(after.config)
    assert after.config.get("id2label") is None or len(after.config["id2label"]) == 10
    if after.published.fixed:
        assert after.published.example[0].shape[1:3] == (knobs["size"],) * 2
    flat, came = (flatten_dict(model.variables, sep=".") for model in (after, before))
    for path, array in came.items():
        if "head" not in path and "positions" not in path:
            np.testing.assert_array_equal(flat[path], array)


def test_another_size_alone_is_in_the_configuration(tmp_path):
    config, _ = CASES["timm_swin"]
    config = {**config, "pretrained_cfg": {"input_size": [3, 8, 8]}}
    model = refitted(made(config, tmp_path / "source"), tmp_path, 4, 16)
    assert model.config["model_args"]["img_size"] == 16 and model.config["pretrained_cfg"]["input_size"] == [3, 16, 16]
    assert model(pixel_values=np.zeros((1, 16, 16, 3)))["logits"].shape == (1, 4)


def test_names_that_older_files_have_are_written_back(tmp_path):
    """timm's Swin in the names of the released files, with the masks that follow from the sizes."""
    source = made(CASES["timm_swin"][0], tmp_path / "source")
    file = source / "model.safetensors"
    arrays = {name.replace("layers.1.downsample", "layers.0.downsample").replace("head.fc", "head"): array
              for name, array in load_file(file).items()}  # fmt: skip
    arrays["layers.0.blocks.0.attn_mask"] = np.zeros((4, 4, 4), np.float32)
    save_file(arrays, file)
    folders.check_round_trip(round_trip(source, tmp_path), source, tmp_path / "again")
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert {name: x.tobytes() for name, x in back.items()} == {name: x.tobytes() for name, x in arrays.items()}


@pytest.mark.parametrize("config", [
    {"library_name": "torchvision", "architecture": "googlenet"},
    {"library_name": "torchvision", "architecture": "inception_v3", "aux_logits": True},
    {"architecture": "inception_v3", "num_classes": 1000, "model_args": {"aux_logits": True}},
])  # fmt: skip
def test_auxiliary_heads_that_a_run_left_out_are_left_out_of_the_configuration(config):
    described = pretrained.published(config)
    kept = {path: np.empty(shape, np.float32) for path, shape in described.shapes().items() if "auxiliary" not in path}
    model = refilled(pretrained.Model(described, {}, config), unflatten_dict(kept, sep="."), 1000, 299)
    assert model.published.module.auxiliary is False
    assert model.config.get("model_args", model.config)["aux_logits"] is False


def test_the_knob_holds_no_names_of_classes():
    for config in (CASES["timm_resnet"][0], CASES["vit"][0], {**CASES["vit"][0], "id2label": {}}):
        short = compact(config)
        assert not {"label_names", "id2label", "label2id"} & set(short)
        assert pretrained.published(short).knobs["classes"] == pretrained.published(config).knobs["classes"]
