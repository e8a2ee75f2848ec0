"""Makes wavenet.npz: logits of a torch WaveNet with random weights, features along the sound, kernels of 2 and of 3 taps.

The reference is `wavenet_vocoder/nets/wavenet.py` of github.com/kan-bayashi/PytorchWaveNetVocoder at d071ed3 (Apache-2.0),
which no package index has: the variable PYTORCH_WAVENET says where that file lies. `python tests/golden/make_wavenet.py`
writes, `--check` recomputes and compares, and says so where the file is not there.
"""

import importlib.util
import os
import sys
from pathlib import Path

import golden
import numpy as np
import torch

PATH = Path(__file__).with_name("wavenet.npz")
FIELDS = dict(n_quantize=11, n_aux=3, n_resch=5, n_skipch=7, dilation_depth=3, dilation_repeat=2)
BATCH, STEPS = 2, 50


def reference(file: str):
    spec = importlib.util.spec_from_file_location("pytorch_wavenet", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.WaveNet


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    make = reference(os.environ["PYTORCH_WAVENET"])
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
    if "--check" in sys.argv and "PYTORCH_WAVENET" not in os.environ:
        print("left out: PYTORCH_WAVENET does not say where the reference lies")
    else:
        golden.main(PATH, build)
