import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aigc_jax import pretrained
from aigc_jax.cli.knobs import read_knobs
from aigc_jax.errors import UserError
from aigc_jax.networks.layers import sinusoidal
from tests.pretrained import folders

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "backbones" / "transformer.py"
SOURCE = np.array([[4, 9, 30, 7], [11, 7, 36, 36]])
MASK = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
BEFORE = np.array([[36, 4, 5], [36, 8, 7]])


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    folder = tmp_path_factory.mktemp("marian") / "public"
    folders.write("marian", "public", folder)
    return folder


@pytest.fixture(scope="module")
def model(public):
    return pretrained.load(public)


@pytest.mark.parametrize("case", folders.cases("marian"))
def test_a_folder_answers_and_writes_as_its_library_does_and_is_written_back_bit_by_bit(case, tmp_path):
    found = folders.write("marian", case, tmp_path / case)
    model = folders.check_answers(tmp_path / case, found)
    folders.distinct(model)
    folders.check_round_trip(model, tmp_path / case, tmp_path / "back")
    given = folders.of(found, "input")
    source = {name: given[name] for name in ("input_ids", "attention_mask")}
    for index, options in enumerate(json.loads(str(found.get("searches", "[]")))):
        written = model.generate(**source, **options)
        np.testing.assert_array_equal(written, found[f"tokens/{index}"], err_msg=str(options))


def test_what_is_written_token_by_token_is_what_the_whole_says(model):
    """Greedy: each token is the likeliest after those before it, read at once without a cache."""
    written = model.generate(input_ids=SOURCE, attention_mask=MASK, num_beams=1, forced_eos_token_id=None)
    logits = model(input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=written[:, :-1])["logits"]
    logits = logits - 1e9 * (np.arange(37) == 36)  # a bad word
    ended = np.cumsum(written == 7, 1)[:, :-1] > 0
    np.testing.assert_array_equal(np.where(ended, 36, logits.argmax(-1)), written[:, 1:])
    assert len(np.unique(written)) > 4


def test_labels_make_the_targets_and_the_loss(model):
    labels = np.array([[4, 5, 7], [8, 7, -100]])
    found = model(input_ids=SOURCE, attention_mask=MASK, labels=labels)
    before = np.array([[36, 4, 5], [36, 8, 7]])
    logits = model(input_ids=SOURCE, attention_mask=MASK, decoder_input_ids=before)["logits"]
    np.testing.assert_allclose(found["logits"], logits, atol=1e-6)
    log_p = np.asarray(jax.nn.log_softmax(logits))
    expected = -np.mean([log_p[0, 0, 4], log_p[0, 1, 5], log_p[0, 2, 7], log_p[1, 0, 8], log_p[1, 1, 7]])
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)


def test_a_second_call_of_the_same_shape_and_setting_compiles_nothing(model):
    options = dict(num_beams=2, max_length=4, bad_words_ids=[[36]])
    search = model.published.generate.args[2]
    before = search._cache_size()
    for source in (SOURCE, SOURCE[::-1], SOURCE % 5):
        model.generate(input_ids=source, attention_mask=MASK, **options)
    assert search._cache_size() == before + 1


def spelled(public, tmp_path, change):
    folders.write("marian", "public", tmp_path / "spelled")
    arrays = load_file(public / "model.safetensors")
    change(arrays)
    save_file(arrays, tmp_path / "spelled" / "model.safetensors")
    return tmp_path / "spelled"


