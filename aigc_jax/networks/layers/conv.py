"""Convolution and transposed convolution, channels last, over any number of spatial axes.

One function each, in several forms that agree to float accuracy in value and gradients:

    native    the compiler's convolution; the form of GPUs and TPUs
    product   k * k shifted slices side by side and one matrix product; on a CPU
    winograd  2.25 times fewer multiplications, for 3 x 3 kernels of stride 1 between many channels; on a CPU
    slices    the sum of shifted slices times one tap each; depthwise convolutions on a CPU

On a CPU the gradients of a native convolution inside a loop (`scan`, `fori_loop`) run 20 to 40 times slower than outside:
XLA brings convolutions into the layout of its fast kernel in the outermost computation only. A kernel larger than its image
is as slow anywhere. The other forms are safe.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax import Array, lax

from aigc_jax.networks.layers import conv_forms as forms

Form = Literal["native", "product", "slices", "winograd"]
Padding = str | int | Sequence[tuple[int, int]]
NARROW = 64  # channels below which the transforms of Winograd cost more than they save

conv_form = jax.make_user_context(None)
"""`with conv_form("native"): ...` is the form of the convolutions traced inside that do not name one."""


def conv(
    x: Array,
    kernel: Array,
    strides: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    groups: int = 1,
    dilation: int | Sequence[int] = 1,
    form: Form | None = None,
) -> Array:
    """Cross-correlation, what networks call convolution.

    x:        [B, *space, C].
    kernel:   [*k, C / groups, features].
    strides:  of the output, one number or one for each axis.
    padding:  "SAME" (output ceil(n / stride), the odd zero after), "VALID", a number of zeros on either side, or pairs
              (before, after) for each axis.
    groups:   contiguous groups of input channels, each seen by features / groups outputs.
    dilation: distance between taps of the kernel.
    form:     None picks by backend and shape.

    Returns [B, *space', features]. Raises ValueError for shapes that do not fit.
    """
    rank = x.ndim - 2
    width, features = x.shape[-1], kernel.shape[-1]
    if kernel.ndim != rank + 2 or kernel.shape[-2] * groups != width or features % groups:
        raise ValueError(f"conv: x {x.shape}, kernel {kernel.shape} and {groups} groups do not fit: [B, *space, C], "
                         "[*k, C / groups, features]")  # fmt: skip
    taps, strides, dilation = kernel.shape[:-2], _each(strides, rank), _each(dilation, rank)
    reach = [(k - 1) * d + 1 for k, d in zip(taps, dilation)]
    pads = _pads(padding, x.shape[1:-1], reach, strides)
    if any(n + lo + hi < r for n, (lo, hi), r in zip(x.shape[1:-1], pads, reach)):
        raise ValueError(
            f"conv: a kernel that reaches over {reach} has no output on {x.shape[1:-1]} with padding {pads}"
        )
    form = form or _choose(x, kernel, strides, groups, dilation)
    if form == "winograd":
        if kernel.shape[:-2] != (3,) * rank or {*strides, *dilation, groups} != {1}:
            raise ValueError(
                f"the form winograd is for 3 taps an axis, not {taps}, and stride, dilation and groups of 1"
            )
        return forms.winograd(x, kernel, pads)
    return {"native": forms.native, "product": forms.product, "slices": forms.slices}[form](
        x, kernel, strides, pads, groups, dilation
    )


def conv_transpose(
    x: Array, kernel: Array, strides: int | Sequence[int], padding: Padding = "SAME", form: Form | None = None
) -> Array:
    """Convolution of x with strides - 1 zeros set between its elements; the shape semantics are those of `lax.conv_transpose`.

    x:       [B, *space, C].
    kernel:  [*k, C, features], not flipped.
    padding: "SAME" (output n * stride), "VALID" (n * stride + max(k - stride, 0)), or zeros around the spread input: a
             number of them on either side, or pairs (before, after) for each axis.

    Returns [B, *space', features]. Raises ValueError for shapes that do not fit.
    """
    rank = x.ndim - 2
    if kernel.ndim != rank + 2 or kernel.shape[-2] != x.shape[-1]:
        raise ValueError(
            f"conv_transpose: x {x.shape} and kernel {kernel.shape} do not fit: [B, *space, C], [*k, C, F]"
        )
    strides = _each(strides, rank)
    pads = [_transposed_pads(padding, k, s, axis) for axis, (k, s) in enumerate(zip(kernel.shape, strides))]
    ones = (1,) * rank
    chosen = form or conv_form.value or ("native" if jax.default_backend() != "cpu" else None)
    if chosen == "native":
        return forms.native(x, kernel, ones, pads, 1, ones, spread=strides)
    return _phases(x, kernel, strides, pads, chosen)


class Conv(nn.Module):
    """`conv` with a kernel "kernel" [*k, C / groups, features] and a "bias" [features]."""

    features: int
    kernel: int | Sequence[int] = (3, 3)
    strides: int | Sequence[int] = 1
    padding: Padding = "SAME"
    groups: int = 1
    dilation: int | Sequence[int] = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    dtype: Any = None
    form: Form | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        taps = _each(self.kernel, x.ndim - 2)
        if x.shape[-1] % self.groups:
            raise ValueError(f"{self.groups} groups do not divide {x.shape[-1]} channels")
        kernel = self.param("kernel", self.kernel_init, (*taps, x.shape[-1] // self.groups, self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv(x, kernel, self.strides, self.padding, self.groups, self.dilation, self.form)
        return y if bias is None else y + bias


class ConvTranspose(nn.Module):
    """`conv_transpose` with a kernel "kernel" [*k, C, features] and a "bias" [features]."""

    features: int
    kernel: int | Sequence[int]
    strides: int | Sequence[int]
    padding: Padding = "SAME"
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    bias_init: nn.initializers.Initializer = nn.initializers.zeros
    dtype: Any = None
    form: Form | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        taps = _each(self.kernel, x.ndim - 2)
        kernel = self.param("kernel", self.kernel_init, (*taps, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32) if self.use_bias else None
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        y = conv_transpose(x, kernel, self.strides, self.padding, self.form)
        return y if bias is None else y + bias


def _choose(x: Array, kernel: Array, strides: Sequence[int], groups: int, dilation: Sequence[int]) -> Form:
    if conv_form.value or jax.default_backend() != "cpu":
        return conv_form.value or "native"
    width, features = x.shape[-1], kernel.shape[-1]
    if groups == width > 1:
        return "slices"
    square = kernel.shape[:-2] == (3, 3) and (*strides, *dilation) == (1, 1, 1, 1) and groups == 1
    large = min(x.shape[1:-1]) >= 4 and min(width, features) >= NARROW and x.dtype.itemsize >= 4
    return "winograd" if square and large else "product"


def _phases(x: Array, kernel: Array, strides: Sequence[int], pads: forms.Pads, form: Form | None) -> Array:
    """Outputs m * s + r of each phase r are a plain convolution of x with every s-th tap; the phases are interleaved after."""
    rank = len(strides)
    sizes = [(n - 1) * s + 1 + lo + hi - k + 1 for n, s, (lo, hi), k in zip(x.shape[1:-1], strides, pads, kernel.shape)]
    count = [math.ceil(size / s) for size, s in zip(sizes, strides)]
    phases = []
    for phase in itertools.product(*map(range, strides)):
        first = [(lo - r) % s for r, s, (lo, _) in zip(phase, strides, pads)]  # tap that meets an element, not a zero
        part = kernel[tuple(slice(f, None, s) for f, s in zip(first, strides))]
        around = []
        for axis in range(rank):
            before = -((phase[axis] + first[axis] - pads[axis][0]) // strides[axis])
            around.append((before, count[axis] + part.shape[axis] - 1 - x.shape[1 + axis] - before))
        if 0 in part.shape[:rank]:
            phases.append(jnp.zeros((x.shape[0], *count, kernel.shape[-1]), x.dtype))
        else:
            phases.append(conv(x, part, 1, around, form=form))
    y = jnp.stack(phases, -2).reshape(x.shape[0], *count, *strides, -1)  # [B, *count, *strides, F]
    order = [0, *(a for axis in range(rank) for a in (1 + axis, 1 + rank + axis)), 2 * rank + 1]
    y = y.transpose(order).reshape(x.shape[0], *(n * s for n, s in zip(count, strides)), kernel.shape[-1])
    return y[(slice(None), *(slice(0, size) for size in sizes))]


def _each(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    each = (value,) * rank if isinstance(value, int) else tuple(value)
    if len(each) != rank:
        raise ValueError(f"{value} gives {len(each)} numbers for {rank} spatial axes")
    return each


def _pads(
    padding: Padding, space: Sequence[int], reach: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        return list(lax.padtype_to_pads(space, reach, strides, padding))
    if isinstance(padding, int):
        return [(padding, padding)] * len(space)
    if len(padding) != len(space):
        raise ValueError(f"padding {padding} gives {len(padding)} pairs for {len(space)} spatial axes")
    return [(lo, hi) for lo, hi in padding]


def _transposed_pads(padding: Padding, taps: int, stride: int, axis: int) -> tuple[int, int]:
    if isinstance(padding, int):
        return padding, padding
    if not isinstance(padding, str):
        return padding[axis]
    if padding == "SAME":
        total = taps + stride - 2
        before = taps - 1 if stride > taps - 1 else math.ceil(total / 2)
    elif padding == "VALID":
        total, before = taps + stride - 2 + max(taps - stride, 0), taps - 1
    else:
        raise ValueError(f"padding is SAME, VALID or pairs of numbers, not {padding!r}")
    return before, total - before
