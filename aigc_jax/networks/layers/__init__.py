"""What networks are made of: each layer is one function that picks its form by backend and by shape."""

from aigc_jax.networks.layers.activations import gelu
from aigc_jax.networks.layers.attention import attention
from aigc_jax.networks.layers.conv import Conv, ConvTranspose, conv, conv_form, conv_transpose
from aigc_jax.networks.layers.dense import Dense, linear
from aigc_jax.networks.layers.drop_path import DropPath, linear_rates
from aigc_jax.networks.layers.norms import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from aigc_jax.networks.layers.pooling import max_pool
from aigc_jax.networks.layers.positions import sinusoidal, timestep_embedding
from aigc_jax.networks.layers.recurrence import elman, gru, lstm

__all__ = [
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DropPath",
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",
    "attention",
    "conv",
    "conv_form",
    "conv_transpose",
    "elman",
    "gelu",
    "gru",
    "linear",
    "linear_rates",
    "lstm",
    "max_pool",
    "sinusoidal",
    "timestep_embedding",
]
