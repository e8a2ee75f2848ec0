"""Makes ddpm_unet.npz: outputs of diffusers' UNet2DModel, in float64, with a known number in every tensor.

Tensor i, in the order of its sorted names, is RandomState(i).standard_normal(its shape), over sqrt of the product of
all but the first axis for rank 2 and more, over 10 for rank 1, plus 1 for scales of norms. So the file holds no
weights, only our name of each tensor in that order. "odd" is a small configuration with classes and two heads; "cifar"
the model of the paper, whose values are known from a second, independent implementation as well.

Needs torch and diffusers: `python tests/golden/make_ddpm_unet.py` writes, `--check` recomputes and compares.
"""

import re
from pathlib import Path

import golden
import numpy as np
import torch

PATH = Path(__file__).with_name("ddpm_unet.npz")
COMMON = dict(downsample_padding=0, freq_shift=1, flip_sin_to_cos=False, norm_eps=1e-6, act_fn="silu")
CIFAR = dict(
    sample_size=32, in_channels=3, out_channels=3, block_out_channels=(128, 256, 256, 256), layers_per_block=2,
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), attention_head_dim=None,
    norm_num_groups=32,
)  # fmt: skip
ODD = dict(
    sample_size=(12, 20), in_channels=2, out_channels=5, block_out_channels=(12, 24, 24), layers_per_block=1,
    down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), attention_head_dim=12, norm_num_groups=3,
    num_class_embeds=5,
)  # fmt: skip
KNOWN = {0: 0.34881296, 10: 0.22974700, 500: 0.34238909, 999: 0.26298936}  # first value of "cifar" at these t
RENAMED = {
    "conv_in": "conv_in", "conv_out": "conv_out", "conv_norm_out": "norm_out", "time_embedding.linear_1": "time_0",
    "time_embedding.linear_2": "time_1", "class_embedding": "label", "norm1": "norm_0", "norm2": "norm_1",
    "conv1": "conv_0", "conv2": "conv_1", "time_emb_proj": "time", "conv_shortcut": "shortcut", "group_norm": "norm",
    "to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "out",
}  # fmt: skip


def ours(name: str, levels: int) -> str:
    """Our path of a tensor of diffusers, `up_2_block_0/conv_1/kernel`."""
    place, _, kind = name.rpartition(".")
    leaf = "bias" if kind == "bias" else "scale" if "norm" in place else "embedding" if "class" in place else "kernel"
    match = re.match(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", place)
    if match:
        way, level, part, index, rest = match.groups()
        level = int(level) if way == "down" else levels - 1 - int(level)
        if part.endswith("samplers"):
            return f"{way}_{level}_{part[:-1].removesuffix('r')}/{leaf}"
        block = "block" if part == "resnets" else "attention"
        return f"{way}_{level}_{block}_{index}/{RENAMED[rest]}/{leaf}"
    match = re.match(r"mid_block\.(resnets|attentions)\.(\d+)\.(.+)", place)
    if match:
        part, index, rest = match.groups()
        return f"middle_{f'block_{index}' if part == 'resnets' else 'attention'}/{RENAMED[rest]}/{leaf}"
    return f"{RENAMED[place]}/{leaf}"


def reference(config: dict) -> torch.nn.Module:
    """diffusers imports torchvision, whose ops do not load beside a CPU torch; their names are enough."""
    if not hasattr(torch.ops.torchvision, "nms"):
        torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from diffusers import UNet2DModel

    return UNet2DModel(**config, **COMMON).double().eval()


def filled(config: dict) -> tuple[torch.nn.Module, list[str]]:
    model = reference(config)
    state = model.state_dict()
    for index, name in enumerate(sorted(state)):
        value = np.random.RandomState(index).standard_normal(tuple(state[name].shape))
        if value.ndim >= 2:
            value /= np.sqrt(np.prod(value.shape[1:]))
        else:
            value = 0.1 * value + (1 if "norm" in name and name.endswith("weight") else 0)
        state[name] = torch.from_numpy(value)
    model.load_state_dict(state)
    return model, [ours(name, len(config["block_out_channels"])) for name in sorted(state)]


def build() -> dict[str, np.ndarray]:
    made: dict[str, np.ndarray] = {}
    model, made["cifar/paths"] = filled(CIFAR)
    x = torch.from_numpy(np.random.RandomState(12345).standard_normal((1, 3, 32, 32)))
    t = list(KNOWN)
    with torch.no_grad():
        y = torch.cat([model(x, torch.tensor([one])).sample for one in t]).numpy()  # [4, C, H, W]
    np.testing.assert_allclose(y[:, 0, 0, 0], list(KNOWN.values()), atol=1e-5)
    made |= {"cifar/t": np.array(t), "cifar/y": y.transpose(0, 2, 3, 1).astype(np.float32)}

    model, made["odd/paths"] = filled(ODD)
    x = torch.from_numpy(np.random.RandomState(12345).standard_normal((3, 2, 12, 20)))
    t, label = torch.tensor([0, 417, 999]), torch.tensor([3, 4, 0])
    with torch.no_grad():
        y = model(x, t, class_labels=label).sample.numpy()
    made |= {"odd/t": t.numpy(), "odd/label": label.numpy(), "odd/y": y.transpose(0, 2, 3, 1).astype(np.float32)}
    return {name: np.asarray(value) for name, value in made.items()}


if __name__ == "__main__":
    golden.main(PATH, build)
