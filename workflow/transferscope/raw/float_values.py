"""Fields of floats become integers: black and white of their card become 0 and 65,535.

Floats have no black and white of their own, and no largest value by which saturated pixels could be
counted; so a card has to say what they are. Tiles are stored as integers whatever the files hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transferscope.cards import DatasetCard
from transferscope.runtime.arrays import Pixels

FLOAT_TYPES = ("float16", "float32", "float64")
STORED = np.dtype(np.uint16)
WHITE = float(np.iinfo(STORED).max)


def stored_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the integer type in which tiles of fields of a type are stored."""
    return STORED if dtype.kind == "f" else dtype


def stored_ranges(card: DatasetCard, dtype: np.dtype[Any]) -> list[list[float]]:
    """Return black and white of each channel as stored, [C][2].

    Parameters
    ----------
    card
        The dataset.
    dtype
        Type of its raw fields: of integers, the card's range counts, or else that of the type.
    """
    whole = (0.0, float(np.iinfo(stored_type(dtype)).max))
    given = {} if dtype.kind == "f" else card.given_ranges
    return [[float(value) for value in given.get(channel, whole)] for channel in card.channels]


def scaled_from(card: DatasetCard, dtype: np.dtype[Any]) -> list[tuple[float, float]] | None:
    """Return the range in the files of each channel of floats; None of integers."""
    if dtype.kind != "f":
        return None
    return [card.given_ranges[channel] for channel in card.channels]


def without_range(card: DatasetCard, dtype: np.dtype[Any]) -> Sequence[str]:
    """Return the channels of floats for which the card has no black and white."""
    if dtype.kind != "f":
        return []
    return [channel for channel in card.channels if channel not in card.given_ranges]


def as_stored(field: Pixels, card: DatasetCard) -> Pixels:
    """Return a field as it is stored: integers as they are, floats scaled to uint16.

    Values outside the card's range become black or white, which is counted as saturated.

    Parameters
    ----------
    field
        [C, H, W], finite.
    card
        The dataset; of floats, with a range for every channel.
    """
    if field.dtype.kind != "f":
        return field
    stored = np.empty(field.shape, STORED)
    for place, plane, name in zip(stored, field, card.channels, strict=True):
        low, high = card.given_ranges[name]
        scaled = (plane.astype(np.float64) - low) * (WHITE / (high - low))
        place[:] = np.rint(scaled.clip(0, WHITE))
    return stored
