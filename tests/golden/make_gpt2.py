"""Makes gpt2.npz: logits, loss and gradients of transformers' GPT-2 with random weights in every tensor.

Needs torch and transformers: `python tests/golden/make_gpt2.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch

PATH = Path(__file__).with_name("gpt2.npz")
GRADIENTS = ("transformer.h.1.attn.c_attn.weight", "transformer.wpe.weight")


def reference():
    """transformers, which imports torchvision: its ops do not load beside a CPU torch, but their names are enough."""
    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import transformers

    return transformers


def build() -> dict[str, np.ndarray]:
    transformers = reference()
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=131, n_positions=24, n_embd=30, n_layer=3, n_head=5, resid_pdrop=0,
                                     embd_pdrop=0, attn_pdrop=0, bos_token_id=0, eos_token_id=0)  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).train()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            around = 1.0 if "ln_" in name and name.endswith("weight") else 0.0
            tensor.copy_(around + 0.3 * torch.randn_like(tensor))
    tokens = torch.randint(0, 131, (2, 18))
    logits = model(tokens[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, 131), tokens[:, 1:].reshape(-1))
    loss.backward()
    named = dict(model.named_parameters())
    return {
        **{f"weight/{name}": tensor.detach().numpy() for name, tensor in named.items()},
        **{f"gradient/{name}": named[name].grad.numpy() for name in GRADIENTS},
        "tokens": tokens.numpy(),
        "logits": logits.detach().numpy(),
        "loss": loss.detach().numpy(),
    }


if __name__ == "__main__":
    golden.main(PATH, build)