def positions(rows):
    return sinusoidal(rows, 15, halves=True)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_older_files_with_copies_of_the_table_and_positions_come_back_as_they_were(kind, public, model, tmp_path):
    def change(arrays):
        table = arrays["model.shared.weight"]
        for name in ("lm_head", "model.encoder.embed_tokens", "model.decoder.embed_tokens"):
            arrays[f"{name}.weight"] = table.copy()
        if kind == np.float16:
            del arrays["model.shared.weight"]
        for side in ("encoder", "decoder"):
            arrays[f"model.{side}.embed_positions.weight"] = positions(24)
        arrays |= {name: array.astype(kind) for name, array in arrays.items()}

    folder = spelled(public, tmp_path, change)
    other = pretrained.load(folder)
    folders.check_round_trip(other, folder, tmp_path / "back")
    atol = 0 if kind == np.float32 else 2e-3
    for ours, theirs in zip(jax.tree.leaves(model.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=atol)


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda x: x.update({"model.encoder.embed_positions.weight": -positions(24)}), "embed_positions.*trained"),
        (lambda x: x.update({"model.encoder.embed_positions.weight": positions(9)}), r"\(9, 15\), but \(24, 15\)"),
        (lambda x: x.update({"lm_head.weight": -x["model.shared.weight"]}), "lm_head.weight and model.shared.weight"),
        (lambda x: x.pop("model.shared.weight"), "lacks model.shared.weight"),
        (lambda x: x.update({"model.encoder.layer_norm.weight": np.ones(15)}), "model.encoder.layer_norm.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change, word, public, tmp_path):
    folder = spelled(public, tmp_path, change)
    with pytest.raises(UserError, match=word):
        pretrained.load(folder)


@pytest.mark.parametrize(
    "change, word",
    [
        (dict(activation_function="snake"), "activation_function.*snake"),
        (dict(normalize_before=True), "normalize_before"),
        (dict(normalize_embedding=True), "normalize_embedding"),
        (dict(add_final_layer_norm=True), "add_final_layer_norm"),
        (dict(static_position_embeddings=False), "static_position_embeddings"),
        (dict(is_decoder=True), "is_decoder"),
        (dict(is_encoder_decoder=False), "is_encoder_decoder"),
        (dict(architectures=["MarianForCausalLM"]), "MarianForCausalLM"),
        (dict(decoder_attention_heads=4), "3 and 4 heads do not divide a width of 15"),
        (dict(encoder_ffn_dim=12), r"fc1.weight is \(11, 15\), but \(12, 15\)"),
    ],
)
def test_an_option_that_no_marian_here_has_is_named(change, word, tmp_path):
    folders.write("marian", "public", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(UserError, match=word):
        pretrained.load(tmp_path)


@pytest.mark.parametrize(
    "inputs, word",
    [
        (dict(decoder_input_ids=BEFORE), r"input_ids \[B, S\] is missing"),
        (dict(input_ids=SOURCE), "decoder_input_ids is missing"),
        (dict(input_ids=SOURCE + 30, decoder_input_ids=BEFORE), r"input_ids holds 39.*0 \.\. 36"),
        (dict(input_ids=SOURCE, decoder_input_ids=-BEFORE), r"decoder_input_ids holds -36"),
        (dict(input_ids=SOURCE, labels=BEFORE + 1), r"labels holds 37"),
        (dict(input_ids=SOURCE[0], decoder_input_ids=BEFORE), r"input_ids must be integers \[B, T\].*\[4\]"),
        (dict(input_ids=SOURCE / 2, decoder_input_ids=BEFORE), "must be integers.*float64"),
        (dict(input_ids=np.ones((1, 25), int), decoder_input_ids=BEFORE), "25 tokens.*is 24"),
        (dict(input_ids=SOURCE, decoder_input_ids=BEFORE[:1]), "2 rows, decoder_input_ids 1"),
        (dict(input_ids=SOURCE, decoder_input_ids=BEFORE, attention_mask=MASK[:, 1:]), r"\[2, 3\], input_ids \[2, 4\]"),
        (dict(input_ids=SOURCE, decoder_input_ids=BEFORE, attention_mask=2 * MASK), "0 and 1"),
        (dict(input_ids=SOURCE, decoder_input_ids=BEFORE, decoder_attention_mask=0 * BEFORE), "decoder_attention_mask"),
        (dict(input_ids=SOURCE, inputs_embeds=BEFORE), "inputs_embeds"),
    ],
)
def test_inputs_that_do_not_fit_are_said_with_the_numbers(inputs, word, model):
    with pytest.raises(UserError, match=word):
        model(**inputs)


@pytest.mark.parametrize(
    "options, word",
    [
        (dict(do_sample=True), "do_sample = True"),
        (dict(num_beam_groups=2), "num_beam_groups = 2"),
        (dict(length_penality=1.0), "did you mean 'length_penalty'"),
        (dict(num_return_sequences=5), "num_return_sequences = 5 must lie in 1 .. num_beams = 4"),
        (dict(max_length=1), "max_length = 1"),
        (dict(max_new_tokens=5000), "5000 new tokens are more than"),
        (dict(early_stopping="always"), "early_stopping.*always"),
        (dict(eos_token_id=[7, 8]), r"eos_token_id = \[7, 8\]"),
        (dict(bad_words_ids=[[37]]), r"bad_words_ids has \[37\]"),
        (dict(decoder_start_token_id=40), "token 40"),
        (dict(decoder_start_token_id=None), "decoder_start_token_id"),
        (dict(input_ids=SOURCE + 30), "input_ids holds 39"),
    ],
)
def test_a_search_that_does_not_exist_here_is_refused_by_name(options, word, model):
    with pytest.raises(UserError, match=word):
        model.generate(**{"input_ids": SOURCE, **options})


def test_a_model_without_its_head_does_not_write(tmp_path):
    folders.write("marian", "bare", tmp_path)
    with pytest.raises(UserError, match="does not write"):
        pretrained.load(tmp_path).generate(input_ids=SOURCE)


def test_the_experiment_takes_the_network_and_the_sizes_of_its_vocabularies(model):
    assert {"published", *model.published.knobs} <= {knob.name for knob in read_knobs(EXPERIMENT)}
    assert pretrained.network(model.config) == model.module
