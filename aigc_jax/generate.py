"""Token generation for autoregressive models: the prompt in one pass, then token by token from a cache, in one jit.

A model is its step: `step(params, tokens [B, T], cache) -> (logits [B, V] of the next token, cache)`.

How a token is drawn from logits, in this order:

    temperature  logits / temperature; 0 takes the largest logit (greedy)
    top-k        only the k largest; ties with the k-th stay (arXiv:1805.04833)
    top-p        only the smallest set of most probable tokens whose mass reaches p; the token that crosses p stays, as
                 in the paper (arXiv:1904.09751, eq. 2); the code released with GPT-2 drops it

Beam search looks for the likeliest continuation instead, several hypotheses at a time, up to a token that ends them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

Step = Callable[[Any, Array, Any], tuple[Array, Any]]
Stop = Literal["bound", "present", "full"]
Score = Callable[[Array, Array, Array], Array]


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


class Beams(NamedTuple):
    """The state of a search: k hypotheses that go on and k that have ended, best first, for each of B rows.

    alive:       int32 [B, k, T + 1], their first token included; log_prob [B, k], -inf where there is none.
    ended:       the same, with score [B, k].
    cache:       of the B k rows alive.
    length:      int32 scalar, tokens written.
    open:        [B] bool, whether a row is searched on.
    """

    alive: Array
    log_prob: Array
    ended: Array
    score: Array
    cache: Any
    length: Array
    open: Array


@partial(jax.jit, static_argnames=("step", "steps", "beams", "end", "alpha", "form", "stop", "score"))
def beam_search(
    step: Step,
    params: Any,
    cache: Any,
    first: Array,
    steps: int,
    *,
    beams: int = 4,
    end: int = 0,
    alpha: float = 0.6,
    form: Literal["gnmt", "power"] = "gnmt",
    stop: Stop = "bound",
    score: Score | None = None,
) -> tuple[Array, Array]:
    """The best continuations that close with `end`, by score = log p(y) / penalty(|y|), the end counted in |y|.

    Each step extends the k best hypotheses by every token. Of the best 2 k extensions those that end, and are among the first
    k, are kept with their score if it is one of the best k so far; the first k that do not end go on. What has not ended
    after `steps` - 1 tokens is closed there at no cost. One beam is greedy: the first end is the answer.

    cache: of `step`, before anything was written. Arrays have a row for each of B sources, or for each of B k hypotheses, and
           rows follow their hypothesis; scalars are left as they are. What no hypothesis changes goes into `params`.
    first: int [B], the token before the first.
    alpha: of the penalty; 0 is none, less prefers short texts.
    form:  "gnmt"  ((5 + |y|) / 6)^alpha (arXiv:1609.08144, eq. 14)          "power"  |y|^alpha
    stop:  when a row with k ended hypotheses is left: if none alive can become better than the worst of them,
           "bound" at any length up to `steps` (exact, as no token raises a log-probability), or "present" at the length it
           has; "full" at once.
    score: (logits [B, k, V], texts so far [B, k, steps + 1] with their first token, how many follow it) -> the log p that
           each token adds, -inf for one that is not written. None is log softmax. Another closes no text by itself: what has
           not ended after `steps` tokens stays as it is.

    Returns int32 [B, k, steps], best first, filled with `end`, and score [B, k], -inf where there are fewer hypotheses.
    Raises ValueError for less than one step or beam.
    """
    if min(steps, beams) < 1:
        raise ValueError(f"beam search needs steps and beams >= 1: {steps} and {beams}")
    rows, stop = len(first), "full" if beams == 1 else stop
    penalty = partial(length_penalty, alpha=alpha, form=form)
    blank = jnp.full((rows, beams, steps + 1), end, jnp.int32).at[:, :, 0].set(first[:, None])
    none = jnp.full((rows, beams), -jnp.inf)
    # one hypothesis to begin with: k equal ones would stay equal
    state = Beams(blank, none.at[:, 0].set(0.0), blank, none, _follow(cache, jnp.repeat(jnp.arange(rows), beams)),
                  jnp.int32(0), jnp.ones(rows, bool))  # fmt: skip

    def likelihood(logits: Array, texts: Array, length: Array) -> Array:
        closing = jnp.where(jnp.arange(logits.shape[-1]) == end, 0.0, -jnp.inf)
        return jnp.where(length == steps - 1, closing, jax.nn.log_softmax(logits))

    def advance(s: Beams) -> Beams:
        last = jax.lax.dynamic_slice_in_dim(s.alive, s.length, 1, axis=2)
        logits, cache = step(params, last.reshape(-1, 1), s.cache)
        logits = logits.astype(jnp.float32).reshape(rows, beams, -1)  # [B, k, V]
        vocab = logits.shape[-1]
        log_p = (score or likelihood)(logits, s.alive, s.length) + s.log_prob[..., None]
        log_p, index = jax.lax.top_k(log_p.reshape(rows, -1), min(2 * beams, beams * vocab))
        parent, token = index // vocab, (index % vocab).astype(jnp.int32)
        texts = jnp.take_along_axis(s.alive, parent[..., None], 1)
        texts = jax.lax.dynamic_update_slice_in_dim(texts, token[..., None], s.length + 1, axis=2)
        ends = (token == end) | (s.length == steps - 1)

        counted = ends & (jnp.arange(ends.shape[1]) < beams) & s.open[:, None]
        scores = jnp.concatenate([s.score, jnp.where(counted, log_p / penalty(s.length + 1), -jnp.inf)], 1)
        scores, best = jax.lax.top_k(scores, beams)
        ended = jnp.take_along_axis(jnp.concatenate([s.ended, texts], 1), best[..., None], 1)

        log_prob, best = jax.lax.top_k(jnp.where(ends, -jnp.inf, log_p), beams)
        alive = jnp.take_along_axis(texts, best[..., None], 1)
        parent = jnp.take_along_axis(parent, best, 1) + beams * jnp.arange(rows)[:, None]

        length = s.length + 1
        full = scores[:, -1] > -jnp.inf
        if stop != "full":
            reach = log_prob[:, 0] / penalty(jnp.int32(steps) if stop == "bound" and alpha > 0 else length)
            full &= reach <= scores[:, -1]
        still = s.open & ~full & (log_prob[:, 0] > -jnp.inf)
        return Beams(alive, log_prob, ended, scores, _follow(cache, parent.reshape(-1)), length, still)

    found = jax.lax.while_loop(lambda s: (s.length < steps) & jnp.any(s.open), advance, state)
    return found.ended[:, :, 1:], found.score


def length_penalty(length: Array, alpha: float, form: Literal["gnmt", "power"] = "gnmt") -> Array:
    """What the log-probability of a hypothesis is divided by, see `beam_search`."""
    return ((5 + length) / 6) ** alpha if form == "gnmt" else length.astype(jnp.float32) ** alpha


def _follow(cache: Any, rows: Array) -> Any:
    """The cache with these rows, in this order."""
    return jax.tree.map(lambda leaf: leaf if jnp.ndim(leaf) == 0 else leaf[rows], cache)
