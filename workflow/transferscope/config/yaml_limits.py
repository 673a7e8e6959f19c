"""Limits of YAML files: what a small text can grow into is known before anything is built."""

from __future__ import annotations

from typing import Any

import yaml

# Far more than any card or study has, and little enough for every reader of the result.
MOST_BYTES = 16 * 2**20
MOST_DEPTH = 60
MOST_VALUES = 1_000_000
LONGEST_PLAIN = 100_000
Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def check_yaml_limits(text: str) -> None:
    """Refuse a YAML text that is nested too deeply, or whose aliases grow without end.

    The text is parsed into events, of which none is kept: time and memory follow its length. An
    alias counts as all values that it stands for.

    Parameters
    ----------
    text
        The text.

    Raises
    ------
    yaml.MarkedYAMLError
        With the line of what is too much, or where the text is not valid YAML.
    """
    sizes: dict[str, int] = {}
    # Anchor and number of values of each list or mapping that is open; the first is the document.
    open_nodes: list[tuple[str | None, int]] = [(None, 0)]
    for event in yaml.parse(text, Parser):
        size = 0
        match event:
            case yaml.ScalarEvent():
                size = 1
                _keep(sizes, event.anchor, size)
                if event.implicit[0] and len(event.value) > LONGEST_PLAIN:
                    _refuse(event, f"a value of {len(event.value)} characters without quotes")
            case yaml.AliasEvent():
                if any(anchor == event.anchor for anchor, _ in open_nodes):
                    _refuse(event, f"*{event.anchor} refers to what it is part of")
                size = sizes.get(event.anchor or "", 1)
            case yaml.CollectionStartEvent():
                open_nodes.append((event.anchor, 1))
                if len(open_nodes) > MOST_DEPTH:
                    _refuse(event, f"nested more than {MOST_DEPTH} levels deep")
            case yaml.CollectionEndEvent():
                anchor, size = open_nodes.pop()
                _keep(sizes, anchor, size)
        above, before = open_nodes[-1]
        open_nodes[-1] = above, before + size
        if before + size > MOST_VALUES:
            _refuse(event, f"stands for more than {MOST_VALUES:,} values")


def _keep(sizes: dict[str, int], anchor: str | None, size: int) -> None:
    if anchor is not None:
        sizes[anchor] = size


def _refuse(event: yaml.Event, what: str) -> None:
    mark: Any = event.start_mark
    raise yaml.MarkedYAMLError(problem=what, problem_mark=mark)
