"""Makes image_gpt.npz: logits of transformers' ImageGPT with random weights in every tensor.

Needs torch and transformers: `python tests/golden/make_image_gpt.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch
from make_gpt2 import reference

PATH = Path(__file__).with_name("image_gpt.npz")
COLOURS, PIXELS = 11, 20


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    transformers = reference()
    torch.manual_seed(0)
    config = transformers.ImageGPTConfig(vocab_size=COLOURS + 1, n_positions=PIXELS, n_embd=18, n_layer=2, n_head=3,
                                         resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)  # fmt: skip
    model = transformers.ImageGPTForCausalImageModeling(config).eval()
    for name, tensor in model.named_parameters():
        around = 1.0 if "ln_" in name else 0.0
        tensor.copy_(around + 0.3 * torch.randn_like(tensor))
    image = torch.randint(0, COLOURS, (3, 4, 5, 1))
    start = torch.full((3, 1), COLOURS)  # the last row of the table
    logits = model(torch.cat([start, image.reshape(3, -1)[:, :-1]], 1)).logits
    assert logits.std(0).mean() > 0.2 * logits.std(), "the outputs hardly depend on the input"
    return {
        **{f"weight/{name}": tensor.numpy() for name, tensor in model.named_parameters()},
        "image": image.numpy().astype(np.int32),
        "logits": logits.reshape(3, 4, 5, 1, COLOURS).numpy(),
    }


if __name__ == "__main__":
    golden.main(PATH, build)
