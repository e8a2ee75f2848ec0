"""Makes recurrent.npz: outputs, last states and gradients of torch's RNN, LSTM and GRU with random weights and biases.

Two layers, in one direction and in both, from given first states; rows of different lengths are packed. Needs torch:
`python tests/golden/make_recurrent.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

PATH = Path(__file__).with_name("recurrent.npz")
CELLS = {"elman": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
BATCH, STEPS, INPUTS, WIDTH, LAYERS = 3, 7, 5, 6, 2


def build() -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    x, length = torch.randn(BATCH, STEPS, INPUTS), torch.tensor([4, 7, 1])
    found = {"x": x.numpy(), "length": length.numpy()}
    for name, make in CELLS.items():
        for directions in (1, 2):
            net = make(INPUTS, WIDTH, LAYERS, batch_first=True, bidirectional=directions == 2)
            for tensor in net.parameters():
                torch.nn.init.normal_(tensor, 0, 0.5)
            start = [torch.randn(directions * LAYERS, BATCH, WIDTH) for _ in range(2 if name == "lstm" else 1)]
            packed = pack_padded_sequence(x, length, batch_first=True, enforce_sorted=False)
            outputs, last = net(packed, tuple(start) if name == "lstm" else start[0])
            outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=STEPS)
            last = list(last) if name == "lstm" else [last]
            (outputs.sin().sum() + sum(one.cos().sum() for one in last)).backward()
            here = {f"weight/{key}": tensor.detach() for key, tensor in net.named_parameters()}
            here |= {f"gradient/{key}": tensor.grad for key, tensor in net.named_parameters()}
            here |= {"outputs": outputs.detach()}
            here |= {f"start/{index}": one for index, one in enumerate(start)}
            here |= {f"last/{index}": one.detach() for index, one in enumerate(last)}
            found |= {f"{name}/{directions}/{key}": value.numpy() for key, value in here.items()}
    return found


if __name__ == "__main__":
    golden.main(PATH, build)
