"""JSON from files that may hold anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def parse_json(
    text: str | bytes, of_pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    text
        The text.
    of_pairs
        Makes an object of its keys and values; None: a dict.

    Raises
    ------
    ValueError
        Where it is not JSON, or is nested too deeply for any use here.
    """
    try:
        return json.loads(text, object_pairs_hook=of_pairs)
    except RecursionError:
        raise ValueError("nested too deeply") from None
