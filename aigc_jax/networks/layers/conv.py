"""Convolution and transposed convolution, channels last, over any number of spatial axes.

One function each, in several forms that agree to float accuracy in value and gradients:

    native   the compiler's convolution; the form of GPUs and TPUs
    product  k * k shifted slices side by side and one matrix product; the form of a CPU
    slices   the sum of shifted slices times one tap each; depthwise convolutions on a CPU

On a CPU the gradients of a native convolution inside a loop (`scan`, `fori_loop`) run 20 to 40 times slower than outside:
XLA brings convolutions into the layout of its fast kernel in the outermost computation only. A kernel larger than its image
is as slow anywhere. The other two forms are safe; where a step is known to stand in no loop and its images are large,
`with conv_form("native")` may be faster.
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

from aigc_jax.networks.layers.dense import linear

Form = Literal["native", "product", "slices"]
Padding = str | int | Sequence[tuple[int, int]]
DEPTHWISE = "depthwise_taps"  # the name scope of the products of the form slices: FLOPs are counted by it

conv_form = jax.make_user_context(None)
"""`with conv_form("native"): ...` is the form, on a CPU, of the convolutions traced inside that do not name one."""


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
    form = form or _choose(width, groups)
    if form == "native":
        return _native(x, kernel, strides, pads, groups, dilation)
    kernel, pads = _seen(x, kernel, pads, strides, dilation)
    slices = _slices(_pad(x, pads), kernel.shape[:-2], strides, dilation)
    return (_taps if form == "slices" else _product)(slices, kernel, groups)


def conv_transpose(
    x: Array, kernel: Array, strides: int | Sequence[int], padding: Padding = "SAME", form: Form | None = None
) -> Array:
    """Convolution of x with strides - 1 zeros set between its elements; the shape semantics are those of `lax.conv_transpose`.

    x:       [B, *space, C].
    kernel:  [*k, C, features], not flipped.
    padding: "SAME" (output n * stride), "VALID" (n * stride + max(k - stride, 0)), or pairs (before, after) of zeros around
             the spread input.

    Returns [B, *space', features]. Raises ValueError for shapes that do not fit.
    """
    rank = x.ndim - 2
    if kernel.ndim != rank + 2 or kernel.shape[-2] != x.shape[-1]:
        raise ValueError(
            f"conv_transpose: x {x.shape} and kernel {kernel.shape} do not fit: [B, *space, C], [*k, C, F]"
        )
    strides = _each(strides, rank)
    pads = [_transposed_pads(padding, k, s, axis) for axis, (k, s) in enumerate(zip(kernel.shape, strides))]
    form = form or _choose(x.shape[-1], 1)
    if form == "native":
        return _native(x, kernel, (1,) * rank, pads, 1, (1,) * rank, spread=strides)
    return _phases(x, kernel, strides, pads, form)


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


def _choose(width: int, groups: int) -> Form:
    if jax.default_backend() != "cpu":
        return "native"
    return "slices" if groups == width and groups > 1 else conv_form.value or "product"


def _native(x: Array, kernel: Array, strides: Sequence[int], pads: Sequence[tuple[int, int]], groups: int,
            dilation: Sequence[int], spread: Sequence[int] | None = None) -> Array:  # fmt: skip
    space = "DHW"[3 - (x.ndim - 2) :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(x, kernel, strides, pads, spread, dilation, layout, feature_group_count=groups)


def _seen(x: Array, kernel: Array, pads: Sequence[tuple[int, int]], strides: Sequence[int],
          dilation: Sequence[int]) -> tuple[Array, list[tuple[int, int]]]:  # fmt: skip
    """Drops the outer taps that see nothing but padding: of 3 x 3 on an image of 1 x 1 only the middle one is left."""
    cut, new = [], []
    for n, k, (lo, hi), s, d in zip(x.shape[1:-1], kernel.shape, pads, strides, dilation):
        outputs = range((n + lo + hi - (k - 1) * d - 1) // s + 1)
        seen = [j for j in range(k) if any(0 <= o * s + j * d - lo < n for o in outputs)] or [0]
        first, last = seen[0], seen[-1]
        cut.append(slice(first, last + 1))
        new.append((lo - first * d, (len(outputs) - 1) * s + last * d + 1 - n - lo))
    return kernel[tuple(cut)], new


def _slices(x: Array, taps: Sequence[int], strides: Sequence[int], dilation: Sequence[int]) -> list[Array]:
    """What each tap of the kernel sees of the padded x: [B, *space', C] for each tap, in row-major order."""
    sizes = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[1:-1], taps, dilation, strides)]
    slices = []
    for offset in itertools.product(*map(range, taps)):
        start = [0, *(o * d for o, d in zip(offset, dilation)), 0]
        stop = [x.shape[0], *(a + (n - 1) * s + 1 for a, n, s in zip(start[1:], sizes, strides)), x.shape[-1]]
        slices.append(lax.slice(x, start, stop, [1, *strides, 1]))
    return slices


def _product(slices: list[Array], kernel: Array, groups: int) -> Array:
    width = slices[0].shape[-1] // groups
    if groups > 1:
        cut = [s.reshape(*s.shape[:-1], groups, width) for s in slices]  # [B, *space', G, C / G]
        weights = kernel.reshape(len(slices) * width, groups, -1)  # [k C / G, G, F / G]
        y = jnp.einsum("...gr,rgf->...gf", jnp.concatenate(cut, -1), weights)
        return y.reshape(*y.shape[:-2], -1)
    return linear(jnp.concatenate(slices, -1), kernel.reshape(-1, kernel.shape[-1]))


def _taps(slices: list[Array], kernel: Array, groups: int) -> Array:
    """Depthwise: channel c times its taps; with a multiplier m, outputs c m ... c m + m - 1 belong to channel c."""
    if kernel.shape[-2] != 1:
        raise ValueError(f"the form slices is for depthwise kernels [*k, 1, features], not {kernel.shape}")
    multiplier = kernel.shape[-1] // groups
    with jax.named_scope(DEPTHWISE):
        y = jnp.zeros((), slices[0].dtype)
        for one, weights in zip(slices, kernel.reshape(len(slices), -1)):  # [B, *space', C], [C m]
            y = y + (one if multiplier == 1 else jnp.repeat(one, multiplier, -1)) * weights
    return y


def _phases(x: Array, kernel: Array, strides: Sequence[int], pads: Sequence[tuple[int, int]], form: Form) -> Array:
    """Outputs m * s + r of each phase r are a plain convolution of x with every s-th tap; the phases are interleaved after."""
    rank = len(strides)
    sizes = [(n - 1) * s + 1 + lo + hi - k + 1 for n, s, (lo, hi), k in zip(x.shape[1:-1], strides, pads, kernel.shape)]
    count = [math.ceil(size / s) for size, s in zip(sizes, strides)]
    phases = []
    for phase in itertools.product(*map(range, strides)):
        first = [
            (lo - r) % s for r, s, (lo, _) in zip(phase, strides, pads)
        ]  # first tap that meets an element, not a zero
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


def _pad(x: Array, pads: Sequence[tuple[int, int]]) -> Array:
    """Zeros around the spatial axes; a negative number cuts."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((lo, hi, 0) for lo, hi in pads), (0, 0, 0)])


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
