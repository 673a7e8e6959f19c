"""Which masks in a folder belong to which field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

MASK = re.compile(
    r"mask|(?:^|[_\-. /])(?:seg(?:mentation)?s?|outlines?)(?:[_\-. /]|$)", re.IGNORECASE
)
CELLS, NUCLEI = "mask", "nucleus_mask"


def is_mask(path: Path) -> bool:
    """Return whether a path is called a mask.

    Examples
    --------
    >>> is_mask(Path("cell_masks/a.png")), is_mask(Path("images/a_red.png"))
    (True, False)
    """
    return MASK.search(path.as_posix()) is not None


def match_masks(
    masks: Sequence[Path], fields: Sequence[Sequence[Path]], ids: Sequence[str]
) -> dict[str, list[Path]]:
    """Return column -> the mask of each field, for columns in which each field has one.

    Parameters
    ----------
    masks
        Masks.
    fields
        Raw files of each field.
    ids
        Group of each field: a mask may begin with it and a separator.
    """
    by_kind: dict[str, list[Path]] = {}
    for mask in masks:
        kind = NUCLEI if "nuc" in mask.name.lower() else CELLS
        if not re.search("cyto", mask.name, re.IGNORECASE):
            by_kind.setdefault(kind, []).append(mask)
    found: dict[str, list[Path]] = {}
    for kind, candidates in by_kind.items():
        chosen = [_masks_of(candidates, files, own) for files, own in zip(fields, ids, strict=True)]
        if all(len(each) == 1 for each in chosen):
            column = [each[0] for each in chosen]
            if len(set(column)) == len(column):
                found[kind] = column
    if NUCLEI in found and CELLS not in found:
        found = {CELLS: found[NUCLEI]}
    return found


def _masks_of(masks: Sequence[Path], files: Sequence[Path], own: str) -> list[Path]:
    stems = {file.stem for file in files}
    exact = [m for m in masks if any(_begins(m.stem, stem) for stem in stems)]
    return exact or [m for m in masks if _begins(m.stem, own)]


def _begins(text: str, start: str) -> bool:
    return text == start or (text.startswith(start) and not text[len(start)].isalnum())
