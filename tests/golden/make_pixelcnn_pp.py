"""Makes pixelcnn_pp.npz: parameters of a PixelCNN++ that others wrote, with random weights.

Its transposed convolutions are normalised over another axis than the paper's, so that of these the kernel is stored as
direction, and its length as gain.

Needs torch and a clone of the repository: `python tests/golden/make_pixelcnn_pp.py` writes, `--check` recomputes and compares.
"""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import golden
import numpy as np
import torch

SOURCE = golden.checkout("pclucas14/pixel-cnn-pp", "7cb4436")
PATH = Path(__file__).with_name("pixelcnn_pp.npz")


def layer(module: torch.nn.Module) -> dict[str, np.ndarray]:
    """A weight-normalised layer in our layout: [*taps, C, F], transposed convolutions flipped."""
    bias = module.bias.detach().numpy()
    if isinstance(module, torch.nn.ConvTranspose2d):
        v = module.weight.detach().numpy().transpose(2, 3, 0, 1)[::-1, ::-1]
        return {"direction": v, "gain": np.sqrt(np.sum(v**2, (0, 1, 2))), "bias": bias}
    v = module.weight_v.detach().numpy()
    v = v.T if v.ndim == 2 else v.transpose(2, 3, 1, 0)
    return {"direction": v, "gain": module.weight_g.detach().numpy().ravel(), "bias": bias}


def resnet(module: torch.nn.Module) -> dict:
    made = {"first": layer(module.conv_input.conv), "second": layer(module.conv_out.conv)}
    return made | ({"aside": layer(module.nin_skip.lin_a)} if module.skip_connection else {})


def blocks(name: str, stage: torch.nn.Module) -> dict:
    pairs = zip(stage.u_stream, stage.ul_stream)
    return {f"{name}_{i}": {"u": resnet(u), "ul": resnet(ul)} for i, (u, ul) in enumerate(pairs)}


def resolution(model: torch.nn.Module, depth: int) -> dict:
    made = blocks("down", model.up_layers[depth]) | blocks("up", model.down_layers[2 - depth])
    if depth == 2:
        return made
    for stream in ("u", "ul"):
        made[f"shrink_{stream}"] = layer(getattr(model, f"downsize_{stream}_stream")[depth].conv)
        made[f"grow_{stream}"] = layer(getattr(model, f"upsize_{stream}_stream")[1 - depth].deconv)
    return made | {"coarse": resolution(model, depth + 1)}


@torch.no_grad()
def build() -> dict[str, np.ndarray]:
    sys.modules["utils"] = utils = ModuleType("utils")
    python_2 = (SOURCE / "utils.py").read_text()
    exec(python_2.replace("print e\n", "print(e)\n"), vars(utils))
    model = importlib.import_module("model").PixelCNN(nr_resnet=1, nr_filters=4, nr_logistic_mix=1).eval()
    rng = np.random.default_rng(0)
    for name, tensor in model.named_parameters():
        size = 0.3 if name.endswith("bias") else 2.0 if name.endswith("weight_g") else 1.0
        tensor.copy_(torch.from_numpy(size * rng.standard_normal(tuple(tensor.shape))))
    x = rng.integers(0, 256, (2, 8, 12, 3))
    y = model(torch.from_numpy(x / 127.5 - 1).float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
    assert y.std(0).mean() > 0.2 * y.std(), "the outputs hardly depend on the input"
    params = {
        "above": layer(model.u_init.conv), "row_above": layer(model.ul_init[0].conv), "left": layer(model.ul_init[1].conv),
        "net": resolution(model, 0), "out": layer(model.nin_out.lin_a),
    }  # fmt: skip
    return {"x": x.astype(np.int32), "answer": y, **golden.flat(params, "params")}


if __name__ == "__main__":
    golden.main(PATH, build)
