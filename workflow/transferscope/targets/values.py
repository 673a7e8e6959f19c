"""The values of a mask become those of a target store, or are refused."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from transferscope.cards.masks import BINARY_VALUES, LARGEST_ID, MaskSettings
from transferscope.raw.headers import problem_with
from transferscope.runtime.arrays import Masks, Pixels
from transferscope.stores.target_store import IGNORE
from transferscope.transport.files import RawFile

# Values that an error names.
MOST_NAMED = 5
# Types of which all values are counted in one pass.
COUNTED = ("bool", "uint8", "uint16")


def target_values(mask: Pixels, settings: MaskSettings, path: RawFile) -> Masks:
    """Return what a target store says of the pixels of a mask.

    Parameters
    ----------
    mask
        [H, W], bool or integer and never negative, as `raw.masks.read_mask` returns it.
    settings
        What its values mean.
    path
        Its file, for errors.

    Returns
    -------
    ndarray
        [H, W] uint32: 0 is background; see `TargetStore`.

    Raises
    ------
    UserError
        Where it holds values that the settings give no meaning.
    """
    meant = _meanings(_distinct(mask), settings, path)
    if settings.kind == "instances":
        values = mask.astype(np.uint32)
    else:
        values = np.zeros(mask.shape, np.uint32)
    for value, target in meant.items():
        values[mask == value] = target
    return values


def _meanings(found: list[int], settings: MaskSettings, path: RawFile) -> dict[int, int]:
    """Return value -> target of the values other than 0 that a mask may hold."""
    ignored = {} if settings.ignore is None else {settings.ignore: int(IGNORE)}
    others = [value for value in found if value not in {0, settings.ignore}]
    if settings.kind == "instances":
        if others and others[-1] > LARGEST_ID:
            what = f"holds the id {others[-1]}, but the largest is {LARGEST_ID:,}"
            raise problem_with(path, what, "Number the objects of each field from 1.")
        return ignored
    if settings.kind == "binary":
        return ignored | _foreground(others, settings, path)
    ids = {value: number for number, value in enumerate(settings.classes, start=1)}
    if unknown := [value for value in others if value not in ids]:
        known = ", ".join(f"{value}: {name}" for value, name in settings.classes.items())
        what = f"holds {_named(unknown)}, which `masks.classes` of the card does not name"
        fix = f"Correct the mask, or add a class ({{{known}}}) or `ignore` to the card."
        raise problem_with(path, what, fix)
    return ignored | ids


def _foreground(others: list[int], settings: MaskSettings, path: RawFile) -> dict[int, int]:
    """Return the value of the foreground of a binary mask -> 1; none where it is empty."""
    if strange := [value for value in others if value not in BINARY_VALUES]:
        what = f"holds {_named(strange)}, but `kind: binary` allows 0 and one of 1, 255 and 65535"
        fix = (
            "Save it without grey edges (nearest neighbour, no JPEG), or set `masks.kind` of the "
            "card to instances or classes."
        )
        raise problem_with(path, what, fix)
    if len(others) > 1:
        what = f"holds {_named(others)}: which of them is the foreground is not known"
        fix = "Save it with two values, or name the other in the card, such as `ignore: 255`."
        raise problem_with(path, what, fix)
    return dict.fromkeys(others, 1)


def _distinct(mask: Pixels) -> list[int]:
    """Return the different values of a mask, in order."""
    if mask.dtype.name in COUNTED:
        found: list[int] = np.flatnonzero(np.bincount(mask.ravel())).tolist()
        return found
    return [int(value) for value in np.unique(mask)]


def _named(values: list[int]) -> str:
    """Return values for an error, the first of many."""
    shown: Iterable[str] = map(str, values[:MOST_NAMED])
    more = f" and {len(values) - MOST_NAMED:,} more" if len(values) > MOST_NAMED else ""
    return f"the value{'s' if len(values) > 1 else ''} {', '.join(shown)}{more}"
