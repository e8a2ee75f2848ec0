"""How arrays of a network here are stored in published files: under which names, and in which layout.

A family of networks lists its arrays as `Tensor`s, each with the name of ours, the names of theirs, and the `Form` that
turns one into the other; so the same list reads a file and writes it. torch keeps a linear map as (out, in) and a
convolution as (out, in, rows, columns); here they are (in, out) and (rows, columns, in, out).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from aigc_jax.networks.layers import pair


class Form(NamedTuple):
    """A change of layout and its inverse: no number is changed, so that what was read is written bit by bit.

    ours:   theirs, one array or several -> ours.
    theirs: (ours) -> a tuple of theirs.
    """

    ours: Callable[..., np.ndarray]
    theirs: Callable[[np.ndarray], tuple[np.ndarray, ...]]


PLAIN = Form(lambda x: x, lambda x: (x,))
LINEAR = Form(lambda x: x.T, lambda x: (x.T,))
CONV = Form(lambda x: x.transpose(2, 3, 1, 0), lambda x: (x.transpose(3, 2, 0, 1),))
POINTS = Form(lambda x: x[:, :, 0, 0].T, lambda x: (x.T[:, :, None, None],))  # a linear map as a 1x1 convolution
LEADING = Form(lambda x: x[0], lambda x: (x[None],))  # one axis of length 1 in front, as in (1, T, D)
ROW = Form(lambda x: x[0, 0], lambda x: (x[None, None],))  # a vector as (1, 1, D)


def joined(form: Form, parts: int) -> Form:
    """Several arrays of theirs, each by `form`, side by side along our last axis: queries, keys and values."""

    def theirs(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(form.theirs(part)[0] for part in np.split(x, parts, -1))

    return Form(lambda *given: np.concatenate([form.ours(part) for part in given], -1), theirs)


def patches(size: int | tuple[int, int]) -> Form:
    """The convolution (D, C, P, Q) that cuts patches of P x Q pixels, as our linear map (P * Q * C, D)."""

    def ours(x: np.ndarray) -> np.ndarray:
        return x.transpose(2, 3, 1, 0).reshape(-1, len(x))

    def theirs(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (x.reshape(*pair(size), -1, x.shape[-1]).transpose(3, 2, 0, 1),)

    return Form(ours, theirs)


def flattened(side: int) -> Form:
    """The linear map that reads a map of side x side positions: theirs (D, C * side * side), ours (side * side * C, D)."""

    def ours(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1, side, side).transpose(2, 3, 1, 0).reshape(-1, len(x))

    def theirs(x: np.ndarray) -> tuple[np.ndarray, ...]:
        return (x.reshape(side, side, -1, x.shape[-1]).transpose(3, 2, 0, 1).reshape(x.shape[-1], -1),)

    return Form(ours, theirs)


class Tensor(NamedTuple):
    """One array.

    ours:    its path, "params.head.kernel" or "batch_stats.norm.mean"; "" for one that belongs to no network (a count of
             batches, an index), which is kept for the way back.
    theirs:  the names that `form` takes it from.
    form:    between the layouts.
    also:    other names under which published files keep the same array, instead of or beside the first.
    value:   of an array that belongs to no network: what is written where no file gave it; None writes nothing.
    formula: of an array that the network computes: its value, which that of a file must agree with.
    """

    ours: str
    theirs: tuple[str, ...]
    form: Form = PLAIN
    also: tuple[str, ...] = ()
    value: np.ndarray | None = None
    formula: Callable[[], np.ndarray] | None = None


def plain(ours: str, theirs: str, form: Form = PLAIN) -> list[Tensor]:
    """A parameter of its own: a token, a table, a scale."""
    return [Tensor(f"params.{ours}", (theirs,), form)]


def dense(ours: str, theirs: str, bias: bool = True, form: Form = LINEAR) -> list[Tensor]:
    """A linear map: kernel and bias of ours are weight and bias of theirs."""
    return [Tensor(f"params.{ours}.kernel", (f"{theirs}.weight",), form)] + (
        [Tensor(f"params.{ours}.bias", (f"{theirs}.bias",))] if bias else []
    )


def conv(ours: str, theirs: str, bias: bool = False) -> list[Tensor]:
    """A convolution: kernel and bias of ours are weight and bias of theirs."""
    return dense(ours, theirs, bias, CONV)


def merged(ours: str, theirs: tuple[str, ...], bias: bool = True) -> list[Tensor]:
    """Several linear maps of theirs that are one of ours."""
    parts = len(theirs)
    kernel = Tensor(f"params.{ours}.kernel", tuple(f"{name}.weight" for name in theirs), joined(LINEAR, parts))
    biases = Tensor(f"params.{ours}.bias", tuple(f"{name}.bias" for name in theirs), joined(PLAIN, parts))
    return [kernel, biases] if bias else [kernel]


def conv_norm(at: str, name: str, theirs: tuple[str, str]) -> list[Tensor]:
    """A convolution and the norm that follows: ours are `conv_name` and `norm_name` below `at`, "" or ending in a dot."""
    return conv(f"{at}conv_{name}", theirs[0]) + batch_norm(f"{at}norm_{name}", theirs[1])


def spare(stored: Iterable[str], *starts: str) -> list[Tensor]:
    """Arrays of a file that the network has no use for, by the beginnings of their names: kept for the way back."""
    return [Tensor("", (name,)) for name in stored if name.startswith(starts)]


def norm(ours: str, theirs: str) -> list[Tensor]:
    """A normalisation without statistics: scale and bias of ours are weight and bias of theirs."""
    pairs = (("scale", "weight"), ("bias", "bias"))
    return [Tensor(f"params.{ours}.{mine}", (f"{theirs}.{name}",)) for mine, name in pairs]


def batch_norm(ours: str, theirs: str, scale: bool = True) -> list[Tensor]:
    """A batch normalisation with its statistics, and torch's count of the batches it has seen."""
    found = norm(ours, theirs) if scale else [Tensor(f"params.{ours}.bias", (f"{theirs}.bias",))]
    pairs = (("mean", "running_mean"), ("var", "running_var"))
    found += [Tensor(f"batch_stats.{ours}.{mine}", (f"{theirs}.{name}",)) for mine, name in pairs]
    return [*found, Tensor("", (f"{theirs}.num_batches_tracked",), value=np.array(0, np.int64))]
