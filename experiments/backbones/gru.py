"""GRU: a language model in either of the two conventions, reset before the product as proposed or after it as in cuDNN.

    aigc train gru --preset laptop                                Python's documentation, byte by byte
    aigc train gru --preset laptop --cell gru                     the other convention
    aigc train gru --data files:DIR                               Penn Treebank, word by word: DIR holds ptb.*.txt

The paper's net translates phrases; the preset is its decoder by itself: 1,000 units over words of 100 dimensions, the
recurrent matrices orthogonal, Adadelta on batches of 64 (section 4.1). Its 15,000 words are here the 10,000 of Penn
Treebank, its maxout layer before the softmax is left out, and the state is carried through the text.
"""

from __future__ import annotations

from typing import Literal

import optax

from aigc_jax.cli import run_file
from aigc_jax.data import load_text
from aigc_jax.experiment import Experiment
from aigc_jax.methods.language.gpt import token_nats
from aigc_jax.methods.language.recurrent import carried, recurrent_language_model
from aigc_jax.networks.recurrent import RULES, LanguageModel, Recurrent
from aigc_jax.training.panels import gradient_flow

SYSTEMS = ["gru"]
PAPER = "Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, arXiv:1406.1078"
PRESETS = {
    "paper": {},
    "laptop": dict(data="pydoc", tokenizer="byte", vocab=256, width=224, embedding=64, length=64, optimizer="adam",
                   steps=1000, batch_size=32, lr=4e-3, prompt=16),
}  # fmt: skip
EXPECTED = {
    "laptop": dict(metric="carried/nats_per_token", value=1.2, tolerance=0.02, direction="min", device="2 CPU cores",
                   minutes=3),
}  # fmt: skip


def experiment(
    *,
    data: str = "files:ptb",
    tokenizer: str = "word",
    vocab: int = 10_000,
    cell: Literal["elman", "lstm", "gru", "gru_before"] = "gru_before",  # appendix A
    width: int = 1000,  # section 4.1
    embedding: int = 100,  # section 4.1
    depth: int = 1,
    tied: bool = False,
    length: int = 35,  # steps through which the gradient goes back
    dropout: float = 0.0,
    optimizer: Literal["adadelta", "adam"] = "adadelta",  # section 4.1: rho 0.95, epsilon 1e-6
    steps: int = 100_000,
    batch_size: int = 64,  # section 4.1
    lr: float = 1.0,
    clip: float = 1.0,  # of the global norm
    prompt: int = 5,
    sample_steps: int = 100,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
) -> Experiment:
    net = LanguageModel(Recurrent(width, depth, cell, dropout=dropout), vocab, embedding, tied, dropout)
    if optimizer == "adadelta":
        descent = optax.adadelta(lr, rho=0.95, eps=1e-6)
    else:
        descent = optax.adam(optax.cosine_decay_schedule(lr, steps))
    method = recurrent_language_model(
        net, optax.chain(optax.clip_by_global_norm(clip), descent), carry=True, prompt=prompt, steps=sample_steps,
        temperature=temperature, top_k=top_k, top_p=top_p,
    )  # fmt: skip
    text = load_text(data, batch_size=batch_size, length=length, tokenizer=tokenizer, vocab=vocab, contiguous=True)

    def cost(logits, batch):
        return token_nats(logits, batch["tokens"][:, -1]).mean()

    flow = gradient_flow(net, lambda batch: batch["tokens"][:, :-1], cost)
    return Experiment(method, text, steps, seed, RULES, evals={"carried": carried(net)}, panels={"gradient_flow": flow})


if __name__ == "__main__":
    run_file(__file__)
