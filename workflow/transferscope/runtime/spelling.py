"""Names as a person reads them: which two look alike, in what they differ, which one was meant."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

# Letters of other alphabets that look like Latin ones, small or as capitals.
LOOKALIKES = str.maketrans(
    "авеѕіјкмнорстухһӏԁԛԝүοօıАВЕЅІЈКМНОРСТУХҮΟ", "abesijkmhopctyxhldqwyooiABESIJKMHOPCTYXYO"
)
# The small forms of these do not, so that each has two readings.
GREEK = "letters of the Greek alphabet"
GREEK_CAPITALS = str.maketrans("ΑΒΕΖΗΙΚΜΝΡΤΥΧ", "ABEZHIKMNPTYX")
HYPHENS = {0x2212, 0x2043, 0x02D7}
# Shown by no font, though not of a category that says so.
FILLERS = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x2800, 0x3164, 0xFFA0}
SELECTORS = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}
# Signs for which there is one on every keyboard.
SIGNS = str.maketrans(
    "\u2018\u2019\u201b\u02bc\u02b9\u2032\u2035\u00b4\u0060\u201c\u201d\u201f\u2033"
    "\u2215\u2044\u29f8\u2236\u02d0\u223c\u02dc\u2217\u22c5\u2219\u2022\u2027",
    "'''''''''\"\"\"\"///::~~*\u00b7\u00b7\u00b7\u00b7",
)
# In pairs around a name.
BRACKETS = ('""', "''", "\u00ab\u00bb", "\u2039\u203a")


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
    """Return compatible characters as one, and hyphens, quotes and digits as the plain ones."""
    # Before the normal form, too: it would take an accent of its own for a space with one.
    name = unicodedata.normalize("NFKC", name.translate(SIGNS)).translate(SIGNS)
    return "".join(map(_plain, name))


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if unicodedata.category(character) == "Pd" or ord(character) in HYPHENS:
        return "-"
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


def _spaced(name: str) -> str:
    return " ".join(name.split())


def _unquoted(name: str) -> str:
    name = name.strip('" ')
    while len(name) > 2 and name[0] + name[-1] in BRACKETS:
        name = name[1:-1].strip('" ')
    return name


def _without_end(name: str) -> str:
    """Return a name without punctuation at its end, as where it is taken from a sentence."""
    return name.rstrip(".,:; ") or name


def _as_number(name: str) -> str:
    """Return a whole number without the decimals that programs add to it."""
    return re.sub(r"^(\d+)\.0+$", r"\1", name)


def _lower(name: str) -> str:
    # The Turkish capital with a dot becomes a letter and a dot of its own.
    return name.casefold().replace("i\u0307", "i")


def _latin(name: str) -> str:
    return name.translate(LOOKALIKES)


def _joined(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name)


def _without_decimals(name: str) -> str:
    return re.sub(r"(?<=\d)\.0+$", "", name)


def _without_zeros(name: str) -> str:
    return re.sub(r"(?<![\d.])0+(?=\d)", "", name)


PLAIN = re.compile(r"[\w -]+", re.ASCII)
Normal = Callable[[str], str]
# In this order. What a person does not see, or does not take for another name:
ALIKE: dict[str, Normal] = {
    "invisible characters": visible,
    "the Unicode form": _one_form,
    "letters of another alphabet": _latin,
    "spaces": _spaced,
    "quotes": _unquoted,
    "punctuation at the end": _without_end,
    "decimals": _as_number,
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
    """Return a name after all steps, repeated until none changes it: one may uncover another."""
    before = ""
    while name != before:
        before = name
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
    if PLAIN.fullmatch(name):  # of a million names, most
        return " ".join(name.lower().split())
    return _normal(name, ALIKE.values())


def readings(name: str) -> set[str]:
    """Return what a person may take for the name: two where Greek capitals look like Latin ones.

    Examples
    --------
    >>> sorted(readings("TGF\u0392"))
    ['tgfb', 'tgfβ']
    """
    return {skeleton(name), *(() if name.isascii() else [skeleton(name.translate(GREEK_CAPITALS))])}


def difference(first: str, second: str) -> str:
    """Return in what two names differ that are likely one, such as "case"; "" if in more.

    Examples
    --------
    >>> difference("B7", "b07")
    'case and leading zeros'
    """
    if _normal(first, LIKELY.values()) != _normal(second, LIKELY.values()):
        plain = [name.translate(GREEK_CAPITALS) for name in (first, second)]
        return GREEK if plain != [first, second] and readings(first) & readings(second) else ""
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
        keys = readings(name)
        seen = next((first[key] for key in keys if key in first), name)
        first.update(dict.fromkeys(keys, seen))
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
