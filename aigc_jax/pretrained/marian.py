"""Marian translators (Helsinki-NLP/opus-mt-...) in the layout of transformers: MarianMTModel, and MarianModel without its head.

A post-norm Transformer with biases everywhere, positions in halves, and a bias on the logits. Source, target and softmax
read one token table (share_encoder_decoder_embeddings), or the source has its own, or all three (tie_word_embeddings False).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from aigc_jax.errors import UserError
from aigc_jax.generate import Step, beam_search
from aigc_jax.networks.layers import sinusoidal
from aigc_jax.networks.transformer import Transformer, beam_step
from aigc_jax.pretrained.config import Config, Shapes, activation, bare, only
from aigc_jax.pretrained.generation import Writing, as_written, settings
from aigc_jax.pretrained.model import Inputs, Published, Variables
from aigc_jax.pretrained.tensors import LEADING, Tensor, dense, merged, norm, plain

IGNORED = -100
"""A label that is not counted."""


def transformers(config: Config, stored: Shapes) -> Published:
    """MarianMTModel, or MarianModel, whose outputs are hidden states. MarianForCausalLM is refused."""
    plain_model = bare(config, stored, "MarianModel", "MarianMTModel", prefix="model")
    for name in ("normalize_before", "normalize_embedding", "add_final_layer_norm", "is_decoder"):
        only(config, name, False, False)
    for name in ("static_position_embeddings", "is_encoder_decoder"):
        only(config, name, True, True)
    shared = config.get("share_encoder_decoder_embeddings", True)
    tied = config.get("tie_word_embeddings", True)
    vocab = config.get("vocab_size", 58101)
    # transformers' aliases win over the names they stand for
    depth = config.get("num_hidden_layers", config.get("encoder_layers", 12)), config.get("decoder_layers", 12)
    heads = (config.get("num_attention_heads", config.get("encoder_attention_heads", 16)),
             config.get("decoder_attention_heads", 16))  # fmt: skip
    width = config.get("hidden_size", config.get("d_model", 1024))
    if any(width % count for count in heads):
        raise ValueError(f"{heads[0]} and {heads[1]} heads do not divide a width of {width}")
    module = Transformer(
        vocab if shared else config.get("decoder_vocab_size") or vocab,
        width,
        depth,
        (config.get("encoder_ffn_dim", 4096), config.get("decoder_ffn_dim", 4096)),
        heads,
        config.get("dropout", 0.1),
        positions="halves",
        attention_bias=True,
        activation=activation(config, "activation_function", "gelu"),
        source_vocab=None if shared and tied else vocab,
        tied=tied or plain_model,
        scale=config.get("scale_embedding", False),
        logit_bias=not plain_model,
        context=config.get("max_position_embeddings", 1024),
        eps=1e-5,
    )
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return Published(
        module,
        _tensors(module, "" if plain_model else "model.", shared and not tied),
        (tokens, tokens),
        partial(_arguments, module, config),
        partial(_hidden if plain_model else _translated, module),
        "transformer",
        {"vocab": module.vocab, "source_vocab": module.source_vocab},
        generate=None if plain_model else partial(_generate, module, config, _compiled(module)),
    )


def _tensors(module: Transformer, start: str = "model.", unused: bool = False) -> list[Tensor]:
    """start: of the names; unused: whether the table that source and target could share is there, and read by neither."""
    tables = [f"{start}{name}.weight" for name in ("shared", "encoder.embed_tokens", "decoder.embed_tokens")]
    if module.source_vocab is None:
        also = (*tables[1:], *(["lm_head.weight"] if start else []))
        found = [Tensor("params.tokens", (tables[0],), also=also)]
    else:
        found = plain("source_tokens", tables[1])
        found += [Tensor("params.tokens", (tables[2],), also=("lm_head.weight",) if start and module.tied else ())]
    if not module.tied:
        found += plain("softmax", "lm_head.weight")
    if unused:
        found += [Tensor("", (tables[0],))]
    if module.logit_bias:
        found += plain("bias", "final_logits_bias", LEADING)
    table = partial(sinusoidal, module.context, module.width, halves=True)
    for side, name in enumerate(("encoder", "decoder")):
        found += [Tensor("", (f"{start}{name}.embed_positions.weight",), formula=table)]
        depth = module.depth[side] if isinstance(module.depth, tuple) else module.depth
        for index in range(depth):
            found += _layer(f"{name}_{index}", f"{start}{name}.layers.{index}", bool(side))
    return found


def _layer(ours: str, theirs: str, cross: bool) -> list[Tensor]:
    own, read = f"{theirs}.self_attn", f"{theirs}.encoder_attn"
    found = merged(f"{ours}.self_attention.qkv", (f"{own}.q_proj", f"{own}.k_proj", f"{own}.v_proj"))
    found += dense(f"{ours}.self_attention.out", f"{own}.out_proj")
    found += norm(f"{ours}.norm_self", f"{theirs}.self_attn_layer_norm")
    if cross:
        found += dense(f"{ours}.cross_attention.query", f"{read}.q_proj")
        found += merged(f"{ours}.cross_attention.key_value", (f"{read}.k_proj", f"{read}.v_proj"))
        found += dense(f"{ours}.cross_attention.out", f"{read}.out_proj")
        found += norm(f"{ours}.norm_cross", f"{theirs}.encoder_attn_layer_norm")
    found += dense(f"{ours}.up", f"{theirs}.fc1") + dense(f"{ours}.down", f"{theirs}.fc2")
    return found + norm(f"{ours}.norm_inner", f"{theirs}.final_layer_norm")


def _arguments(module: Transformer, config: Config, inputs: Inputs) -> Inputs:
    """input_ids, decoder_input_ids [B, T] or labels, and a mask if there is one. Raises UserError."""
    names = ("input_ids", "attention_mask", "decoder_input_ids", "decoder_attention_mask", "labels")
    for name in inputs:
        if name not in names or (name == "labels" and not module.logit_bias):
            raise UserError(f"the inputs are {', '.join(names[:3])} and labels, not {name}")
    if not inputs.get("decoder_attention_mask", np.array(1)).all():
        raise UserError("decoder_attention_mask is not supported: no token sees a later one, so fill up on the right")
    found = _source(module, inputs)
    if "labels" in inputs:
        labels = inputs["labels"]
        found["labels"] = _ids("labels", np.where(labels == IGNORED, 0, labels), module.vocab)
        found["labels"] = np.where(labels == IGNORED, IGNORED, found["labels"])
    if "decoder_input_ids" not in inputs and "labels" not in inputs:
        raise UserError("decoder_input_ids is missing: give it, or labels, or call generate")
    before = inputs["decoder_input_ids"] if "decoder_input_ids" in inputs else _shifted(found["labels"], config)
    found["decoder_input_ids"] = _ids("decoder_input_ids", before, module.vocab, module.context)
    for name in ("decoder_input_ids", "labels"):
        if name in found and len(found[name]) != len(found["input_ids"]):
            raise UserError(f"input_ids has {len(found['input_ids'])} rows, {name} {len(found[name])}")
    if "labels" in found and found["labels"].shape != found["decoder_input_ids"].shape:
        raise UserError(f"labels {list(found['labels'].shape)} and decoder_input_ids "
                        f"{list(found['decoder_input_ids'].shape)} must have one shape")  # fmt: skip
    return found


def _source(module: Transformer, inputs: Inputs) -> Inputs:
    if "input_ids" not in inputs:
        raise UserError(f"input_ids [B, S] is missing among {', '.join(inputs) or 'nothing'}")
    found = {"input_ids": _ids("input_ids", inputs["input_ids"], module.source_vocab or module.vocab, module.context)}
    mask = inputs.get("attention_mask")
    if mask is not None:
        if mask.shape != found["input_ids"].shape:
            raise UserError(f"attention_mask is {list(mask.shape)}, input_ids {list(found['input_ids'].shape)}")
        if not np.isin(mask, (0, 1)).all():
            raise UserError("attention_mask must hold 0 and 1 alone")
        found["attention_mask"] = mask.astype(bool)
    return found


def _ids(name: str, tokens: np.ndarray, vocab: int, positions: int | None = None) -> np.ndarray:
    if tokens.ndim != 2 or tokens.dtype.kind not in "iu" or not tokens.size:
        raise UserError(f"{name} must be integers [B, T], not {tokens.dtype} {list(tokens.shape)}")
    wrong = tokens[(tokens < 0) | (tokens >= vocab)]
    if wrong.size:
        raise UserError(f"{name} holds {wrong[0]}: the vocabulary has tokens 0 .. {vocab - 1}")
    if positions is not None and tokens.shape[1] > positions:
        raise UserError(f"{name} has {tokens.shape[1]} tokens, but max_position_embeddings is {positions}")
    return tokens.astype(np.int32)


def _shifted(labels: np.ndarray, config: Config) -> np.ndarray:
    """Labels one to the right, behind the first token, padding in place of those that are not counted."""
    first, pad = (config.get(name, 58100) for name in ("decoder_start_token_id", "pad_token_id"))
    before = np.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=first)
    return np.where(before == IGNORED, pad, before)


def _hidden(module: Transformer, variables: Variables, inputs: Mapping[str, Any]) -> dict[str, Array]:
    def run(net: Transformer) -> tuple[Array, Array]:
        mask = inputs.get("attention_mask")
        encoded = net.encode(inputs["input_ids"], mask)
        x, _ = net.decode(net.embed(inputs["decoder_input_ids"], 1), net.remember(encoded, mask))
        return x, encoded

    answer: Any = module.apply(variables, method=run)
    return {"last_hidden_state": answer[0], "encoder_last_hidden_state": answer[1]}


def _translated(module: Transformer, variables: Variables, inputs: Mapping[str, Any]) -> dict[str, Array]:
    found = _hidden(module, variables, inputs)
    logits: Any = module.apply(variables, found.pop("last_hidden_state"), method="logits")
    found["logits"] = logits
    if "labels" in inputs:
        labels = inputs["labels"]
        counted = labels != IGNORED
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.where(counted, labels, 0)[..., None], -1)[..., 0]
        found["loss"] = -jnp.sum(jnp.where(counted, log_p, 0)) / jnp.sum(counted)
    return found


def _compiled(module: Transformer) -> Callable[..., Array]:
    """The search of a module: one program for each shape of the source and each setting."""
    return jax.jit(partial(_search, module, beam_step(module)), static_argnames="how")


def _generate(
    module: Transformer,
    config: Config,
    search: Callable[..., Array],
    variables: Variables,
    generation: Mapping[str, Any] | None,
    given: dict[str, Any],
) -> np.ndarray:
    names = ("input_ids", "attention_mask")
    source = _source(module, {name: np.asarray(given[name]) for name in names if given.get(name) is not None})
    options = {name: value for name, value in given.items() if name not in names}
    how = settings(config, generation, options, module.vocab, module.context)
    texts = search(variables, source["input_ids"], source.get("attention_mask"), how=how)
    return as_written(np.asarray(texts)[:, : how.copies].reshape(-1, how.steps), how)


def _search(
    module: Transformer, step: Step, variables: Variables, source: Array, mask: Array | None, how: Writing
) -> Array:
    at: Any = module.apply(variables, source, mask, how.steps, method="start")
    first = jnp.full(len(source), how.first, jnp.int32)
    texts, _ = beam_search(step, (variables, at.memory), (at.past, at.length), first, how.steps, beams=how.beams,
                           end=how.end, alpha=how.penalty, form="power", stop=how.stop, score=how.rules)  # fmt: skip
    return texts
