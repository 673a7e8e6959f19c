"""A proposal for a folder of images, from names and headers and some pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from transferscope.errors import Problem, UserError
from transferscope.proposal.folder import Folder
from transferscope.proposal.names import NamePattern, propose_pattern
from transferscope.proposal.stains import NUCLEUS, what_they_show
from transferscope.raw.headers import Header
from transferscope.raw.image_formats import read_header, read_pixels

MOST_LOOKED_AT = 12
RGB = ("red", "green", "blue")
# What colours show in pictures of fluorescence, where not all three are used.
SHOWN_BY_COLOUR = {"green": "protein", "blue": NUCLEUS}
GIVE_CHANNELS = "Give their names in order: --channels nucleus,protein."


@dataclass(frozen=True)
class Channels:
    """The channels of a dataset.

    Parameters
    ----------
    names
        What each shows, in the order of the files.
    raw
        Raw name -> what it shows, where each channel has a file.
    ignored
        Positions of unused channels of a file.
    """

    names: list[str]
    raw: dict[str, str] = field(default_factory=dict)
    ignored: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Proposal:
    """What is proposed for a folder.

    Parameters
    ----------
    folder
        Its files.
    found
        The pattern of their names.
    channels
        The channels.
    pixel_size_um
        As the files state it; None: they do not.
    groups
        The groups, sorted, as the pattern names them.
    remarks
        What a person should know, in sentences.
    """

    folder: Folder
    found: NamePattern
    channels: Channels
    pixel_size_um: float | None
    groups: list[str]
    remarks: list[str]


def propose(
    folder: Folder,
    *,
    pattern: str | None = None,
    renamed: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
) -> Proposal:
    """Return a proposal for a folder.

    Parameters
    ----------
    folder
        Its files.
    pattern
        Pattern of the names of the images, if a person gave it.
    renamed
        What some raw channel names show, if a person said so.
    names
        The channels of files that hold all of them, if a person named them.

    Raises
    ------
    UserError
        Where no image can be read, or what is given does not fit.
    """
    paths = [path.as_posix() for path in folder.images]
    found = propose_pattern(paths) if pattern is None else _given(pattern, paths)
    fitting = [path for path in paths if found.values(path) is not None]
    if not fitting:
        what = f'none of {len(paths)} images matches "{found.pattern}"'
        raise UserError(Problem(str(folder.path), what, f'The first is "{paths[0]}".'))
    chosen = np.unique(np.linspace(0, len(fitting) - 1, MOST_LOOKED_AT).round().astype(int))
    headers = _headers(folder.path, [fitting[n] for n in chosen])
    if found.channels:
        raw = what_they_show(found.channels)
        if unknown := sorted(set(renamed or {}) - set(raw)):
            what = f"no file has the channel {', '.join(unknown)}"
            fix = f"The channels are {', '.join(raw)}."
            raise UserError(Problem("--channel", what, fix))
        raw |= renamed or {}
        channels = Channels(list(dict.fromkeys(raw.values())), raw)
        if len(channels.names) < len(raw):
            what = "two raw names are given to one channel"
            raise UserError(Problem("--channel", what, "Give each a name of its own."))
    else:
        channels = _in_one_file(headers, names)
    sizes = [header.metadata.pixel_size_um for header in headers]
    stated = sizes[0] if len(set(sizes)) == 1 else None
    size = round(float(stated[1]), 5) if stated and np.isclose(*stated, rtol=0.02) else None
    groups = sorted({(found.values(path) or {}).get("group", "") for path in fitting})
    return Proposal(folder, found, channels, size, groups, _remarks(folder, found, channels))


def keys_of(proposal: Proposal) -> tuple[list[list[str]], dict[str, list[str]]]:
    """Return what each image may be called in a table of labels, and the parts of its name."""
    keys, named = [], dict[str, list[str]]()
    for path in proposal.folder.images:
        values = proposal.found.values(path.as_posix())
        if values is None:
            continue
        values.pop("channel", None)
        own = "_".join(filter(None, values.values()))
        keys.append([own, values.get("group", ""), path.name, path.stem, path.as_posix()])
        for part, value in values.items():
            named.setdefault(part, []).append(value)
    return keys, named


def _given(pattern: str, paths: Sequence[str]) -> NamePattern:
    found = NamePattern(pattern)
    values = [each for path in paths if (each := found.values(path)) is not None]
    left = [path for path in paths if found.values(path) is None]
    raw = sorted({each["channel"] for each in values if "channel" in each})
    return replace(found, channels=raw, left_over=left)


def _headers(folder: Path, paths: Sequence[str]) -> list[Header]:
    headers, problems = [], []
    for path in paths:
        try:
            headers.append(read_header(folder / path))
        except UserError as error:
            problems += error.problems
    if not headers:
        raise UserError(problems[:1])
    return headers


def _in_one_file(headers: Sequence[Header], names: Sequence[str]) -> Channels:
    """Return the channels of files that hold all of them."""
    first = headers[0]
    sizes = dict(zip(first.axes, first.shape, strict=True))
    count = sizes.get("C", 1) * sizes.get("S", 1)
    unknown = [sizes[axis] for axis in "QI" if sizes.get(axis, 1) > 1]
    if count == 1 and unknown:
        count = min(unknown)
    ignored, usual = [], [*first.metadata.channel_names] or [f"channel{n}" for n in range(count)]
    if count == 1:
        usual = list(first.metadata.channel_names) or ["grey"]
    if "S" in sizes and count in (3, 4) and not first.metadata.channel_names:
        used = _planes_with_content(headers, count)
        if first.alpha and 3 in used:
            used.remove(3)
        ignored = [n for n in range(count) if n not in used]
        colours = [(*RGB, "alpha")[n] for n in used]
        is_picture = set(colours) >= set(RGB)
        usual = [c if is_picture else SHOWN_BY_COLOUR.get(c, c) for c in colours]
    elif len(usual) == count:
        usual = list(what_they_show(usual).values())
    chosen = list(names) or usual
    if len(chosen) + len(ignored) != count:
        what = f"the files hold {count} channels, {len(chosen)} are named"
        raise UserError(Problem(str(first.path), what, GIVE_CHANNELS))
    return Channels(chosen, ignored=ignored)


def _planes_with_content(headers: Sequence[Header], count: int) -> list[int]:
    """Return the planes of interleaved pixels that are not constant in all files looked at."""
    used = set[int]()
    for header in headers:
        pixels = read_pixels(header)
        planes = np.moveaxis(pixels, header.axes.index("S"), 0).reshape(count, -1)
        used |= {n for n in range(count) if np.ptp(planes[n]) > 0}
    return sorted(used)


def _remarks(folder: Folder, found: NamePattern, channels: Channels) -> list[str]:
    remarks = []
    for what, files in (
        ("files have names of another kind and are left out", found.left_over),
        (
            "files fit the pattern by accident, since a name in braces takes as much as it can",
            found.odd,
        ),
        ("files are of a microscope's own format, which is not read", folder.foreign),
    ):
        if files:
            shown = ", ".join(f'"{Path(file).as_posix()}"' for file in files[:3])
            remarks.append(f"{len(files)} {what}, such as {shown}.")
    if NUCLEUS not in channels.names and len(channels.names) > 1:
        told = "The names of the channels do" if channels.raw else "The files do"
        example = next(iter(channels.raw), "")
        how = f" (--channel {example}=nucleus)" if example else f" ({GIVE_CHANNELS})"
        remarks.append(f"{told} not tell which channel shows nuclei: say so if you know it{how}.")
    return remarks
