"""Token generation for autoregressive models: the prompt in one pass, then token by token from a cache, in one jit.

A model is its step: `step(params, tokens [B, T], cache) -> (logits [B, V] of the next token, cache)`.

How a token is drawn from logits, in this order:

    temperature  logits / temperature; 0 takes the largest logit (greedy)
    top-k        only the k largest; ties with the k-th stay (arXiv:1805.04833)
    top-p        only the smallest set of most probable tokens whose mass reaches p; the token that crosses p stays, as
                 in the paper (arXiv:1904.09751, eq. 2); the code released with GPT-2 drops it
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Step = Callable[[Any, Array, Any], tuple[Array, Any]]


@partial(jax.jit, static_argnames=("step", "steps", "temperature", "top_k", "top_p"))
def generate(
    step: Step,
    params: Any,
    cache: Any,
    prompt: Array,
    steps: int,
    key: Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Array:
    """Continues every row of a prompt by the same number of tokens.

    step:   reads tokens into the cache and gives the logits of the next. Each function object is compiled once.
    cache:  an empty cache with room for T + steps tokens.
    prompt: int [B, T], T >= 1, rows of equal length.
    key:    of the draws; greedy generation does not use it.

    Returns int32 [B, steps]. Raises ValueError for steps < 1, an empty prompt, or a sampling number out of its range.
    """
    if steps < 1 or prompt.shape[1] < 1:
        raise ValueError(f"generation needs a prompt and steps >= 1, got {prompt.shape[1]} tokens and {steps} steps")
    draw = partial(draw_token, temperature=temperature, top_k=top_k, top_p=top_p)
    keys = jax.random.split(key, steps)
    logits, cache = step(params, prompt, cache)
    first = draw(logits, keys[0])

    def extend(carry: tuple[Array, Any], key: Array) -> tuple[tuple[Array, Any], Array]:
        token, cache = carry
        logits, cache = step(params, token[:, None], cache)
        token = draw(logits, key)
        return (token, cache), token

    _, rest = jax.lax.scan(extend, (first, cache), keys[1:])  # [steps - 1, B]
    return jnp.concatenate([first[None], rest]).T


def draw_token(
    logits: Array, key: Array, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """One token per row of logits [..., V], as the module says. Returns int32 [...]."""
    if temperature == 0:
        return jnp.argmax(logits, -1).astype(jnp.int32)
    kept = restrict(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    return jax.random.categorical(key, kept).astype(jnp.int32)


def restrict(logits: Array, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Array:
    """Logits [..., V] of the distribution that is drawn from: -inf for what is left out, softmax renormalises the rest.

    Raises ValueError unless temperature > 0, 1 <= top_k <= V and 0 < top_p <= 1.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive here, got {temperature}: 0, greedy, has no distribution")
    logits = logits / temperature
    if top_k is not None:
        if not 1 <= top_k <= logits.shape[-1]:
            raise ValueError(f"top_k must lie in 1 .. {logits.shape[-1]}, the size of the vocabulary, got {top_k}")
        kth = jax.lax.top_k(logits, top_k)[0][..., -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {top_p}")
        logits = jnp.where(_nucleus(logits, top_p), logits, -jnp.inf)
    return logits


def _nucleus(logits: Array, p: float) -> Array:
    """Whether a token is in the shortest prefix, by falling probability, of mass >= p. Among equals the first wins."""
    order = jnp.argsort(-logits, axis=-1, stable=True)
    probabilities = jnp.take_along_axis(jax.nn.softmax(logits), order, -1)
    before = jnp.cumsum(probabilities, -1) - probabilities
    kept = (before < p) if p < 1 else jnp.ones_like(before, bool)  # the rounded sum may reach 1 before the last token
    return jnp.put_along_axis(jnp.zeros_like(kept), order, kept, -1, inplace=False)
