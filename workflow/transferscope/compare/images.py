"""What was found out about the images of a dataset, read from its tiles."""

from __future__ import annotations

from transferscope.compare.evidence import LookedAt
from transferscope.config.paths import StudyPaths
from transferscope.probes.splits import one_image_per_group
from transferscope.stores.parquet import read_tile_table
from transferscope.tiles.finishing import doubts_of_store


def looked_at(paths: StudyPaths, dataset: str) -> LookedAt:
    """Return what is known of the images of a dataset; nothing where there are no tiles.

    Parameters
    ----------
    paths
        Paths of the study.
    dataset
        Name of the dataset.
    """
    table = paths.tile_table(dataset)
    single = table.is_file() and one_image_per_group(read_tile_table(table))
    return LookedAt(doubts_of_store(paths.tiles(dataset)), single)
