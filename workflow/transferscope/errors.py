"""Errors that a user can fix: each names the place, the problem and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the input.

    Parameters
    ----------
    where
        File, and row, column or key within it.
    what
        What is wrong there.
    fix
        What the user can do about it.
    """

    where: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}"
        return f"{text}\n      -> {self.fix}" if self.fix else text


class UserError(Exception):
    """One or more problems with the user's input, reported together and without a traceback."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} found"
        return "\n".join([head, *(f"  {i}. {p}" for i, p in enumerate(self.problems, 1))])


class UnreachableError(UserError):
    """What is asked for may be sound, but cannot be had now: network, server, access or library.

    It is never taken for damage, nor for a fault of what was asked for.
    """


def first_line(error: BaseException) -> str:
    """Return what an error of a library says in its first line, or else its type."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def suggest(word: str, known: Sequence[str]) -> str:
    """Return a sentence that offers the nearest known word, or else lists the known ones.

    Examples
    --------
    >>> suggest("nuclues", ["nucleus", "protein"])
    'Did you mean "nucleus"?'
    """
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if near:
        return f'Did you mean "{near[0]}"?'
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"Known: {shown}." if known else "None is known."
