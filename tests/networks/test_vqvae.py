"""The networks of VQ-VAE and the convolutional encoder and decoder against torch; sizes that do not fit."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aigc_jax.networks.convolutional import ConvDecoder, ConvEncoder
from aigc_jax.networks.vqvae import Decoder, Encoder
from aigc_jax.probability.quantize import nearest
from tests.golden import weights

GOLDEN = Path(__file__).parents[1] / "golden" / "vqvae.npz"
FIELDS = dict(width=10, residual=3, blocks=2)


def filled(net, prefix, x):
    """Parameters drawn by the names the reference has, in torch's shapes, brought into ours."""

    def fill(path, leaf):
        *layers, kind = (key.key for key in path[1:])
        name = ".".join([prefix, *layers, weights.KINDS[kind]])
        if kind == "bias":
            return weights.drawn(name, leaf.shape)
        transposed = "up" in layers[-1] or (prefix == "conv_decoder" and leaf.ndim == 4)
        if transposed:  # torch: in, out, and turned by half a turn
            return weights.drawn(name, (*leaf.shape[2:], *leaf.shape[:2]))[:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
        if layers[-1].startswith(("out_", "to_code")):  # 1 x 1 convolutions, here dense
            return weights.drawn(name, (leaf.shape[1], leaf.shape[0], 1, 1))[:, :, 0, 0].T
        shape = (*leaf.shape[:-3:-1], *leaf.shape[:-2])  # out, in, taps
        return weights.drawn(name, shape).transpose(*range(2, leaf.ndim), 1, 0)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(net.init, jax.random.key(0), x))


def relative_error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def test_the_networks_equal_those_written_in_torch():
    with np.load(GOLDEN) as file:
        golden = dict(file)
    x = jnp.asarray(weights.images(3, 16, 16)[:, :2].transpose(0, 2, 3, 1))
    encoder, decoder = Encoder(4, **FIELDS), Decoder(2, **FIELDS)
    z = jax.jit(encoder.apply)(filled(encoder, "encoder", x), x)
    assert relative_error(z, golden["z"]) < 1e-4
    codes = jnp.asarray(golden["codes"])
    index = nearest(codes, z)
    np.testing.assert_array_equal(index, golden["numbers"])
    y = jax.jit(decoder.apply)(filled(decoder, "decoder", codes[index]), codes[index])
    assert relative_error(y, golden["y"]) < 1e-4

    encoder, decoder = ConvEncoder(10, (6, 7, 8), 11), ConvDecoder(16, 2, (6, 7, 8), 11)
    moments = jax.jit(encoder.apply)(filled(encoder, "conv_encoder", x), x)
    assert relative_error(moments, golden["moments"]) < 1e-4
    told = jax.jit(decoder.apply)(filled(decoder, "conv_decoder", moments[:, :5]), moments[:, :5])
    assert relative_error(told, golden["told"]) < 1e-4


def test_sizes_that_do_not_halve_are_refused():
    for net, x in ((Encoder(4), jnp.zeros((1, 6, 6, 3))), (ConvEncoder(4, (2, 2)), jnp.zeros((1, 8, 10, 3)))):
        with pytest.raises(ValueError, match="2 halvings need a size that 4 divides, got (6|10)"):
            jax.eval_shape(net.init, jax.random.key(0), x)
    with pytest.raises(ValueError, match="4 halvings need a size that 16 divides, got 24"):
        jax.eval_shape(ConvDecoder(24, 3).init, jax.random.key(0), jnp.zeros((1, 5)))


def test_without_a_dense_layer_the_pictures_go_straight_to_the_latents():
    shapes = jax.eval_shape(ConvEncoder(6, (2, 3), 0).init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"]
    assert set(shapes) == {"conv_0", "conv_1", "out"} and shapes["out"]["kernel"].shape == (12, 6)
