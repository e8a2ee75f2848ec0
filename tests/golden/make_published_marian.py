"""Makes published_marian.npz: folders of transformers' Marian, small and odd, with their answers and what they write.

Needs torch, transformers and torchvision: `python tests/golden/make_published_marian.py` writes, `--check` recomputes and
compares; `--folders DIR PATTERN` writes public sizes (published.py).
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import published
import reference
import torch

PATH = Path(__file__).with_name("published_marian.npz")
VOCAB, END, PAD = 37, 7, 36
LENGTHS = [9, 4, 6, 1]


def make(kind: str, seed: int, **fields: Any) -> tuple[torch.nn.Module, None]:
    """Norms have scales around 1 and -1: with those around 1 a tied net likes best the token it has just read."""
    library = reference.library("transformers")
    model = getattr(library, kind)(library.MarianConfig(**{**ODD, **fields}))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("_layer_norm.weight"):
                tensor.copy_(torch.randn_like(tensor).sign() + 0.3 * torch.randn_like(tensor))
        if kind == "MarianMTModel":
            model.final_logits_bias.copy_(0.3 * torch.randn(model.final_logits_bias.shape))
            model.final_logits_bias[0, END] += 1.5  # texts of several lengths
    return model, None


def answer(model: torch.nn.Module, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    found = model(**inputs)
    names = ("logits", "last_hidden_state", "encoder_last_hidden_state")
    return {name: found[name] for name in names if name in found}


def written(folder: Path, inputs: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Options and tokens of several searches; one folder is laid out as the public ones before there was a file for them."""
    config = json.loads((folder / "config.json").read_text())
    if config["architectures"] == ["MarianModel"]:
        return {}
    if config["activation_function"] == "swish":
        (folder / "config.json").write_text(json.dumps(config | AS_PUBLIC))
        (folder / "generation_config.json").unlink()
    model = reference.library("transformers").MarianMTModel.from_pretrained(folder).eval()
    source = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    runs = SEARCHES[config["activation_function"]]
    found = {"searches": np.str_(json.dumps(runs))}
    return found | {f"tokens/{index}": model.generate(**source, **run).numpy() for index, run in enumerate(runs)}


ODD = dict(
    vocab_size=VOCAB, d_model=15, encoder_layers=2, decoder_layers=1, encoder_attention_heads=3,
    decoder_attention_heads=5, encoder_ffn_dim=11, decoder_ffn_dim=13, max_position_embeddings=24, pad_token_id=PAD,
    eos_token_id=END, decoder_start_token_id=PAD, forced_eos_token_id=END,
)  # fmt: skip
AS_PUBLIC = dict(
    num_beams=4, max_length=14, bad_words_ids=[[PAD]], normalize_before=False, normalize_embedding=False,
    add_final_layer_norm=False, static_position_embeddings=True, add_bias_logits=False, extra_pos_embeddings=VOCAB,
)  # fmt: skip
"""As the configurations of Helsinki-NLP/opus-mt-... have them."""
SEARCHES = {
    "swish": [
        {},
        dict(num_beams=1),
        dict(num_beams=5, early_stopping=True, length_penalty=0.6, max_new_tokens=12, num_return_sequences=5),
        dict(early_stopping="never", length_penalty=2.0, num_return_sequences=2),
        dict(early_stopping="never", length_penalty=-0.5, num_return_sequences=4, bad_words_ids=None),
        dict(num_beams=3, max_length=6, forced_eos_token_id=None, forced_bos_token_id=9, num_return_sequences=3),
        dict(num_beams=3, max_length=2),
    ],
    "relu": [
        {},
        dict(num_beams=1, repetition_penalty=1.7, no_repeat_ngram_size=2, min_length=6, max_length=15),
        dict(num_beams=4, repetition_penalty=1.3, no_repeat_ngram_size=1, renormalize_logits=True, max_length=12,
             bad_words_ids=[[20], [3, 5], [9]], min_new_tokens=4, num_return_sequences=4),
        dict(num_beams=4, suppress_tokens=[20, 11], begin_suppress_tokens=[END, 4], num_return_sequences=4),
    ],
}  # fmt: skip


def tokens(target: int, holes: bool = False) -> dict[str, torch.Tensor]:
    """Sources of different lengths, targets of tokens below `target`; with holes in the mask, or the padding on the left."""
    torch.manual_seed(3)
    source = torch.randint(0, PAD, (len(LENGTHS), max(LENGTHS)))
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    if holes:
        mask = torch.stack([mask[0].flip(0), mask[1].flip(0), mask[2].roll(2), mask[3]])
        mask[0, 4] = False
    source[~mask] = PAD
    return {"input_ids": source, "attention_mask": mask.long(),
            "decoder_input_ids": torch.randint(0, target, (len(LENGTHS), 6))}  # fmt: skip


SMALL = {
    "bare": (partial(make, "MarianModel", 1, encoder_attention_heads=5), tokens(PAD)),
    "bare_separate": (partial(make, "MarianModel", 2, share_encoder_decoder_embeddings=False, decoder_vocab_size=29,
                              pad_token_id=5), tokens(29)),
    "public": (partial(make, "MarianMTModel", 2, activation_function="swish", scale_embedding=True), tokens(PAD)),
    "separate": (partial(make, "MarianMTModel", 18, activation_function="relu", decoder_vocab_size=29, d_model=20,
                         encoder_attention_heads=2, share_encoder_decoder_embeddings=False, pad_token_id=0,
                         decoder_start_token_id=0), tokens(29, holes=True)),
    "untied": (partial(make, "MarianMTModel", 25, activation_function="relu", tie_word_embeddings=False), tokens(PAD)),
}  # fmt: skip
PUBLIC = {"opus_mt_en_de": partial(
    make, "MarianMTModel", 0, vocab_size=58_101, d_model=512, encoder_layers=6, decoder_layers=6,
    encoder_attention_heads=8, decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048,
    max_position_embeddings=512, pad_token_id=58_100, eos_token_id=0, decoder_start_token_id=58_100,
    forced_eos_token_id=0, activation_function="swish", scale_embedding=True,
)}  # fmt: skip
PUBLIC["opus_mt_en_de"].inputs = tokens(PAD)

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer, written)
