"""Values kept in a JSON file between runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.json_text import parse_json


class JsonCache:
    """Values by key, written to a file with each new one.

    Parameters
    ----------
    path
        JSON file; if it is damaged or missing, the cache is empty.
    parse
        Makes a value of what the file holds. Values are plain data or dataclasses.
    """

    def __init__(self, path: Path, parse: Callable[[Any], Any]) -> None:
        self._path = path
        try:
            found = parse_json(path.read_text(encoding="utf-8"))
            self.values = {key: parse(value) for key, value in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self.values = {}

    def put(self, key: str, value: Any) -> None:
        """Add a value; if the file cannot be written, it is computed again at the next start."""
        self.values[key] = value
        text = json.dumps(self.values, default=asdict, indent=1, sort_keys=True)
        with suppress(OSError):
            write_atomically(self._path, text)
