"""Makes wavenet.npz: logits of a torch WaveNet with random weights, features along the sound, kernels of 2 and of 3 taps.

Needs torch and a clone of the repository: `python tests/golden/make_wavenet.py` writes, `--check` recomputes and compares.
"""

import importlib.util
from pathlib import Path

import golden
import numpy as np
import torch

SOURCE = golden.checkout("kan-bayashi/PytorchWaveNetVocoder", "d071ed3")
PATH = Path(__file__).with_name("wavenet.npz")
FIELDS = dict(n_quantize=11, n_aux=3, n_resch=5, n_skipch=7, dilation_depth=3, dilation_repeat=2)
BATCH, STEPS = 2, 50


def reference():
    file = SOURCE / "wavenet_vocoder" / "nets" / "wavenet.py"  # alone: its package imports more than torch
    spec = importlib.util.spec_from_file_location("pytorch_wavenet", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WaveNet


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    make = reference()
    torch.manual_seed(0)
    x, h = torch.randint(0, 11, (BATCH, STEPS)), torch.randn(BATCH, 3, STEPS)
    found = {"codes": x.numpy(), "features": h.numpy()}
    for taps in (2, 3):
        net = make(kernel_size=taps, **FIELDS)
        for name, tensor in net.named_parameters():
            tensor.normal_(0, 0.3 if name.endswith("bias") else 2 * tensor[0].numel() ** -0.5)
        logits = net(x, h)
        assert logits.std(1).mean() > 0.1, "the logits hardly depend on the input"
        found |= {f"{taps}/weight/{name}": tensor.numpy() for name, tensor in net.state_dict().items()}
        found[f"{taps}/logits"] = logits.numpy()
    return found


if __name__ == "__main__":
    golden.main(PATH, build)
