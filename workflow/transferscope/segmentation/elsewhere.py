"""Test of trained decoders out of domain: all tiles with a mask of another dataset."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.backbones.readout import Backbone
from transferscope.config.segmentation import SegmentationSettings
from transferscope.errors import Problem, UserError
from transferscope.finetuning.network import TileInput
from transferscope.probes.evaluation import Division
from transferscope.runtime.arrays import Floats32, Integers
from transferscope.segmentation.features import FeatureMaps, MapReader, compute_maps
from transferscope.segmentation.masks import TrueMasks
from transferscope.segmentation.table_names import TESTED_ON
from transferscope.segmentation.tested import TestedTiles
from transferscope.segmentation.views import possible_views
from transferscope.stores.origin import FIX, check_origin, check_tiles
from transferscope.stores.parquet import read_tile_table
from transferscope.stores.target_store import TargetStore
from transferscope.stores.tile_store import TileStore
from transferscope.training.tiles import TrainingTiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OtherFiles:
    """Manifests of the tile store and the target store of another dataset, and its tile table."""

    tiles: Path
    targets: Path
    table: Path


@dataclass(frozen=True)
class Elsewhere:
    """Another dataset, as the decoders of the first see it.

    Parameters
    ----------
    dataset
        Its name.
    rows
        Its tiles that are tested.
    tested
        Their true masks, and names of all its tiles.
    source
        Its raw tiles to the backbone's input, by its own range of intensities.
    tiles, maps
        What is tested.
    fingerprint
        Of its tiles, its targets, and which of them are tested.
    """

    dataset: str
    rows: Integers
    tested: TestedTiles
    source: TileInput
    tiles: TrainingTiles
    maps: FeatureMaps
    fingerprint: list[object]

    def named_rows(
        self, head: str, division: Division, row: int, logits: Floats32, min_pixels: int
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows of `TestedTiles.rows`, with the name of the dataset."""
        for found in self.tested.rows(head, division, row, logits, min_pixels):
            yield {TESTED_ON: self.dataset, **found}


def open_elsewhere(
    files: OtherFiles,
    known_groups: set[str],
    classes: tuple[str, ...],
    feed: Callable[[TileStore], tuple[Backbone, TileInput]],
    settings: SegmentationSettings,
    batch_size: int,
    folder: Path,
) -> Elsewhere | None:
    """Open another dataset, and compute its maps; None where no tile is left to test.

    Parameters
    ----------
    files
        The dataset.
    known_groups
        Groups of the dataset that decoders are trained on: those of the same name are left out.
    classes
        Its classes, which the other must have, too.
    feed
        Opens the backbone, and what feeds it the tiles of a store.
    settings
        Which decoders, views, size of masks, and whether single objects are found.
    batch_size
        Tiles per forward pass.
    folder
        Where a temporary file goes if maps do not fit into memory.

    Raises
    ------
    UserError
        Where the files do not belong together, or the classes differ.
    """
    store, targets = TileStore(files.tiles), TargetStore.open(files.targets)
    dataset = str(targets.attributes["dataset"])
    table = read_tile_table(files.table)
    check_tiles(files.table, table, store, dataset)
    check_origin(files.targets, targets.attributes, {"tiles_sha256": store.content_sha256})
    if targets.tile_ids != store.tile_ids:
        raise UserError(Problem(str(files.targets), f"is of other tiles than {store.path}", FIX))
    if targets.classes != classes:
        what = f"its classes are {', '.join(targets.classes)}, not {', '.join(classes)}"
        raise UserError(Problem(str(files.targets), what, "Name the classes of both alike."))
    groups = np.asarray(table["group"].astype(str), dtype=object)
    shared = np.isin(groups, sorted(known_groups))
    if left_out := len(set(groups[shared])):
        text = "%s: %d groups are groups of the training, too, by their names: left out"
        logger.warning(text, dataset, left_out)
    rows = np.flatnonzero(targets.has_mask & ~shared).astype(np.int64)
    if not len(rows):
        logger.warning("%s: no tile with a mask is left to test", dataset)
        return None
    backbone, source = feed(store)
    tiles = TrainingTiles.open(files.tiles, rows)
    read = MapReader(backbone, source, settings.decoders)
    views = possible_views(settings.views, store.tile_size, dataset)
    maps = compute_maps(tiles, read, batch_size, folder, views)
    masks = TrueMasks.read(targets, rows, settings.size, objects=settings.objects)
    ids = np.asarray(store.tile_ids, dtype=object)
    made_from: list[object] = [dataset, store.content_sha256, targets.content_sha256, rows.tolist()]
    tested = TestedTiles(ids, groups, masks, settings.objects)
    return Elsewhere(dataset, rows, tested, source, tiles, maps, made_from)
