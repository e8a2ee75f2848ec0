"""Makes resnet.npz: logits of transformers' ResNet with random weights and statistics in every tensor.

Two small nets of odd sizes, one of basic blocks and one of bottlenecks; the bottlenecks with the stride in the 3x3 and
in the first 1x1. With random statistics a deep batch-normalised net answers every input alike, and a comparison would
see nothing: the norms get the statistics of one real pass, moved a little, and the outputs are checked to differ.

Needs torch and transformers: `python tests/golden/make_resnet.py` writes, `--check` recomputes and compares.
"""

from pathlib import Path

import golden
import numpy as np
import torch

PATH = Path(__file__).with_name("resnet.npz")
CONFIGS = {
    "basic": dict(layer_type="basic", embedding_size=6, hidden_sizes=[6, 10, 14, 18], depths=[2, 1, 1, 1]),
    "bottleneck": dict(layer_type="bottleneck", embedding_size=5, hidden_sizes=[20, 28, 36], depths=[2, 2, 1]),
}


def reference():
    """transformers, which imports torchvision: its ops do not load beside a CPU torch, but their names are enough."""
    torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import transformers

    return transformers


def build() -> dict[str, np.ndarray]:
    transformers = reference()
    torch.manual_seed(0)
    images = torch.randn(3, 3, 35, 31)
    found = {"images": images.numpy()}
    for name, fields in CONFIGS.items():
        config = transformers.ResNetConfig(num_channels=3, num_labels=7, **fields)
        model = transformers.ResNetForImageClassification(config)
        randomise(model, images)
        found |= {f"{name}/weight/{key}": value.numpy() for key, value in model.state_dict().items() if value.ndim}
        found |= {f"{name}/{key}": value for key, value in outputs(model, images).items()}
        if name == "bottleneck":
            config.downsample_in_bottleneck = True
            strided = transformers.ResNetForImageClassification(config)
            strided.load_state_dict(model.state_dict())
            found["bottleneck/logits_stride_first"] = outputs(strided, images)["logits"]
    return found


@torch.no_grad()
def randomise(model: torch.nn.Module, images: torch.Tensor) -> None:
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for tensor in model.parameters():
        if tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
    for norm in norms:
        norm.weight.copy_(1 + 0.3 * torch.randn_like(norm.weight))
        norm.bias.normal_(0, 0.3)
        norm.momentum = 1.0
    model.classifier[1].bias.normal_()
    model.train()(images)
    for norm in norms:
        norm.running_mean.add_(0.2 * torch.randn_like(norm.running_mean) * norm.running_var.sqrt())
        norm.running_var.mul_(torch.exp(0.3 * torch.randn_like(norm.running_var)))
        norm.momentum = 0.1


@torch.no_grad()
def outputs(model: torch.nn.Module, images: torch.Tensor) -> dict[str, np.ndarray]:
    """Logits by the running statistics; logits by those of the batch, and the mean that the last norm then keeps."""
    kept = {key: value.clone() for key, value in model.state_dict().items()}
    answer = model.eval()(images, output_hidden_states=True)
    spread = answer.logits.std(0).mean() / answer.logits.std()
    assert spread > 0.1, f"the outputs hardly depend on the input: {spread}"
    trained = model.train()(images).logits
    last = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)][-1]
    mean = last.running_mean.clone()
    model.load_state_dict(kept)
    return {
        "logits": answer.logits.numpy(),
        "stage_2": answer.hidden_states[2].numpy(),
        "train_logits": trained.numpy(),
        "train_mean": mean.numpy(),
    }


if __name__ == "__main__":
    golden.main(PATH, build, rtol=1e-3, atol=1e-4)
