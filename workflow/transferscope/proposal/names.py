"""A pattern of file names, from the names alone: what differs, what tells channels, what groups.

A name is cut into texts and numbers. What is the same in all names is literal; a part that tells
channels is one whose values are known stains or colours, or that follows a word such as `ch`, and
without which the other parts name complete fields.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from transferscope.proposal.stains import is_known

UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
SEPARATORS = re.compile(r"([/_\-. ]+)")
WELL = re.compile(r"[A-P]\d{1,2}|r\d{1,3}c\d{1,3}", re.IGNORECASE)
ROW = re.compile(r"[A-Z]{1,2}")
# A text that begins with a well and goes on: D03f00d0, r01c01f01p01.
WELL_AND_MORE = re.compile(r"(r\d{1,3}c\d{1,3}|[A-P]\d{2})(?=[a-z])")
CHANNEL_WORDS = {"ch", "channel", "c", "w", "wv", "d", "wavelength", "wave", "color", "colour"}
FIELD_WORDS = {
    **dict.fromkeys(
        ("f", "s", "site", "field", "fov", "pos", "position", "xy", "image", "img"), "site"
    ),
    **dict.fromkeys(("p", "z", "plane"), "plane"),
    **dict.fromkeys(("t", "time", "timepoint", "tp"), "time"),
    **dict.fromkeys(("cell", "nucleus", "object", "crop", "tile"), "cell"),
}
GROUP_WORDS = {"well", "plate", "gene", "protein", "patient", "specimen", "donor", "slide", "mouse"}
MOST_CHANNELS = 12


@dataclass(frozen=True)
class NamePattern:
    """What the names of the images of a folder have in common.

    Parameters
    ----------
    pattern
        As `transferscope sheet` takes it.
    is_regex
        Whether it is a regular expression, because a pattern would cut the names elsewhere.
    channels
        Raw names of the channels, in order; empty: a file holds all channels of a field.
    left_over
        Files whose names are built in another way.
    odd
        Files that fit the pattern by accident: a part of it swallows what is two parts elsewhere.
    """

    pattern: str
    is_regex: bool = False
    channels: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)

    def values(self, path: str) -> dict[str, str] | None:
        """Return the parts of a path by name, as `transferscope sheet` takes them."""
        match = re.fullmatch(self._expression, path)
        return None if match is None else match.groupdict()

    @property
    def _expression(self) -> str:
        if self.is_regex:
            return self.pattern
        text, seen = "", set[str]()
        for n, part in enumerate(re.split(r"\{([^{}]*)\}", self.pattern)):
            if n % 2 == 0:
                text += re.escape(part)
            elif part == "_" or not part.isidentifier():
                text += "[^/]+"
            else:
                text += f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+)"
                seen.add(part)
        return text


def propose_pattern(names: Sequence[str]) -> NamePattern:
    """Return a pattern for paths of image files, relative to their folder.

    Parameters
    ----------
    names
        The paths, at least one, with `/` between folders.
    """
    cut = {name: _cut(name) for name in names}
    shapes = Counter(_shape(parts) for parts in cut.values())
    usual = shapes.most_common(1)[0][0]
    fitting = [name for name in names if _shape(cut[name]) == usual]
    rows = _split_words([cut[name] for name in fitting])
    columns = list(zip(*rows, strict=True))
    channel = _channel_column(columns)
    same = [n for n in range(len(columns)) if channel is not None and _tells(columns, n, channel)]
    varying = [
        n for n, column in enumerate(columns) if len(set(column)) > 1 and n not in (channel, *same)
    ]
    first, last = _group_span(columns, varying, channel)
    used = {"group", "channel"}
    kinds = []
    for n in range(len(columns)):
        if first <= n <= last:
            kinds.append("group")
        elif n == channel:
            kinds.append("channel")
        elif n in same:
            kinds.append("_")
        elif n in varying:
            kinds.append(_field_name(columns, n, used))
        else:
            kinds.append("")
    suffixes = {PurePosixPath(name).suffix for name in fitting}
    suffix = suffixes.pop() if len(suffixes) == 1 else ".{_}"
    found = NamePattern(_pattern(columns, kinds) + suffix)
    wanted = ["".join(row[first : last + 1]) for row in rows]
    if any(
        (values := found.values(name)) is None or values["group"] != group
        for name, group in zip(fitting, wanted, strict=True)
    ):
        ending = re.escape(suffix).replace(re.escape("{_}"), "[^/]+")
        found = NamePattern(_regex(columns, kinds) + ending, is_regex=True)
    raw = sorted(set(columns[channel])) if channel is not None else []
    known = set(fitting)
    left = [name for name in names if name not in known]
    odd = [name for name in left if found.values(name) is not None]
    accidental = set(odd)
    left = [name for name in left if name not in accidental]
    return replace(found, channels=raw, left_over=left, odd=odd)


def _pattern(columns: Sequence[tuple[str, ...]], kinds: Sequence[str]) -> str:
    """Return the names in braces, and what stands between them."""
    text = ""
    for n, (column, kind) in enumerate(zip(columns, kinds, strict=True)):
        goes_on = kind == "group" and kinds[n - 1 : n] == ["group"]
        if not goes_on:
            text += f"{{{kind}}}" if kind else column[0]
    return text


def _regex(columns: Sequence[tuple[str, ...]], kinds: Sequence[str]) -> str:
    """Return an expression in which no part takes a separator, except the group its own."""
    text = ""
    for n, (column, kind) in enumerate(zip(columns, kinds, strict=True)):
        is_group, before, after = kind == "group", kinds[n - 1 : n], kinds[n + 1 : n + 2]
        text += "(?P<group>" if is_group and before != ["group"] else ""
        if len(set(column)) == 1:
            part = re.escape(column[0])
        else:
            part = r"\d+" if all(value.isdigit() for value in column) else r"[^/_\-. ]+"
        text += f"(?P<{kind}>{part})" if kind not in ("", "_", "group") else part
        text += ")" if is_group and after != ["group"] else ""
    return text


def _cut(name: str) -> list[str]:
    """Return the parts of a path without suffix, texts and separators in turn."""
    stem = str(PurePosixPath(name).with_suffix(""))
    pieces: list[str] = []
    at = 0
    for match in re.finditer(UUID, stem):
        pieces += [*SEPARATORS.split(stem[at : match.start()]), match[0]]
        at = match.end()
    return [piece for piece in [*pieces, *SEPARATORS.split(stem[at:])] if piece]


def _shape(parts: Sequence[str]) -> tuple[str, ...]:
    return tuple(part if SEPARATORS.fullmatch(part) else "" for part in parts)


def _split_words(rows: list[list[str]]) -> list[list[str]]:
    """Cut texts such as `s1` or `D03f00d1` further where all names have the same letters there."""
    found: list[list[str]] = [[] for _ in rows]
    for column in zip(*rows, strict=True):
        pieces = [_words(text) for text in column]
        lengths = {len(each) for each in pieces}
        letters = {
            tuple(
                piece
                for n, piece in enumerate(each)
                if (piece.isalpha() and n > 0) or (n == 0 and piece.isalpha())
            )
            for each in pieces
        }
        whole = len(lengths) > 1 or len(letters) > 1 or all(map(_is_whole, column))
        for row, text, each in zip(found, column, pieces, strict=True):
            row += [text] if whole else each
    return found


def _is_whole(text: str) -> bool:
    return bool(WELL.fullmatch(text) or re.fullmatch(UUID, text))


def _words(text: str) -> list[str]:
    if (well := WELL_AND_MORE.match(text)) and not _is_whole(text):
        return [well[0], *re.findall(r"[A-Za-z]+|\d+|[^A-Za-z\d]+", text[well.end() :])]
    return re.findall(r"[A-Za-z]+|\d+|[^A-Za-z\d]+", text)


def _channel_column(columns: Sequence[tuple[str, ...]]) -> int | None:
    """Return which part tells the channels, if each has a file."""
    best: tuple[int, int] | None = None
    for n, column in enumerate(columns):
        values = set(column)
        if len(values) > MOST_CHANNELS or any(SEPARATORS.fullmatch(value) for value in values):
            continue
        if _is_row_folder(columns, n):
            continue
        known, word = all(map(is_known, values)), _word_before(columns, n)
        score = 3 if known else 0
        if not known and word in CHANNEL_WORDS and all(value.isdigit() for value in values):
            score = 2
        if not known and len(values) > 1 and all(len(v) == 1 and v.isalpha() for v in values):
            score = 1
        # Of one value only, a number may count anything.
        sole_stain = score == 3 and not any(value.isdigit() for value in values)
        if score and (len(values) > 1 or sole_stain) and _complete(columns, n):
            best = max(best or (0, 0), (score, n))
    return best[1] if best else None


def _is_row_folder(columns: Sequence[tuple[str, ...]], n: int) -> bool:
    """Return whether a part is the row of a well, with the column below, as in A/1 of OME-Zarr."""
    below = columns[n + 1 : n + 3]
    return (
        len(below) == 2
        and set(below[0]) == {"/"}
        and all(map(str.isdecimal, below[1]))
        and all(map(ROW.fullmatch, columns[n]))
    )


def _word_before(columns: Sequence[tuple[str, ...]], n: int) -> str:
    """Return the literal text right before a part, without separators; empty: there is none."""
    for before in range(n - 1, -1, -1):
        if SEPARATORS.fullmatch(columns[before][0]):
            continue
        found = set(columns[before])
        return found.pop().lower() if len(found) == 1 else ""
    return ""


def _complete(columns: Sequence[tuple[str, ...]], channel: int) -> bool:
    """Return whether all other parts together name fields that have a file for each channel."""
    others = [n for n in range(len(columns)) if n != channel and not _tells(columns, n, channel)]
    fields: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in range(len(columns[0])):
        key = tuple(columns[n][row] for n in others)
        if columns[channel][row] in fields[key]:
            return False
        fields[key].add(columns[channel][row])
    wanted = len(set(columns[channel]))
    # Files that are missing are told when the sheet is made.
    return sum(len(found) == wanted for found in fields.values()) * 2 > len(fields)


def _tells(columns: Sequence[tuple[str, ...]], n: int, channel: int) -> bool:
    """Return whether a part differs with the channel and only with it, such as its number."""
    pairs = set(zip(columns[n], columns[channel], strict=True))
    own, of_channel = len(set(columns[n])), len(set(columns[channel]))
    return n != channel and own > 1 and len(pairs) == own == of_channel


def _group_span(
    columns: Sequence[tuple[str, ...]], varying: Sequence[int], channel: int | None
) -> tuple[int, int]:
    """Return the first and last part of the group."""
    texts = [
        n
        for n, column in enumerate(columns)
        if n != channel and not all(SEPARATORS.fullmatch(value) for value in column)
    ]
    if rows := [n for n in texts if _is_row_folder(columns, n)]:
        return rows[0], rows[0] + 2
    wells = [n for n in texts if all(map(WELL.fullmatch, columns[n]))]
    if wells:
        return max(wells, key=lambda n: len(set(columns[n]))), max(
            wells, key=lambda n: len(set(columns[n]))
        )
    names = [n for n in varying if _word_before(columns, n) in GROUP_WORDS]
    plain = [n for n in varying if _word_before(columns, n) not in FIELD_WORDS]
    one = (names or plain or varying or texts or [0])[0]
    # Row and column of a well, as in 01-A-01: parts that differ in step.
    last = max([n for n in varying if n == one or _tells(columns, n, one)], default=one)
    between = [n for n in range(one, last + 1) if n == channel]
    return (one, one) if between else (one, last)


def _field_name(columns: Sequence[tuple[str, ...]], n: int, used: set[str]) -> str:
    """Return a name for a part that is neither group nor channel, and add it to those used."""
    values = set(columns[n])
    usual = "well" if all(map(WELL.fullmatch, values)) else "site"
    name = FIELD_WORDS.get(_word_before(columns, n), usual)
    number = 2
    chosen = name
    while chosen in used:
        chosen, number = f"{name}{number}", number + 1
    used.add(chosen)
    return chosen
