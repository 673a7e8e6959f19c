"""Levels at which a store is scored, and the aggregation of tiles at each."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from transferscope.config.probed import Probed
from transferscope.config.probes import AggregateSettings, AggregationMethod

TILES, FIELDS, TILE = "tiles", "fields", "tile"
VARIANT = ["source", "level", "aggregation"]


@dataclass(frozen=True, order=True)
class Variant:
    """One way to score a store.

    Parameters
    ----------
    source
        `tiles` of the dataset itself, or `fields`: whole fields of another dataset.
    level
        Unit that is scored: `tile`, `fov` or `group`.
    method
        Aggregation of the embeddings.
    """

    source: str
    level: str
    method: AggregationMethod = "mean"

    @classmethod
    def of(cls, source: str, level: str, aggregation: str) -> Variant:
        """Return the variant that has these values of the columns `VARIANT`."""
        return cls(source, level, "median" if aggregation == "median" else "mean")

    @property
    def name(self) -> str:
        """Name in file names.

        Examples
        --------
        >>> Variant("tiles", "tile").name, Variant("fields", "group", "median").name
        ('tile', 'fields-group-median')
        """
        if self.level == TILE:
            return TILE
        return f"{self.source}-{self.level}-{self.method}"

    @property
    def columns(self) -> dict[str, str]:
        """Values of the columns `VARIANT`; single tiles have no aggregation."""
        method = "" if self.level == TILE else self.method
        return dict(zip(VARIANT, (self.source, self.level, method), strict=True))

    def __str__(self) -> str:
        if self.level == TILE:
            return "single tiles"
        target = {"fov": "field", "group": "group"}[self.level]
        if self.source == FIELDS and self.level == "fov":
            return "whole fields"
        source = "whole fields" if self.source == FIELDS else "tiles"
        return f"{self.method} of {source} a {target}"


def variants_of(settings: AggregateSettings, with_fields: bool) -> list[Variant]:
    """Return all variants of the settings, single tiles first.

    Parameters
    ----------
    settings
        Levels and methods.
    with_fields
        Whether whole fields are scored as well. A field has one embedding, so only groups of
        fields have both a mean and a median.
    """
    found = [Variant(TILES, TILE)]
    for level in settings.levels:
        found += [Variant(TILES, level, method) for method in settings.methods]
        if with_fields:
            methods = settings.methods if level == "group" else settings.methods[:1]
            found += [Variant(FIELDS, level, method) for method in methods]
    return found


def has_fields(probed: Probed, others: Collection[Probed], settings: AggregateSettings) -> bool:
    """Return whether the whole fields of a dataset were embedded in the same way as its tiles."""
    return fields_of(probed, settings) in others


def fields_of(probed: Probed, settings: AggregateSettings) -> Probed | None:
    """Return the store of whole fields for a store of cells, if one is configured."""
    dataset = settings.fields.get(probed.dataset)
    return replace(probed, dataset=dataset) if dataset else None


def scored_at_levels(probed: Sequence[Probed], settings: AggregateSettings) -> list[Probed]:
    """Return what is scored at several levels: all but the datasets of whole fields."""
    if not settings.levels:
        return []
    return [p for p in probed if p.dataset not in settings.fields.values()]
