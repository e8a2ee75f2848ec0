from types import SimpleNamespace

import numpy as np
import pytest

from aigc_jax.data import load_pairs
from aigc_jax.evals.text import Bleu, corpus_bleu


def test_bleu_by_hand():
    """A text of 5 words whose last is wrong: precisions 4/5, 3/4, 2/3, 1/2; a shorter one is penalised by exp(1 - 5/4)."""
    by_hand = 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert corpus_bleu(["a b c d x"], ["a b c d e"], "none") == pytest.approx(by_hand)
    assert corpus_bleu(["a b c d"], ["a b c d e"], "none") == pytest.approx(100 * np.exp(1 - 5 / 4))
    spaced, closed = ["A man , a dog ."], ["A man, a dog."]
    assert corpus_bleu(spaced, closed, "13a") == pytest.approx(100) and corpus_bleu(spaced, closed, "none") < 50
    with pytest.raises(ValueError, match="1 translations and 2 references"):
        corpus_bleu(["a"], ["a", "b"])


def test_a_run_is_scored_on_the_texts_of_its_source_and_the_protocol_has_the_signature():
    """References are not cut to the model's length: who writes the cut targets writes too little."""
    data = load_pairs("numbers", batch_size=512, columns=("figures", "words"), tokenizers=("char", "word"),
                      lengths=(6, 11), vocab=(12, 32))  # fmt: skip
    run = SimpleNamespace(data=data, sample=lambda batch: np.asarray(batch["target"]))
    assert Bleu("words", tokenize="none")(run)["bleu"] == pytest.approx(100)
    run.sample = lambda batch: np.where(np.arange(11) < 4, batch["target"], 0)
    assert Bleu("words", tokenize="none")(run)["bleu"] < 70
    protocol = Bleu("words", "test", "none").protocol
    assert protocol.startswith(
        "sacrebleu of test, one reference each, column 'words': nrefs:1|case:mixed|eff:no|tok:none"
    )
