"""Full sizes, filled by a rule that anyone can repeat, give the answers that other implementations gave in float64."""

import math

import jax
import numpy as np
import pytest

from aigc_jax.networks import cait, swin, t2t_vit, vit


def waves(shape, amplitude):
    """A tensor in torch's layout: sines of a phase that mixes its indices."""
    index = [*np.indices(shape, sparse=True), 0, 0]
    phase = (37 * (index[0] + 1) * (index[1] + 1) + 131 * index[2] + 211 * index[3]) % 1009
    return (amplitude * np.sin(2 * np.pi * phase / 1009)).astype(np.float32)


def filled(path, leaf):
    """By name and shape; linear maps are (out, in) in torch, that of the patches (out, channels, rows, columns)."""
    name, shape = path[-1].key, leaf.shape
    j = np.arange(1, shape[-1] + 1)
    if name == "scale":
        return (1 + 0.1 * np.sin(j)).astype(np.float32)
    if name.startswith("gamma"):
        return (0.5 + 0.1 * np.sin(j)).astype(np.float32)
    if name.endswith("bias"):
        return (0.1 * np.cos(j)).astype(np.float32)
    if name.endswith("_token"):
        return waves((1, 1, *shape), 0.2)[0, 0]
    if name == "positions":
        return waves((1, *shape), 0.2)[0]
    if name == "bias_table":
        return waves(shape, 0.2)
    amplitude = math.sqrt(2 / shape[0])
    if path[-2].key == "patches":
        size = math.isqrt(shape[0] // 3)
        return waves((shape[1], 3, size, size), amplitude).transpose(2, 3, 1, 0).reshape(shape)
    return waves(shape[::-1], amplitude).T


NETS = {
    "vit": vit.ViT(**vit.SIZES["Ti"]),
    "deit": vit.ViT(**vit.SIZES["Ti"], activation="gelu", distilled=True),
    "swin": swin.Swin(**swin.SIZES["T"]),
    "cait": cait.CaiT(**cait.SIZES["XXS-24"], scan=True),
    "t2t": t2t_vit.T2TViT(**t2t_vit.SIZES["14"], scan=True),
    "t2t-t": t2t_vit.T2TViT(**t2t_vit.SIZES["t-14"], scan=True),
}
ROWS = {  # the first three logits; their mean, deviation and largest
    "vit": ((0.084566702, -0.26055486, -0.28783892), -0.00017432312, 1.0548337, 467),
    "deit": ((0.086109782, -0.26542284, -0.29169731), -0.00014671832, 1.0545359, 467),
    "swin": ((0.92774581, 0.11376334, -1.5191909), -0.005708126, 1.2409707, 619),
    "cait": ((-0.10835003, -1.3749635, -0.1566557), 0.00056495545, 1.0744698, 156),
    "t2t": ((2.0002874, 1.9590494, 1.7869638), 0.012495239, 1.021796, 108),
    "t2t-t": ((1.8265594, 2.0213521, 1.9739404), 0.012853552, 1.0116848, 108),
}


def unscanned(net):
    return net.clone(scan=False) if getattr(net, "scan", False) else net


@pytest.mark.parametrize("name", NETS)
def test_full_size_nets_give_the_logits_of_the_published_code(name):
    net = NETS[name]
    h, w, c = np.indices((224, 224, 3), sparse=True)
    image = np.sin(2 * np.pi * (((c + 1) * (7 * h + 13 * w + 1)) % 101) / 101).astype(np.float32)[None]
    shapes = jax.eval_shape(unscanned(net).init, jax.random.key(0), image)["params"]
    params = jax.tree_util.tree_map_with_path(filled, shapes)
    if getattr(net, "scan", False):
        blocks = [params.pop(f"block_{index}") for index in range(net.depth)]
        params["blocks"] = jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)
    constants = {f"mix_{index}": {"features": waves((32, 64), math.sqrt(2 / 64))} for index in (1, 2)}
    logits, features = jax.jit(net.apply)({"params": params, "constants": constants if name == "t2t" else {}}, image)
    logits = (logits + features["distilled"]) / 2 if name == "deit" else logits
    logits = np.asarray(logits[0], np.float64)
    first, mean, std, largest = ROWS[name]
    np.testing.assert_allclose(logits[:3], first, rtol=3e-5)  # ViT with the other form of GELU: 2e-4 in the first
    np.testing.assert_allclose([logits.mean(), logits.std()], [mean, std], rtol=3e-5)
    assert logits.argmax() == largest
