"""Conversion of all stores of a study that an older version has written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transferscope.config.channel_strategies import GIVEN
from transferscope.config.paths import StudyPaths
from transferscope.errors import Problem, UserError
from transferscope.stores.conversion import convert
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.tile_store import TileStore
from transferscope.upkeep.manifests import manifests_in


@dataclass(frozen=True)
class Converted:
    """The outcome of a conversion.

    Parameters
    ----------
    stores
        Manifests of the stores that were converted.
    others
        Number of stores that were not.
    problems
        Why stores were left as they are.
    """

    stores: list[Path]
    others: int
    problems: list[Problem]


def convert_study(root: Path) -> Converted:
    """Convert every store of a study to the current version of the format, tiles first.

    Nothing has to be made again afterwards: values, fingerprints and the times of manifests stay.

    Parameters
    ----------
    root
        Folder of the study, `<results>/<study>`.
    """
    paths = StudyPaths(root)
    converted: list[Path] = []
    problems: list[Problem] = []
    found = manifests_in(root)
    for manifest, kind in found:
        try:
            of_tiles = paths.tiles(manifest.parents[1].name)
            # Features that were given were made from no tiles.
            is_given = manifest.stem == GIVEN and not of_tiles.exists()
            is_embedding = kind is EmbeddingStore and not is_given
            tiles = TileStore(of_tiles) if is_embedding else None
            if convert(manifest, kind, tiles):
                converted.append(manifest)
        except UserError as error:
            problems += error.problems
    return Converted(converted, len(found) - len(converted), problems)
