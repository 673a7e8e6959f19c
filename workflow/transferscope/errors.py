"""Errors that a user can fix: each names the location, the problem and the fix."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


def escaped(text: str, kept: str = "\n\t") -> str:
    r"""Return a text whose control characters, line separators and lone surrogates are escaped.

    Names of files may hold any of them: printed as they are, they could clear a terminal, or look
    like lines of a log.

    Parameters
    ----------
    text
        The text.
    kept
        Control characters that stay.

    Examples
    --------
    >>> print(escaped("plate\x1b[2J"))
    plate\x1b[2J
    """
    if text.isprintable():
        return text
    return "".join(c if c in kept or not _is_control(c) else _escape(c) for c in text)


def _is_control(character: str) -> bool:
    # Control characters, marks of the writing direction, surrogates, and line separators.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


@dataclass(frozen=True)
class Problem:
    """One problem of the input.

    Parameters
    ----------
    where
        File, with row, column or key.
    what
        What is wrong there.
    fix
        What the user can do about it.
    """

    where: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{escaped(self.where, '')}: {escaped(self.what)}"
        return f"{text}\n      -> {escaped(self.fix)}" if self.fix else text


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
    """A resource that may be fine but is currently unavailable: network, server, access or library.

    Never treated as damage or as a fault of the resource.
    """


def user_error(where: object, what: str, fix: str = "") -> UserError:
    """Return the error for one problem; see `Problem`."""
    return UserError(Problem(str(where), what, fix))


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if the message is empty."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def suggest(word: str, known: Sequence[str]) -> str:
    """Return a sentence that suggests the nearest known word, or lists the known words.

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
