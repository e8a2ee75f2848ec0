"""The knobs of an experiment as its source shows them: name, type, default and the comment beside each.

They are read from the syntax tree, so that `--help` and a wrong value are answered before JAX is imported. Text
becomes a value by the annotation: int, float, bool (true or false), str, X | None ("none"), Literal[...],
tuple[int, ...] ("1,2,2") and tuple[int, str] ("32,centre").
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path
from typing import Any, NamedTuple

from aigc_jax.errors import UserError


class Knob(NamedTuple):
    """A keyword argument of `experiment(...)`.

    type:    its annotation as written.
    default: its default as written, "" for none.
    comment: the comment at the end of its line, which says where the number comes from.
    """

    name: str
    type: str
    default: str
    comment: str


def read_knobs(path: Path) -> list[Knob]:
    """The knobs of an experiment file, in the order they are written; nothing is imported."""
    source = path.read_text(encoding="utf-8")
    function = next(
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "experiment"
    )
    comments = {
        token.start[0]: token.string.lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT
    }  # fmt: skip
    plain = function.args.args
    defaults = [None] * (len(plain) - len(function.args.defaults)) + list(function.args.defaults)
    pairs = [*zip(plain, defaults), *zip(function.args.kwonlyargs, function.args.kw_defaults)]
    return [_knob(argument, default, comments) for argument, default in pairs]


def convert(knob: Knob, text: str, experiment: str) -> Any:
    """The value that a text means for a knob. Raises UserError that names the knob, its type and what was given."""
    try:
        return _value(ast.parse(knob.type, mode="eval").body, text)
    except ValueError:
        raise UserError(f"knob {knob.name} of {experiment} takes {_wanted(knob.type)}, not {text!r}") from None


def integer(text: str) -> int:
    """`1e5` is an integer as well as `100000`, `1.5` is none. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not value.is_integer():  # infinity and nan are no integers either
            raise
        return int(value)


def _knob(argument: ast.arg, default: ast.expr | None, comments: dict[int, str]) -> Knob:
    line = (default or argument).end_lineno or argument.lineno
    kind = ast.unparse(argument.annotation) if argument.annotation else "str"
    return Knob(argument.arg, kind, ast.unparse(default) if default else "", comments.get(line, ""))


def _value(kind: ast.expr, text: str) -> Any:
    """Text -> value of an annotation's syntax tree; ValueError where it does not fit."""
    match kind:
        case ast.Name(id="int"):
            return integer(text)
        case ast.Name(id="float"):
            return float(text)
        case ast.Name(id="str"):
            return text
        case ast.Name(id="bool"):
            return _among(text.lower(), {"true": True, "false": False})
        case ast.Constant(value=None):
            return _among(text.lower(), {"none": None})
        case ast.BinOp(op=ast.BitOr()):
            return _first([kind.right, kind.left] if _is_none(kind.right) else [kind.left, kind.right], text)
        case ast.Subscript(value=ast.Name(id="Literal")):
            return _among(text, {str(choice): choice for choice in _as_tuple(ast.literal_eval(kind.slice))})
        case ast.Subscript(value=ast.Name(id="tuple" | "list" as container)):
            values = _sequence(kind.slice, text, any_length=container == "list")
            return values if container == "tuple" else list(values)
        case _:  # a type this file knows nothing of: the experiment's own check has the last word
            try:
                return ast.literal_eval(text)
            except (ValueError, SyntaxError):
                return text


def _sequence(inner: ast.expr, text: str, any_length: bool) -> tuple[Any, ...]:
    """`1,2,2` for tuple[int, ...] and list[int]; as many values as types for tuple[int, str]."""
    parts = [part.strip() for part in text.strip("()[] ").split(",") if part.strip()]
    kinds = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if any_length or (isinstance(kinds[-1], ast.Constant) and kinds[-1].value is ...):
        kinds = kinds[:1] * len(parts)
    if len(kinds) != len(parts):
        raise ValueError
    return tuple(_value(kind, part) for kind, part in zip(kinds, parts))


def _first(kinds: list[ast.expr], text: str) -> Any:
    for kind in kinds[:-1]:
        try:
            return _value(kind, text)
        except ValueError:
            continue
    return _value(kinds[-1], text)


def _among(text: str, values: dict[str, Any]) -> Any:
    if text not in values:
        raise ValueError
    return values[text]


def _is_none(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Constant) and kind.value is None


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _wanted(kind: str) -> str:
    """A type in words of the command line: `int`, `true or false`, `tuple[int, ...] (such as 1,2,2)`."""
    plain = kind.removesuffix(" | None")
    if plain == "bool":
        words = "true or false"
    elif plain.startswith("Literal["):
        words = "one of " + plain[len("Literal[") : -1]
    elif plain.startswith("list[") or plain.endswith(", ...]"):
        words = f"{plain} (such as 1,2,2)"
    else:
        words = f"{plain} (values with commas between)" if plain.startswith("tuple[") else plain
    return words if plain == kind else f"{words}, or none"
