"""Errors that a user can fix: each names the location, the problem and the fix."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

# Last words of names of secrets in a query; those of `_SECRET_ENDS` also without a separator.
_SECRET_WORDS = {
    *(
        "sig",
        "key",
        "auth",
        "pwd",
        "pw",
        "pass",
        "bearer",
        "jwt",
        "otp",
        "sas",
        "ticket",
        "session",
    ),
}
_SECRET_ENDS = (
    *("token", "tokens", "secret", "password", "passwd", "passphrase", "signature", "credential"),
    *("credentials", "authorization", "apikey", "accesskey", "secretkey", "authkey", "accesskeyid"),
    *("sessionid",),
)
# One slash is left where a URL was taken for a path. A host with its port has no password.
_USER_AND_PASSWORD = re.compile(r"(:/{1,2}(?!/))(?![^/\s:@]+:\d+[/?#])[^\s\"'<>]*:[^\s\"'<>]*@")
# abfs://container@account is a place.
_USER = re.compile(r"(?<!abfs)(?<!abfss)(:/{1,2}(?!/))[^\s\"'<>/?#@]+?(?:@|%40)")
# A part of a query, also of one that is quoted within another.
_PARAMETER = re.compile(
    r"([?&;#]|%26|%3F)((?:[\w.\[\]-]|%(?!3D|26|3F)[0-9A-F]{2})+)(=|%3D)([^\s\"'<>&;#]+)",
    re.IGNORECASE,
)
# A name that was pasted by mistake, which would fill the screen; longer than most paths.
_ENDLESS = re.compile(r"(\S{250})\S{200,}(\S{50})")


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


def masked(text: str) -> str:
    """Return a text without the passwords, tokens and signatures of the URLs in it.

    Examples
    --------
    >>> masked("https://me:secret@host/a.tif?download=1&token=abc is not there")
    'https://***@host/a.tif?download=1&token=*** is not there'
    """
    if ":/" not in text and "=" not in text:
        return text
    text = _USER.sub(r"\1***@", _USER_AND_PASSWORD.sub(r"\1***@", text))
    return _PARAMETER.sub(
        lambda found: "".join(found.group(1, 2, 3)) + "***" if _names_secret(found) else found[0],
        text,
    )


def secret_parameter(url: str) -> str | None:
    """Return the name of a secret in the query of a URL; None: there is none.

    Examples
    --------
    >>> secret_parameter("https://host/a.tif?page=1&accessToken=12ab")
    'accessToken'
    """
    found = filter(_names_secret, _PARAMETER.finditer(url))
    return next((unquote(each[2]) for each in found), None)


def _names_secret(parameter: re.Match[str]) -> bool:
    name = unquote(parameter[2])
    # accessToken and ACCESS_TOKEN are two words each.
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name) or [""]
    return words[-1].lower() in _SECRET_WORDS or "".join(words).lower().endswith(_SECRET_ENDS)


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
        text = f"{printable(self.where, '')}: {printable(self.what)}"
        return f"{text}\n      -> {printable(self.fix)}" if self.fix else text


def printable(text: str, kept: str = "\n\t") -> str:
    """Return a text without secrets and control characters, whose endless words lose their middle.

    Examples
    --------
    >>> len(printable("unknown backbone " + "x" * 5000)) < 600
    True
    """
    shorter = _ENDLESS.sub(lambda word: f"{word[1]}...{word[2]}", masked(text))
    return escaped(shorter, kept)


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
