"""Transformer: translation by attention alone; in small, numbers in English words into figures.

    aigc train transformer --preset laptop                        words into figures, on what Python can spell
    aigc train transformer --preset multi30k --data files:DIR#tok English to German: DIR holds Multi30k, task 1
    aigc train transformer --preset big --data files:DIR --columns en,fr --dropout 0.1

Parallel texts are cut into byte pairs of one vocabulary, learned from the training split; one matrix serves source, target
and softmax. The paper's model has 63,045,632 parameters at its 37,000 units, the big one 214,171,648. It published 27.3 BLEU
(big 28.4) English to German, with compounds split.

`multi30k` is a net of 4 layers of 128 and 2.5 million parameters, as the smallest of arXiv:2105.14462, which published 41.0
BLEU on tokenised text; 4,000 steps, 18 epochs, reach 38.3. The laptop net has one layer of 64 on either side, a table of the
source's own since words and figures share nothing, and norms before the branches; it writes 998 of 1,000 numbers held out
without a mistake.
"""

from __future__ import annotations

from typing import Any, Literal

from aigc_jax.cli import run_file
from aigc_jax.data import load_bpe_pairs, load_pairs
from aigc_jax.evals.text import Bleu
from aigc_jax.experiment import Experiment
from aigc_jax.methods.language.transformer import RULES, transformer_translator, warmed_adam
from aigc_jax.networks.transformer import SIZES, Positions, Transformer
from aigc_jax.pretrained import network

SYSTEMS = ["transformer"]
PAPER = "Vaswani et al., Attention Is All You Need, arXiv:1706.03762"
PRESETS = {
    "paper": {},
    "base": {},
    "big": dict(size="big", dropout=0.3, steps=300_000),
    "multi30k": dict(data="files:multi30k_en_de#tok", bleu="none", vocab=9_000, source_length=36, target_length=36,
                     width=128, depth=4, inner=256, heads=4, dropout=0.2, steps=4_000, batch_size=128, warmup=1_500,
                     lr=2.0, average=0.998, half=False),
    "laptop": dict(data="numbers", columns=("words", "figures"), tokenizers=("word", "char"), source_length=10,
                   target_length=7, source_vocab=32, vocab=12, width=64, depth=1, inner=256, heads=4, dropout=0.0,
                   pre_norm=True, smoothing=0.0, average=0.98, steps=1_500, batch_size=64, warmup=200,
                   lr=0.7, half=False, bleu="char"),
}  # fmt: skip
EXPECTED = {
    "multi30k": dict(metric="sacrebleu/bleu", value=30.0, tolerance=0.0, direction="max", device="2 CPU cores",
                     minutes=120),
    "laptop": dict(metric="eval/exact", value=0.998, tolerance=0.006, direction="max", device="2 CPU cores", minutes=2),
}  # fmt: skip


def experiment(
    *,
    data: str = "files:wmt14_en_de",
    columns: tuple[str, ...] = ("en", "de"),
    tokenizers: tuple[str, ...] = ("bpe", "bpe"),  # section 5.1; else "char", "word" or a tokenizer.json of either side
    vocab: int = 37_000,  # section 5.1
    source_vocab: int | None = None,  # of a token table of its own
    source_length: int = 128,
    target_length: int = 128,
    size: Literal["base", "big"] = "base",
    width: int | None = None,  # these four: None is what the size says, table 3
    depth: int | None = None,
    inner: int | None = None,
    heads: int | None = None,
    dropout: float = 0.1,  # section 5.4
    pre_norm: bool = False,
    positions: Positions = "sinusoidal",  # section 3.5
    attention_bias: bool = False,  # as in the authors' code
    activation: Literal["relu", "gelu", "swish"] = "relu",  # eq. (2)
    published: dict[str, Any] | None = None,  # config.json of published weights: their network instead, see --init-from
    smoothing: float = 0.1,  # section 5.4
    average: float = 0.9997,  # for section 6.1's mean of 5 checkpoints, ten minutes or 1,400 steps apart
    steps: int = 100_000,  # section 5.2
    batch_size: int = 896,  # sentences; section 5.1: 25,000 tokens of either side, about 28 a sentence
    lr: float = 1.0,  # times eq. (3)
    warmup: int = 4_000,  # section 5.3
    beams: int = 4,  # section 6.1
    alpha: float = 0.6,  # section 6.1
    bleu: Literal["13a", "none", "char"] = "13a",  # sacrebleu's tokenizer; "none" where the texts are tokenised
    half: bool = True,  # compute in bfloat16
    seed: int = 0,
) -> Experiment:
    table, dtype = SIZES[size], "bfloat16" if half else None
    if published:
        net = network(published, dropout=dropout, dtype=dtype)
    else:
        net = Transformer(
            vocab, width or table["width"], depth or table["depth"], inner or table["inner"], heads or table["heads"],
            dropout, pre_norm, positions, attention_bias, activation, source_vocab,
            context=max(source_length, target_length), dtype=dtype,
        )  # fmt: skip
    pair = (columns[0], columns[1])
    lengths = (source_length, target_length)
    if tokenizers[0] == "bpe":
        pairs = load_bpe_pairs(data, batch_size=batch_size, columns=pair, lengths=lengths, vocab=vocab)
    else:
        pairs = load_pairs(data, batch_size=batch_size, columns=pair, lengths=lengths,
                           vocab=(source_vocab or vocab, vocab), tokenizers=(tokenizers[0], tokenizers[1]))  # fmt: skip
    method = transformer_translator(
        net, warmed_adam(net.width, warmup, lr), smoothing=smoothing, average=average, beams=beams, alpha=alpha
    )
    return Experiment(method, pairs, steps, seed, RULES, evals={"sacrebleu": Bleu(columns[1], tokenize=bleu)})


if __name__ == "__main__":
    run_file(__file__)
