"""Names of split schemes: by group, by image, by a column of the sample sheet, and controls."""

from __future__ import annotations

import re
from collections.abc import Iterable

GROUP, IMAGE = "group", "image"
# Ends the name of the control of a column: the same split with the column's values shuffled.
SHUFFLED = "+shuffled"
# Ends the name of a split of which heads see few groups of each class.
FEW_GROUPS = re.compile(r"\+(\d+)-per-class$")
# Columns of a sheet that are no schemes, and what to name instead.
NO_SCHEMES = {"fov": "image", "tile_id": "image", "path": "image", "labels": "", "mask": ""}


def check_scheme(name: str) -> str:
    """Return the name of a scheme; a ValueError says why it is none."""
    if not name.strip() or SHUFFLED in name or FEW_GROUPS.search(name):
        raise ValueError("name `group`, `image` or a column of the sample sheet")
    if name in NO_SCHEMES:
        instead = f": name `{NO_SCHEMES[name]}`" if NO_SCHEMES[name] else ""
        raise ValueError(f"tiles cannot be split by `{name}`{instead}")
    return name


def is_column(scheme: str) -> bool:
    """Return whether a scheme is one by a column of the sheet, or the control of one.

    Examples
    --------
    >>> is_column("plate"), is_column("plate+shuffled"), is_column("image")
    (True, True, False)
    """
    return scheme not in (GROUP, IMAGE)


def control_of(column: str) -> str:
    """Return the name of the control of a column.

    Examples
    --------
    >>> control_of("plate")
    'plate+shuffled'
    """
    return f"{column}{SHUFFLED}"


def is_control(scheme: str) -> bool:
    """Return whether a scheme is the control of a column.

    Examples
    --------
    >>> is_control("plate+shuffled"), is_control("plate")
    (True, False)
    """
    return scheme.endswith(SHUFFLED)


def without_shuffling(scheme: str) -> str:
    """Return the scheme that a control is of; other schemes are unchanged.

    Examples
    --------
    >>> without_shuffling("plate+shuffled"), without_shuffling("group")
    ('plate', 'group')
    """
    return scheme.removesuffix(SHUFFLED)


def with_groups(scheme: str, k: int) -> str:
    """Return the name of a split of which heads see k training groups of each class.

    Examples
    --------
    >>> with_groups("group", 4)
    'group+4-per-class'
    """
    return f"{scheme}+{k}-per-class"


def groups_per_class(scheme: str) -> int:
    """Return how many training groups of each class heads see; 0: all, or a fraction.

    Examples
    --------
    >>> groups_per_class("group+4-per-class"), groups_per_class("group")
    (4, 0)
    """
    found = FEW_GROUPS.search(scheme)
    return int(found[1]) if found else 0


def with_all_groups(scheme: str) -> str:
    """Return the split of which a scheme shows few groups; other schemes are unchanged.

    Examples
    --------
    >>> with_all_groups("group+4-per-class"), with_all_groups("plate")
    ('group', 'plate')
    """
    return FEW_GROUPS.sub("", scheme)


def is_headline(scheme: str) -> bool:
    """Return whether stores are compared in a scheme: no control, and not of few groups.

    Examples
    --------
    >>> [is_headline(each) for each in ("group", "plate+shuffled", "group+4-per-class")]
    [True, False, False]
    """
    return not is_control(scheme) and not groups_per_class(scheme)


def scheme_order(scheme: str) -> tuple[int, str]:
    """Return the key by which schemes are ordered: group, image, then columns by name.

    Examples
    --------
    >>> sorted(["batch", "image", "group"], key=scheme_order)
    ['group', 'image', 'batch']
    """
    known = (GROUP, IMAGE)
    return known.index(scheme) if scheme in known else len(known), scheme


def with_controls(schemes: Iterable[str]) -> list[str]:
    """Return schemes, each column followed by its control.

    Examples
    --------
    >>> with_controls(["group", "plate"])
    ['group', 'plate', 'plate+shuffled']
    """
    found: list[str] = []
    for scheme in schemes:
        found += [scheme, control_of(scheme)] if is_column(scheme) else [scheme]
    return found
