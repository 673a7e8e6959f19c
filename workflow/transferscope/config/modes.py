"""Modes of fine-tuning: which weights are trained; their names in config, tables and texts."""

from __future__ import annotations

import re

FULL, LORA, HEAD = "full", "lora", "head"
_LAST = r"last-([1-9]\d*)"
# Pattern of the modes in config and paths.
PATTERN = rf"{FULL}|{LORA}|{HEAD}|{_LAST}"
_PREFIX = "finetune-"


def check_mode(mode: str) -> str:
    """Return a name if it is that of a mode.

    Raises
    ------
    ValueError
        If there is no such mode.
    """
    if not re.fullmatch(PATTERN, mode):
        raise ValueError("no such mode. Known: full, last-<number of layers>, lora, head")
    return mode


def last_layers(mode: str) -> int | None:
    """Return how many layers, counted from the end, a mode trains; None: for another mode.

    Examples
    --------
    >>> last_layers("last-2"), last_layers("full")
    (2, None)
    """
    found = re.fullmatch(_LAST, mode)
    return int(found[1]) if found else None


def head_of_mode(mode: str) -> str:
    """Return the name of a mode in the column `head` of the score tables.

    Examples
    --------
    >>> head_of_mode("full")
    'finetune-full'
    """
    return f"{_PREFIX}{mode}"


def is_tuned(head: str) -> bool:
    """Return whether a head was trained together with its backbone.

    Examples
    --------
    >>> is_tuned("finetune-last-2"), is_tuned("mlp")
    (True, False)
    """
    return head.startswith(_PREFIX)


def mode_of_head(head: str) -> str:
    """Return the mode of a head that was trained with its backbone.

    Examples
    --------
    >>> mode_of_head("finetune-last-2")
    'last-2'

    Raises
    ------
    ValueError
        If it is not such a head.
    """
    if not is_tuned(head):
        raise ValueError(f"no head of a fine-tuning: {head}")
    return check_mode(head.removeprefix(_PREFIX))


def described(mode: str) -> str:
    """Return the description of a mode in a text.

    Examples
    --------
    >>> described("full"), described("last-1"), described("lora")
    ('all layers', 'the last layer', 'low-rank updates (LoRA)')
    """
    n_layers = last_layers(mode)
    if n_layers is not None:
        return "the last layer" if n_layers == 1 else f"the last {n_layers} layers"
    return {FULL: "all layers", LORA: "low-rank updates (LoRA)", HEAD: "the head alone"}[mode]
