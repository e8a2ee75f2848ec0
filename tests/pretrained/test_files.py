"""Folders that are damaged, incomplete or foreign: one line each, that names the culprit."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aigc_jax import pretrained
from aigc_jax.errors import UserError
from aigc_jax.pretrained.files import open_folder
from aigc_jax.pretrained.tensors import CONV, LEADING, LINEAR, PLAIN, ROW, joined, patches
from tests.pretrained import folders

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    folders.write("resnet", "basic", tmp_path / "net")
    return tmp_path / "net"


def arrays_of(folder):
    return load_file(folder / WEIGHTS)


def refused(folder, *words):
    with pytest.raises(UserError) as caught:
        pretrained.load(folder)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value), caught.value


def test_a_truncated_file_is_named_with_its_bytes(folder):
    whole = (folder / WEIGHTS).read_bytes()
    for length in (len(whole) - 10, 20, 0):
        (folder / WEIGHTS).write_bytes(whole[:length])
        refused(folder, WEIGHTS, "damaged or cut off", f"{length:,} bytes")


@pytest.mark.parametrize("missing", ["classifier.1.bias", "resnet.embedder.embedder.normalization.running_var"])
def test_missing_tensors_are_named(missing, folder):
    arrays = arrays_of(folder)
    del arrays[missing]
    save_file(arrays, folder / WEIGHTS)
    refused(folder, "lacks", missing)


def test_left_over_tensors_are_named(folder):
    save_file({**arrays_of(folder), "resnet.extra.weight": np.ones(3, np.float32)}, folder / WEIGHTS)
    refused(folder, "resnet.extra.weight", "no place")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder):
    arrays = arrays_of(folder)
    arrays["classifier.1.weight"] = np.ones((9, 14), np.float32)
    save_file(arrays, folder / WEIGHTS)
    refused(folder, "classifier.1.weight", "(9, 14)", "(7, 14)")


def test_a_tensor_that_float32_does_not_hold_is_named_with_its_type(folder):
    arrays = arrays_of(folder)
    arrays["classifier.1.bias"] = arrays["classifier.1.bias"].astype(np.float64)
    save_file(arrays, folder / WEIGHTS)
    refused(folder, "classifier.1.bias", "F64")


def test_pickles_are_refused_with_what_to_do(folder):
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    refused(folder, "pickle", "pytorch_model.bin", "save_pretrained")


@pytest.mark.parametrize(
    "config, words",
    [
        ({"model_type": "resnett"}, ["unknown model_type 'resnett'", "resnet"]),
        ({"architecture": "resnet19"}, ["resnet19", "timm"]),
        ({"architecture": "resnet19", "library_name": "torchvision"}, ["resnet19", "torchvision"]),
        ({"hidden_act": "relu"}, ["model_type", "architecture"]),
        ({"model_type": "resnet", "embedding_size": "64"}, ["embedding_size = '64'", "take the quotes off"]),
        ([1], ["must be an object"]),
    ],
)
def test_a_configuration_of_no_known_network_is_refused(config, words, folder):
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder, *words)


def test_folders_without_configuration_or_weights_are_told_apart(folder, tmp_path):
    refused(tmp_path / "nowhere", "no folder")
    (folder / WEIGHTS).unlink()
    refused(folder, "no weights")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json is damaged")
    (folder / "config.json").unlink()
    refused(folder, "no config.json")


def test_shards_are_read_by_their_index_and_a_missing_one_is_named(folder):
    whole, arrays = pretrained.load(folder), arrays_of(folder)
    (folder / WEIGHTS).unlink()
    names = sorted(arrays)
    parts = {"a-00001.safetensors": names[::2], "a-00002.safetensors": names[1::2]}
    for file, inside in parts.items():
        save_file({name: arrays[name] for name in inside}, folder / file)
    refused(folder, "2 safetensors files", INDEX)
    where = {name: file for file, inside in parts.items() for name in inside}
    (folder / INDEX).write_text(json.dumps({"weight_map": where}))
    again = pretrained.load(folder)
    np.testing.assert_array_equal(again.params["head"]["kernel"], whole.params["head"]["kernel"])
    (folder / "a-00002.safetensors").unlink()
    refused(folder, "a-00002.safetensors", "not there")


def test_half_precision_comes_back_as_it_was(folder, tmp_path):
    import ml_dtypes

    kinds = {"classifier.1.weight": np.float16, "classifier.1.bias": ml_dtypes.bfloat16}
    arrays = {name: x.astype(kinds.get(name, x.dtype)) for name, x in arrays_of(folder).items()}
    save_file(arrays, folder / WEIGHTS)
    model = pretrained.load(folder)
    assert model.params["head"]["kernel"].dtype == np.float32
    folders.check_round_trip(model, folder, tmp_path / "back")


def test_a_folder_that_is_not_empty_is_never_written_into(folder, tmp_path):
    model = pretrained.load(folder)
    before = (folder / WEIGHTS).read_bytes()
    with pytest.raises(UserError, match="not empty"):
        pretrained.save(model, folder)
    assert (folder / WEIGHTS).read_bytes() == before
    with pytest.raises(UserError, match="cannot write"):
        pretrained.save(model, folder / WEIGHTS / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net"]


def test_images_of_another_layout_are_refused_with_both_shapes(folder):
    model = pretrained.load(folder)
    for inputs, word in (
        (dict(pixel_values=np.ones((2, 3, 16, 16))), r"\[2, 3, 16, 16\]"),
        (dict(pixel_values=np.ones((16, 16, 3))), "channels last"),
        (dict(images=np.ones((2, 16, 16, 3))), "pixel_values"),
        (dict(pixel_values=np.ones((2, 16, 16, 3), np.uint8)), "uint8"),
    ):
        with pytest.raises(UserError, match=word):
            model(**inputs)


@pytest.mark.parametrize(
    "form, shapes",
    [
        (PLAIN, [(3,)]),
        (LINEAR, [(4, 3)]),
        (CONV, [(4, 3, 2, 5)]),
        (LEADING, [(1, 5, 3)]),
        (ROW, [(1, 1, 6)]),
        (patches(2), [(5, 3, 2, 2)]),
        (joined(LINEAR, 3), [(4, 3)] * 3),
        (joined(PLAIN, 2), [(4,)] * 2),
    ],
)
def test_forms_are_undone_bit_by_bit(form, shapes):
    theirs = [np.random.default_rng(i).standard_normal(shape, np.float32) for i, shape in enumerate(shapes)]
    back = form.theirs(form.ours(*theirs))
    assert len(back) == len(theirs)
    for one, other in zip(theirs, back):
        np.testing.assert_array_equal(one, other)


def test_patches_are_the_strided_convolution():
    import jax
    import jax.numpy as jnp

    from aigc_jax.networks.layers import patchify

    rng = np.random.default_rng(0)
    kernel, image = rng.standard_normal((5, 3, 2, 2), np.float32), rng.standard_normal((1, 6, 4, 3), np.float32)
    ours = jnp.matmul(patchify(image, 2), patches(2).ours(kernel), precision="highest")
    theirs = jax.lax.conv_general_dilated(image, kernel.transpose(2, 3, 1, 0), (2, 2), "VALID",
                                          dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest")  # fmt: skip
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_headers_are_read_without_the_arrays(folder):
    opened = open_folder(folder)
    assert opened.stored["classifier.1.weight"].shape == (7, 14) and opened.stored["classifier.1.weight"].kind == "F32"
