"""How a published model writes: the options that transformers' `generate` has, for beam search and greedy search.

Options come from the call, else from generation_config.json, or from config.json where there is no such file (older folders
have them there), else from transformers' defaults. Those that draw at random, or that no search here knows, are refused by
name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.errors import UserError, nearest
from aigc_jax.generate import Stop

DEFAULTS: dict[str, Any] = {
    "num_beams": 1, "num_return_sequences": 1, "length_penalty": 1.0, "early_stopping": False, "max_length": None,
    "max_new_tokens": None, "min_length": 0, "min_new_tokens": 0, "bad_words_ids": None, "suppress_tokens": None,
    "begin_suppress_tokens": None, "no_repeat_ngram_size": 0, "repetition_penalty": 1.0, "forced_bos_token_id": None,
    "forced_eos_token_id": None, "renormalize_logits": False, "decoder_start_token_id": None, "bos_token_id": None,
    "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
"""The options that are honoured."""

LENGTH = 20
"""How many tokens are written where nothing says it."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "do_sample": (False,), "num_beam_groups": (1,), "diversity_penalty": (0,), "penalty_alpha": (0,),
    "dola_layers": (), "constraints": (), "force_words_ids": (), "guidance_scale": (1,), "sequence_bias": (),
    "encoder_repetition_penalty": (1,), "encoder_no_repeat_ngram_size": (0,), "exponential_decay_length_penalty": (),
    "remove_invalid_values": (False,), "max_time": (), "stop_strings": (), "token_healing": (False,),
    "watermarking_config": (), "prompt_lookup_num_tokens": (), "assistant_early_exit": (), "use_mtp": (False,),
    "output_scores": (False,), "output_logits": (False,), "output_attentions": (False,),
    "output_hidden_states": (False,), "return_dict_in_generate": (False,), "low_memory": (False,),
}  # fmt: skip
"""The options that are refused, unless they say nothing: None, or one of these values."""

WITHOUT_EFFECT = (
    "use_cache", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
    "cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile", "prefill_chunk_size",
)  # fmt: skip
"""Options that change no text where nothing is drawn."""

STOPS: dict[Any, Stop] = {False: "present", True: "full", "never": "bound"}


class Rules(NamedTuple):
    """What each token adds to the score of a text, as transformers' processors of logits have it, in their order.

    A `score` of `beam_search`, equal for equal rules, so that they are compiled once. They read log softmax, or, `greedy`,
    the logits themselves.

    last:      of a text, how many tokens come before it: it is `forced_last`.
    least:     tokens before the end is allowed.
    bad_words: that are not written, of one token or several.
    """

    greedy: bool
    end: int
    last: int
    least: int = 0
    repetition: float = 1.0
    ngram: int = 0
    bad_words: tuple[tuple[int, ...], ...] = ()
    forced_first: int | None = None
    forced_last: int | None = None
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    renormalize: bool = False

    def __call__(self, logits: Array, texts: Array, length: Array) -> Array:
        """[B, k, V] of logits, [B, k, T] texts with their first token, `length` tokens after it -> [B, k, V]."""
        z = logits if self.greedy else jax.nn.log_softmax(logits)
        vocab = jnp.arange(z.shape[-1])
        if self.repetition != 1:
            seen = _marked(texts, jnp.arange(texts.shape[-1]) <= length, len(vocab))
            z = jnp.where(seen, jnp.where(z < 0, z * self.repetition, z / self.repetition), z)
        if 0 < self.ngram <= texts.shape[-1]:
            z = jnp.where(_repeated(texts, length, self.ngram, len(vocab)), -jnp.inf, z)
        single = [word[0] for word in self.bad_words if len(word) == 1]
        z = jnp.where(jnp.isin(vocab, jnp.array(single, jnp.int32)), -jnp.inf, z)
        for *before, last in self.bad_words:
            if 0 < len(before) < texts.shape[-1]:
                z = jnp.where((vocab == last) & _ends_with(texts, length, before)[..., None], -jnp.inf, z)
        z = jnp.where((vocab == self.end) & (length < self.least), -jnp.inf, z)
        if self.forced_first is not None:
            z = jnp.where(length == 0, jnp.where(vocab == self.forced_first, 0.0, -jnp.inf), z)
        if self.forced_last is not None:
            z = jnp.where(length == self.last, jnp.where(vocab == self.forced_last, 0.0, -jnp.inf), z)
        if self.suppressed:
            z = jnp.where(jnp.isin(vocab, jnp.array(self.suppressed)), -jnp.inf, z)
        if self.suppressed_first:
            begins = length == (0 if self.forced_first is None else 1)
            z = jnp.where(begins & jnp.isin(vocab, jnp.array(self.suppressed_first)), -jnp.inf, z)
        if self.renormalize:
            z = jax.nn.log_softmax(z)
        # sums of what greedy search takes stay zero, so that no rounding of theirs decides
        return z - jnp.max(z, -1, keepdims=True) if self.greedy else z


class Writing(NamedTuple):
    """One search, hashable: a program is compiled for each.

    first: the token before the first; end: -1 if there is none; fill: what follows the end.
    steps: tokens to write at most; copies: texts for each source.
    """

    first: int
    end: int
    fill: int
    steps: int
    beams: int
    copies: int
    penalty: float
    stop: Stop
    rules: Rules


