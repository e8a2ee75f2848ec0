"""The two ways a command ends badly: the user's mistake (exit 2) and a run that failed (exit 1)."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: one line that says what is wrong, with the numbers, and what to do. Exit code 2."""


class RunError(Exception):
    """A run that failed for a reason that lies outside the call: full disk, non-finite loss, lost device. Exit code 1."""


def some(names: list[str]) -> str:
    """The first three, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def nearest(name: str, known: Iterable[str], what: str) -> str:
    """`unknown WHAT 'nmae': did you mean 'name'?`, or the list of all where nothing is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"there are: {', '.join(known)}"
    return f"unknown {what} {name!r}: {hint}"
