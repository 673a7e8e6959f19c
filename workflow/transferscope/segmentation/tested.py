"""Tiles that decoders are tested on, and the rows of their scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transferscope.probes.evaluation import Division, division_columns
from transferscope.runtime.arrays import Floats32, Texts
from transferscope.segmentation.masks import UNKNOWN, TrueMasks
from transferscope.segmentation.object_maps import predicted_objects
from transferscope.segmentation.scores import object_scores, predicted_classes, tile_rows


@dataclass(frozen=True)
class TestedTiles:
    """Tiles of one dataset.

    Parameters
    ----------
    tile_ids, groups
        Of each row of its tile store.
    masks
        True masks of those that are tested.
    finds_objects
        Whether the decoders predict single objects; they are scored where masks tell them apart.
    """

    tile_ids: Texts
    groups: Texts
    masks: TrueMasks
    finds_objects: bool

    def rows(
        self, head: str, division: Division, row: int, logits: Floats32
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of the table of tiles of one predicted tile, one per class.

        Parameters
        ----------
        head, division
            Decoder, and what it was trained on.
        row
            Of the tile store.
        logits
            [K, H, W], at the size of the tile.
        """
        named = {
            "head": head,
            **division_columns(division),
            "row": row,
            "tile_id": self.tile_ids[row],
            "group": self.groups[row],
        }
        masks, of_objects = self.masks, dict[str, float]()
        place = int(masks.rows.searchsorted(row))
        if masks.objects is not None:
            known = masks.values[place] != UNKNOWN
            found = predicted_objects(logits)
            of_objects = object_scores(found, masks.objects.labels[place], known)
        if self.finds_objects:
            logits = logits[:1]
        for scored in tile_rows(predicted_classes(logits), masks.values[place], masks.classes):
            yield named | scored | of_objects
