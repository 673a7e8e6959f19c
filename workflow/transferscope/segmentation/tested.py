"""Tiles that decoders are tested on, and the rows of their scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from transferscope.cells.outlines import outlines
from transferscope.probes.evaluation import Division, division_columns
from transferscope.runtime.arrays import Floats32, Mask, Texts
from transferscope.segmentation.kept_masks import packed
from transferscope.segmentation.masks import UNKNOWN, TrueMasks
from transferscope.segmentation.object_maps import predicted_objects
from transferscope.segmentation.scores import object_scores, predicted_classes, tile_rows
from transferscope.segmentation.table_names import MASK


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
    kept
        Seed and fraction of the divisions whose predicted masks are kept; None: none.
    """

    tile_ids: Texts
    groups: Texts
    masks: TrueMasks
    finds_objects: bool
    kept: tuple[int, float] | None = None

    def rows(
        self, head: str, division: Division, row: int, logits: Floats32, min_pixels: int
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
        min_pixels
            Smaller objects are left out.
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
        keeps = self.kept == (division.seed, division.fraction)
        objects = None
        if masks.objects is not None or (self.finds_objects and keeps):
            objects = predicted_objects(logits, min_pixels)
        if masks.objects is not None and objects is not None:
            known = masks.values[place] != UNKNOWN
            of_objects = object_scores(objects, masks.objects.labels[place], known)
        found = predicted_classes(logits[:1] if self.finds_objects else logits)
        kept = {}
        if keeps:
            kept[MASK] = packed(found if objects is None else objects)
        for scored in tile_rows(found, masks.values[place], masks.classes):
            yield named | scored | of_objects | kept

    def true_outline(self, row: int) -> Mask:
        """Return the outline of the true mask of a tile, bool [H, W]."""
        masks, place = self.masks, int(self.masks.rows.searchsorted(row))
        if masks.objects is not None:
            return outlines(masks.objects.labels[place])
        return outlines(np.where(masks.values[place] == UNKNOWN, 0, masks.values[place]))
