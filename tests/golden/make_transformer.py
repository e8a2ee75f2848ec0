"""Makes transformer.npz: transformers' Marian (post-norm) with its beam search, and torch's pre-norm stacks.

Random weights in every tensor, odd sizes, sources of different lengths. Needs torch and transformers:
`python tests/golden/make_transformer.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch

PATH = Path(__file__).with_name("transformer.npz")
VOCAB, WIDTH, HEADS, INNER, END, PAD = 53, 18, 3, 22, 7, 52
LENGTHS = [9, 4, 6, 1]


def marian():
    """transformers' Marian; it imports torchvision, whose ops do not load beside a CPU torch, but their names are enough."""
    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import transformers

    config = transformers.MarianConfig(
        vocab_size=VOCAB, d_model=WIDTH, encoder_layers=3, decoder_layers=2, encoder_attention_heads=HEADS,
        decoder_attention_heads=2, encoder_ffn_dim=INNER, decoder_ffn_dim=26, activation_function="swish",
        scale_embedding=True, max_position_embeddings=32, pad_token_id=PAD, eos_token_id=END,
        decoder_start_token_id=PAD, forced_eos_token_id=END, dropout=0.0,
    )  # fmt: skip
    return transformers.MarianMTModel(config).eval()


def fill(model: torch.nn.Module) -> None:
    """Scales of norms lie around 1 and -1: with those around 1 a tied net likes best the token it has just read."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "embed_positions" not in name:
                around = torch.randn_like(tensor).sign() if "norm" in name and name.endswith("weight") else 0.0
                tensor.copy_(around + 0.3 * torch.randn_like(tensor))


def translated() -> dict[str, np.ndarray]:
    """Logits of given targets, gradients, and what beam search writes with Marian's penalty and others."""
    model = marian()
    torch.manual_seed(6)  # and the lift below: texts of 1, 3 and 13 tokens come first
    fill(model)
    model.final_logits_bias.copy_(0.3 * torch.randn(1, VOCAB))
    model.final_logits_bias[0, END] += 1.5
    source = torch.randint(0, VOCAB - 1, (len(LENGTHS), max(LENGTHS)))
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    source[~mask] = PAD
    target = torch.randint(0, VOCAB - 1, (len(LENGTHS), 8))
    before = torch.nn.functional.pad(target[:, :-1], (1, 0), value=PAD)
    logits = model(input_ids=source, attention_mask=mask.long(), decoder_input_ids=before).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten()).backward()
    named = dict(model.named_parameters())
    found = {f"weight/{name}": tensor.detach().numpy() for name, tensor in named.items() if "embed_pos" not in name}
    found |= {"weight/final_logits_bias": model.final_logits_bias.numpy(), "source": source.numpy(),
              "length": np.array(LENGTHS), "before": before.numpy(), "logits": logits.detach().numpy(),
              "target": target.numpy()}  # fmt: skip
    for name in ("model.shared.weight", "model.encoder.layers.1.fc1.weight"):
        found[f"gradient/{name}"] = named[name].grad.numpy()
    for name, penalty, stop in (("present", 1.0, False), ("full", 0.7, True), ("bound", 0.5, "never")):
        answer = model.generate(
            input_ids=source, attention_mask=mask.long(), num_beams=4, num_return_sequences=4, max_length=14,
            length_penalty=penalty, early_stopping=stop, bad_words_ids=[[PAD]], return_dict_in_generate=True,
            output_scores=True, do_sample=False,
        )  # fmt: skip
        found |= {f"beam/{name}": answer.sequences.numpy(), f"score/{name}": answer.sequences_scores.numpy()}
    lengths = {int((row != PAD).sum()) for row in found["beam/present"][::4]}
    assert len(lengths) > 2, lengths
    return found


def stacked() -> dict[str, np.ndarray]:
    """torch's nn.Transformer with norm_first, from vectors: its last norms and all biases of the attention."""
    torch.manual_seed(1)
    model = torch.nn.Transformer(WIDTH, HEADS, 2, 2, INNER, 0.0, batch_first=True, norm_first=True).eval()
    fill(model)
    source, target = torch.randn(len(LENGTHS), max(LENGTHS), WIDTH), torch.randn(len(LENGTHS), 5, WIDTH)
    padding = torch.arange(max(LENGTHS)) >= torch.tensor(LENGTHS)[:, None]
    causal = torch.ones(5, 5).triu(1).bool()
    y = model(source, target, tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    found = {f"torch/weight/{name}": tensor.detach().numpy() for name, tensor in model.named_parameters()}
    return found | {"torch/source": source.numpy(), "torch/target": target.numpy(), "torch/out": y.detach().numpy()}


def build() -> dict[str, np.ndarray]:
    return translated() | stacked()


if __name__ == "__main__":
    golden.main(PATH, build)
