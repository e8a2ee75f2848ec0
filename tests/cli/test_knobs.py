"""Text on the command line becomes a value by the annotation of its knob, or is refused by name."""

from __future__ import annotations

import argparse

import pytest

from aigc_jax.cli.knobs import Knob, convert
from aigc_jax.cli.parser import _metavar, positive
from aigc_jax.errors import UserError

VALUES = [
    ("int", "3", 3), ("int", "1e5", 100_000), ("int", "-2", -2), ("float", "2", 2.0), ("float", "1e-4", 1e-4),
    ("bool", "false", False), ("bool", "True", True), ("str", "3", "3"), ("float | None", "none", None),
    ("None | int", "7", 7), ("float | None", "0.5", 0.5), ("int | str", "7", 7), ("int | str", "seven", "seven"),
    ("Literal['a', 2]", "a", "a"), ("Literal['a', 2]", "2", 2), ("tuple[int, ...]", "1,2,2", (1, 2, 2)),
    ("tuple[int, ...]", "(1, 2)", (1, 2)), ("tuple[int, ...]", "5", (5,)), ("tuple[int, ...] | None", "none", None),
    ("tuple[float, str]", "1,a", (1.0, "a")), ("list[float]", "1,2", [1.0, 2.0]), ("Shape", "(3, 4)", (3, 4)),
    ("Shape", "square", "square"), ("tuple[int]", "3", (3,)),
]  # fmt: skip


@pytest.mark.parametrize("kind, text, value", VALUES)
def test_text_becomes_a_value_by_the_annotation(kind, text, value):
    found = convert(Knob("k", kind, "", ""), text, "x")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "kind, text",
    [("int", ""), ("int", "nan"), ("int", "1.5"), ("float", "x"), ("bool", "1"), ("Literal['a']", "b"),
     ("tuple[int, ...]", "1,x"), ("tuple[int, int]", "1,2,3"), ("tuple[int]", "1,2"), ("tuple[int, str]", "a,a"),
     ("int | None", "x")],
)  # fmt: skip
def test_text_of_another_type_is_refused_with_knob_and_text(kind, text):
    with pytest.raises(UserError, match="knob k of x takes") as error:
        convert(Knob("k", kind, "", ""), text, "x")
    assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    "kind, words",
    [("Literal['a', 'b'] | None", "one of 'a', 'b', or none, not"), ("bool | None", "true or false, or none, not"),
     ("tuple[int, ...]", r"tuple\[int, ...\] \(such as 1,2,2\), not"), ("int", "int, not"),
     ("tuple[int, str]", r"tuple\[int, str\] \(values with commas between\), not")],
)  # fmt: skip
def test_a_refusal_says_what_would_have_been_taken(kind, words):
    with pytest.raises(UserError, match=f"takes {words}"):
        convert(Knob("k", kind, "", ""), "?", "x")


def test_help_shows_the_choices_of_an_optional_literal_whole():
    assert _metavar(Knob("k", "Literal['a', 'b'] | None", "", "")) == "a|b"


def test_an_option_that_counts_is_written_as_a_knob_is():
    assert positive("1e5") == 100_000
    for text in ("0", "1.5", "often"):
        with pytest.raises(argparse.ArgumentTypeError, match=f"not '?{text}'?"):
            positive(text)
