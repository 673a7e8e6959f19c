"""Names as a person reads them: which two look alike, in what they differ, which one was meant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

# Letters of other alphabets that look like Latin ones, small or as capitals.
LOOKALIKES = str.maketrans("авеѕіјкмнорстухοАВЕЅІЈКМНОРСТУХΟ", "abesijkmhopctyxoABESIJKMHOPCTYXO")
HYPHENS = {0x2212, 0x2043, 0x02D7}
# Shown by no font, though not of a category that says so.
FILLERS = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x3164, 0xFFA0}
SELECTORS = range(0xFE00, 0xFE10)
APOSTROPHES = str.maketrans("\u2018\u2019\u02bc\u201c\u201d", "'''\"\"")


def visible(name: str) -> str:
    """Return a name without the characters that nobody sees.

    Examples
    --------
    >>> visible("ACTB\u200b")
    'ACTB'
    """
    return "".join(c for c in name if not _is_invisible(c))


def _is_invisible(character: str) -> bool:
    code = ord(character)
    if code in FILLERS or code in SELECTORS:
        return True
    return unicodedata.category(character) in ("Cf", "Cc") and not character.isspace()


def _one_form(name: str) -> str:
    """Return compatible characters as one, and all hyphens and quotes as the plain one."""
    name = unicodedata.normalize("NFKC", name).translate(APOSTROPHES)
    plain = ["-" if unicodedata.category(c) == "Pd" or ord(c) in HYPHENS else c for c in name]
    return "".join(plain)


def _spaced(name: str) -> str:
    return " ".join(name.split())


def _unquoted(name: str) -> str:
    return name.strip('" ')


def _lower(name: str) -> str:
    return name.casefold()


def _latin(name: str) -> str:
    return name.translate(LOOKALIKES)


def _joined(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name)


def _without_decimals(name: str) -> str:
    return re.sub(r"(?<=\d)\.0+$", "", name)


def _without_zeros(name: str) -> str:
    return re.sub(r"(?<![\d.])0+(?=\d)", "", name)


Normal = Callable[[str], str]
# In this order. What a person does not see, or does not take for another name:
ALIKE: dict[str, Normal] = {
    "invisible characters": visible,
    "the Unicode form": _one_form,
    "letters of another alphabet": _latin,
    "spaces": _spaced,
    "quotes": _unquoted,
    "case": _lower,
}
# What may also be one name, written by two programs:
LIKELY: dict[str, Normal] = {
    **ALIKE,
    "decimals": _without_decimals,
    "spaces, hyphens or underscores": _joined,
    "leading zeros": _without_zeros,
}


def _normal(name: str, steps: Collection[Normal]) -> str:
    for step in steps:
        name = step(name)
    return name


def skeleton(name: str) -> str:
    """Return what a person takes for the name; names that read alike have one skeleton.

    Examples
    --------
    >>> skeleton("Golgi  Apparatus\u200b ") == skeleton("golgi apparatus")
    True
    """
    if name.isascii() and '"' not in name and name.isprintable():
        return " ".join(name.lower().split())
    return _normal(name, ALIKE.values())


def difference(first: str, second: str) -> str:
    """Return in what two names differ that are likely one, such as "case"; "" if in more.

    Examples
    --------
    >>> difference("B7", "b07")
    'case and leading zeros'
    """
    if _normal(first, LIKELY.values()) != _normal(second, LIKELY.values()):
        return ""
    needed = []
    for name in LIKELY:
        others = [step for other, step in LIKELY.items() if other != name]
        if _normal(first, others) != _normal(second, others):
            needed.append(name)
    return " and ".join(needed) or "spelling"


@dataclass(frozen=True)
class Spellings:
    """Names that read as one.

    Parameters
    ----------
    names
        Two or more names, in the order in which they occur.
    """

    names: Sequence[str]

    def describe(self, about: Callable[[str], str] = lambda _: "") -> str:
        """Return the spellings with what is said about each, and in what they differ."""
        shown = [f"{quoted(name)}{about(name)}" for name in self.names]
        found = {difference(self.names[0], other) for other in self.names[1:]}
        how = "; ".join(sorted(found - {""})) or "spelling"
        return f"{', '.join(shown[:-1])} and {shown[-1]} read as one name: they differ in {how}"


def variants(names: Collection[str]) -> list[Spellings]:
    """Return the names that differ but read as one."""
    first: dict[str, str] = {}
    alike: dict[str, list[str]] = {}
    for name in names:
        seen = first.setdefault(skeleton(name), name)
        if seen != name:  # of a million names, few
            same = alike.setdefault(seen, [seen])
            same += [] if name in same else [name]
    return [Spellings(same) for same in alike.values()]


def quoted(name: str) -> str:
    """Return a name in quotes, with what nobody sees written as its code.

    Examples
    --------
    >>> quoted("ACTB\u200b")
    '"ACTB<U+200B>"'
    """
    plain = "".join(f"<U+{ord(c):04X}>" if c != " " and not c.isprintable() else c for c in name)
    return f'"{plain}"'


class Likely:
    """Finds the known name that one that is not known is likely to mean.

    Parameters
    ----------
    known
        The known names.
    """

    def __init__(self, known: Collection[str]) -> None:
        self._known: dict[str, list[str]] = {}
        for name in dict.fromkeys(known):
            self._known.setdefault(_normal(name, LIKELY.values()), []).append(name)

    def of(self, name: str) -> str:
        """Return a sentence that offers what is likely meant, or nothing."""
        found = self._known.get(_normal(name, LIKELY.values()), [])
        if not found:
            return ""
        more = f" or {quoted(found[1])}" if len(found) > 1 else ""
        return f"Likely {quoted(found[0])}{more}: it differs in {difference(name, found[0])}."
