from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.preactivation import PreActivationResNet, cifar
from aigc_jax.pretrained.preactivation import _tensors
from tests.networks.published import error, images, listed, random_variables, run

GOLDEN = Path(__file__).parents[1] / "golden" / "preactivation.npz"
SMALL = dict(classes=3, depths=(2, 1), widths=(4, 6), stem="cifar")


def test_logits_equal_those_of_timm():
    with np.load(GOLDEN) as file:
        golden = dict(file)
    net = PreActivationResNet(classes=5, depths=(2, 1, 1), widths=(8, 16, 24))
    variables = listed(net, 67, _tensors(net), golden)

    def answers(x):
        return net.apply(variables, x)[0], net.apply(variables, x, train=True, mutable=["batch_stats"])[0][0]

    logits, trained = run(answers, images(3, 67, 61))
    assert error(logits, golden["logits"]) < 1e-4
    assert error(trained, golden["train_logits"]) < 1e-4


def test_without_branches_the_stem_passes_through_the_shortcuts():
    """Unchanged inside a stage; where the shape changes, every second pixel after norm and relu, and zeros."""
    net = PreActivationResNet(**SMALL, bottleneck=False, shortcut="pad")
    variables, x = random_variables(net, 6), images(2, 6, 6)
    silent = {
        name: {
            inner: jax.tree.map(jnp.zeros_like, value) if inner.startswith("conv") else value
            for inner, value in layer.items()
        }
        if "block" in name
        else layer
        for name, layer in variables["params"].items()
    }
    _, features = run(net.apply, {**variables, "params": silent}, x)
    np.testing.assert_array_equal(features["stage_1"], features["stem"])
    norm, stats = (tree["stage_2_block_0"]["norm_1"] for tree in (variables["params"], variables["batch_stats"]))
    y = (features["stem"] - stats["mean"]) / np.sqrt(stats["var"] + 1e-5) * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(features["stage_2"][..., :4], np.maximum(y, 0)[:, ::2, ::2], rtol=1e-4, atol=1e-5)
    assert not features["stage_2"][..., 4:].any()


def test_zero_last_starts_every_block_as_its_shortcut():
    params = run(PreActivationResNet(**SMALL, zero_last=True).init, jax.random.key(0), images(1, 6, 6))["params"]
    last = {name: [bool(layer[f"conv_{index}"]["kernel"].any()) for index in (1, 2, 3)]
            for name, layer in params.items() if "block" in name}  # fmt: skip
    assert len(last) == 3 and all(found == [True, True, False] for found in last.values())


@pytest.mark.parametrize(
    ("depth", "bottleneck", "words"),
    [(163, True, "9 n \\+ 2 layers, not 163"), (112, False, "6 n \\+ 2 layers, not 112"), (2, True, "not 2")],
)
def test_a_depth_that_three_equal_stages_do_not_give_is_refused(depth, bottleneck, words):
    with pytest.raises(ValueError, match=words):
        cifar(depth, bottleneck)
