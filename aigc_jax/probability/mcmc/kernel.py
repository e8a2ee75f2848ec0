"""A Markov kernel, and many steps of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import Array
from jax.typing import ArrayLike

Kernel = Callable[[Array, Any], Any]  # (key, x) -> a draw of the next x, of the same structure


def iterate(kernel: Kernel, key: Array, x: Any, n: ArrayLike) -> Any:
    """The state after n steps of the kernel, n >= 0; each step has a key of its own. A traced n does not recompile."""
    return jax.lax.fori_loop(0, n, lambda i, x: kernel(jax.random.fold_in(key, i), x), x)
