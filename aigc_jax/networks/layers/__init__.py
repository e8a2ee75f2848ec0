"""What networks are made of: each layer is one function that picks its form by backend and by shape."""

from aigc_jax.networks.layers.activations import ACTIVATIONS, activation, concat_elu, gelu
from aigc_jax.networks.layers.attention import attention, attention_weights, local_attention
from aigc_jax.networks.layers.conv import Conv, ConvTranspose, conv, conv_form, conv_transpose
from aigc_jax.networks.layers.dense import Dense, linear
from aigc_jax.networks.layers.drop_path import DropPath, drop_path, linear_rates
from aigc_jax.networks.layers.norms import BatchNorm, GroupNorm, LayerNorm, RMSNorm, local_response_norm
from aigc_jax.networks.layers.patches import pair, patchify, unfold
from aigc_jax.networks.layers.pooling import adaptive_avg_pool, avg_pool, max_pool, mean_over_space
from aigc_jax.networks.layers.positions import resample_positions, sinusoidal, timestep_embedding
from aigc_jax.networks.layers.recurrence import elman, gru, lstm

__all__ = [
    "ACTIVATIONS",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "DropPath",
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",
    "activation",
    "adaptive_avg_pool",
    "attention",
    "attention_weights",
    "avg_pool",
    "concat_elu",
    "conv",
    "conv_form",
    "conv_transpose",
    "drop_path",
    "elman",
    "gelu",
    "gru",
    "linear",
    "linear_rates",
    "local_attention",
    "local_response_norm",
    "lstm",
    "max_pool",
    "mean_over_space",
    "pair",
    "patchify",
    "resample_positions",
    "sinusoidal",
    "timestep_embedding",
    "unfold",
]
