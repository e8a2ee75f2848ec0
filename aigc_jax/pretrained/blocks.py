"""What the published vision transformers share: the pre-norm block and the map of patches, under the names of each library.

Names are given by part, so that a family says only what differs: `norm_attention`, `qkv`, `out`, `norm_mlp`, `up`, `down`
and, of blocks with LayerScale, `gamma_attention` and `gamma_mlp`. `qkv` is one name, or three of maps that are one here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aigc_jax.errors import UserError
from aigc_jax.pretrained.config import Config, only
from aigc_jax.pretrained.tensors import LINEAR, Tensor, dense, merged, norm, patches, plain

Names = Mapping[str, Any]

TIMM: Names = dict(norm_attention="norm1", qkv="attn.qkv", out="attn.proj", norm_mlp="norm2", up="mlp.fc1",
                   down="mlp.fc2")  # fmt: skip

NEW: Names = dict(norm_attention="layernorm_before", qkv=tuple(f"attention.{part}_proj" for part in "qkv"),
                  out="attention.o_proj", norm_mlp="layernorm_after", up="mlp.fc1", down="mlp.fc2")  # fmt: skip
"""transformers, from version 5 on in memory."""


def old(inner: str) -> Names:
    """transformers, in files; `inner` is the module within "attention" that holds queries, keys and values."""
    qkv = tuple(f"attention.{inner}.{part}" for part in ("query", "key", "value"))
    return dict(NEW, qkv=qkv, out="attention.output.dense", up="intermediate.dense", down="output.dense")


def block(ours: str, theirs: str, names: Names, qkv_bias: bool = True, scaled: bool = False) -> list[Tensor]:
    """One block. scaled: whether it has the gammas of LayerScale."""
    return around(ours, theirs, names, scaled) + attention(f"{ours}.attention", theirs, names, qkv_bias)


def around(ours: str, theirs: str, names: Names, scaled: bool = False) -> list[Tensor]:
    """A block without its attention: norms, MLP and gammas."""
    found = norm(f"{ours}.norm_attention", f"{theirs}.{names['norm_attention']}")
    found += norm(f"{ours}.norm_mlp", f"{theirs}.{names['norm_mlp']}")
    for part in ("up", "down"):
        found += dense(f"{ours}.mlp.{part}", f"{theirs}.{names[part]}")
    for part in ("gamma_attention", "gamma_mlp") if scaled else ():
        found += plain(f"{ours}.{part}", f"{theirs}.{names[part]}")
    return found


def attention(ours: str, theirs: str, names: Names, qkv_bias: bool) -> list[Tensor]:
    found = dense(f"{ours}.out", f"{theirs}.{names['out']}")
    qkv = names["qkv"]
    if isinstance(qkv, tuple):
        return found + merged(f"{ours}.qkv", tuple(f"{theirs}.{name}" for name in qkv), qkv_bias)
    if qkv.endswith("_"):  # torch's own attention has no module for this map, only "in_proj_weight" and "in_proj_bias"
        found += plain(f"{ours}.qkv.kernel", f"{theirs}.{qkv}weight", LINEAR)
        return found + plain(f"{ours}.qkv.bias", f"{theirs}.{qkv}bias")
    return found + dense(f"{ours}.qkv", f"{theirs}.{qkv}", qkv_bias)


def patch_map(theirs: str, patch: int | tuple[int, int], bias: bool = True) -> list[Tensor]:
    """The convolution that cuts patches."""
    return dense("patches", theirs, bias, patches(patch))


def check_heads(config: Config, name: str, heads: int, width: int) -> None:
    """Raises UserError for heads that do not divide a width, or whose width the configuration gives otherwise."""
    if width % heads:
        raise UserError(f"config.json: {name} = {heads} does not divide a width of {width}")
    only(config, "head_dim", None, None, width // heads)
