"""No number of a card or a study is infinite, or no number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from transferscope.cards import BackboneCard, DatasetCard
from transferscope.config.model import validate
from transferscope.config.study import StudyConfig
from transferscope.errors import UserError


def numbers(node: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every number of plain data."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from numbers(value, (*place, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*place, key)


def replaced(node: Any, place: tuple[Any, ...], value: float) -> Any:
    """Return plain data with one value replaced."""
    key, *rest = place
    new = dict(node) if isinstance(node, dict) else list(node)
    new[key] = replaced(node[key], tuple(rest), value) if rest else value
    return new


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize(
    ("folder", "kind"),
    [("resources/backbones", BackboneCard), ("resources/datasets", DatasetCard), ("", StudyConfig)],
)
def test_every_number_is_finite(repository: Path, folder: str, kind: Any, value: float) -> None:
    paths = (repository / folder).glob("*.yaml") if folder else [repository / "config.yaml"]
    tried = 0
    for path in sorted(paths):
        given = yaml.safe_load(path.read_text())
        # Arguments of an architecture are the network's, which judges them.
        for place in numbers({k: v for k, v in given.items() if k != "arguments"}):
            with pytest.raises(UserError, match=str(place[0])):
                validate(replaced(given, place, value), kind, str(path))
            tried += 1
    assert tried > 5