def settings(
    config: Mapping[str, Any],
    generation: Mapping[str, Any] | None,
    given: Mapping[str, Any],
    vocab: int,
    positions: int,
) -> Writing:
    """The search that a call asks for.

    generation: generation_config.json, or None where there is none.
    given:      the options of the call.
    vocab:      size of the vocabulary; positions: as many tokens as the network is made for.

    Raises UserError that names an option which is unknown, refused, or does not fit the others.
    """
    o = _options(config if generation is None else generation, given)
    end, pad = _one(o, "eos_token_id"), _one(o, "pad_token_id")
    beams, copies = int(o["num_beams"]), int(o["num_return_sequences"])
    first = _one(o, "decoder_start_token_id")
    first = _one(o, "bos_token_id") if first is None else first
    if first is None:
        raise UserError("generate: neither decoder_start_token_id nor bos_token_id says which token comes first")
    if o["early_stopping"] not in STOPS:
        raise UserError(f"generate: early_stopping must be False, True or 'never', not {o['early_stopping']!r}")
    if not 1 <= copies <= beams:
        raise UserError(f"generate: num_return_sequences = {copies} must lie in 1 .. num_beams = {beams}")
    steps = _steps(o, positions)
    rules = Rules(
        beams == 1, -1 if end is None else end, steps - 1, max(int(o["min_length"]) - 1, int(o["min_new_tokens"])),
        float(o["repetition_penalty"]), int(o["no_repeat_ngram_size"]), _words(o["bad_words_ids"], end, vocab),
        _one(o, "forced_bos_token_id"), _one(o, "forced_eos_token_id"), tuple(o["suppress_tokens"] or ()),
        tuple(o["begin_suppress_tokens"] or ()), bool(o["renormalize_logits"]),
    )  # fmt: skip
    for token in (first, rules.forced_first, rules.forced_last):
        if token is not None and not 0 <= token < vocab:
            raise UserError(f"generate: token {token} is not in the vocabulary of {vocab}")
    # transformers' beams take a padding of 0 for none, and then fill with the end
    fill = rules.end if pad is None or (pad == 0 and beams > 1) else pad
    return Writing(first, rules.end, fill, steps, beams, copies, float(o["length_penalty"]),
                   STOPS[o["early_stopping"]], rules)  # fmt: skip


def as_written(tokens: np.ndarray, how: Writing) -> np.ndarray:
    """Texts [R, steps] -> int64 [R, 1 + T] as transformers gives them: first token in front, filled after the end."""
    place = np.arange(tokens.shape[1])
    lengths = np.min(np.where(tokens == how.end, place + 1, tokens.shape[1]), -1)
    written = np.where(place < lengths[:, None], tokens, how.fill)[:, : lengths.max()]
    return np.pad(written.astype(np.int64), ((0, 0), (1, 0)), constant_values=how.first)


def _options(folder: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of DEFAULTS. What is given as None says nothing, whatever the folder says, as in transformers."""
    known = (*DEFAULTS, *NEUTRAL, *WITHOUT_EFFECT)
    for name in given:
        if name not in known:
            raise UserError(f"generate: {nearest(name, known, 'option')}")
    for name, neutral in NEUTRAL.items():
        value = given.get(name, folder.get(name))
        if value is not None and value not in neutral:
            raise UserError(f"generate: {name} = {value!r} is not supported, only {neutral[0] if neutral else None}")
    chosen = {name: given.get(name, folder.get(name)) for name in DEFAULTS}
    return {name: DEFAULTS[name] if value is None else value for name, value in chosen.items()}


def _steps(o: Mapping[str, Any], positions: int) -> int:
    if o["max_new_tokens"] is not None:
        steps = int(o["max_new_tokens"])
    elif o["max_length"] is not None:
        steps = int(o["max_length"]) - 1
    else:
        steps = min(LENGTH, positions - 1)
    if steps < 1:
        raise UserError(f"generate: max_length = {steps + 1} leaves no room for a token after the first")
    if steps > positions:
        raise UserError(f"generate: {steps} new tokens are more than the {positions} of max_position_embeddings")
    return steps


def _one(o: Mapping[str, Any], name: str) -> int | None:
    value = o[name]
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise UserError(f"generate: {name} = {value} is not supported: only one token")
        value = value[0]
    return None if value is None else int(value)


def _words(words: Any, end: int | None, vocab: int) -> tuple[tuple[int, ...], ...]:
    """The end alone is no bad word, as in transformers."""
    found = tuple(tuple(int(token) for token in word) for word in words or ())
    for word in found:
        if not word or not all(0 <= token < vocab for token in word):
            raise UserError(f"generate: bad_words_ids has {list(word)}, which is no word of a vocabulary of {vocab}")
    return tuple(word for word in found if word != (end,))


def _ends_with(texts: Array, length: Array, word: list[int]) -> Array:
    """Which texts [..., T] end with a word after `length` tokens and the first."""
    tail = jax.lax.dynamic_slice_in_dim(texts, length + 1 - len(word), len(word), -1)
    return jnp.all(tail == jnp.array(word, texts.dtype), -1) & (length + 1 >= len(word))


def _repeated(texts: Array, length: Array, size: int, vocab: int) -> Array:
    """Which tokens [..., V] would close a run of `size` tokens that the text holds already."""
    starts = np.arange(texts.shape[-1] + 1 - size)
    before = jax.lax.dynamic_slice_in_dim(texts, length + 2 - size, size - 1, -1)
    windows = texts[..., starts[:, None] + np.arange(size)]  # [..., N, size]
    same = jnp.all(windows[..., :-1] == before[..., None, :], -1) & (starts + size <= length + 1)
    return _marked(windows[..., -1], same, vocab)


def _marked(tokens: Array, counted: Array, vocab: int) -> Array:
    """tokens [..., N], of which some count -> [..., V] bool."""
    rows = tokens.reshape(-1, tokens.shape[-1])
    counted = jnp.broadcast_to(counted, tokens.shape).reshape(rows.shape)
    marked = jnp.zeros((len(rows), vocab), bool).at[jnp.arange(len(rows))[:, None], rows].max(counted)
    return marked.reshape(*tokens.shape[:-1], vocab)
