"""The tiles of a dataset as the page shows them: on a map, and sorted by what is predicted.

Positions are those of the figure of the maps where that shows all labelled tiles. What is predicted
is read from the table of predictions of the store and the head that the summary writes about:
nothing is predicted, or judged, here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from transferscope.cards import DatasetCard
from transferscope.compare.tables import Head, classes_of, head_of, matching
from transferscope.config.channel_strategies import family_of
from transferscope.config.model import read_model
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.config.results import FigureSettings
from transferscope.figures.embedding_maps import FEWEST_TILES, StoreView, rows_to_show
from transferscope.figures.projection import TITLES, Matrix, project
from transferscope.probes.labels import LabelledTiles
from transferscope.report.sprites import Sprites
from transferscope.runtime.arrays import Bools, Integers
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_tiles
from transferscope.stores.parquet import read_tile_table
from transferscope.stores.tile_store import TileStore

# At most, per dataset; the figure of the maps may show fewer.
MOST_TILES = 5000
# Of the page, which the datasets share.
PICTURE_BYTES = 4_500_000
CLASS_COLUMNS = ["class", "n_positive", "n_positive_groups", "n_predicted", "f1"]
INTERVAL = ["ci_low", "ci_high"]


@dataclass(frozen=True)
class ShownDataset:
    """Where the tiles of a dataset are.

    Parameters
    ----------
    card, table
        Its card, and its tile table with the labels that count.
    tiles
        Manifest of its tiles; None: it has none, and no pictures are shown.
    """

    card: Path
    table: Path
    tiles: Path | None = None


@dataclass(frozen=True)
class Winner:
    """The store and the head that the summary writes about, by group where there is such a split.

    Parameters
    ----------
    view
        The store.
    head, scheme
        The head and the split.
    columns
        Names of the store in tables.
    predictions
        The file with its predictions; None: there is none.
    """

    view: StoreView
    head: Head
    scheme: str
    columns: dict[str, str]
    predictions: Path | None


def shown_tiles(
    datasets: Mapping[str, ShownDataset],
    stores: Sequence[Probed],
    probes: Sequence[str],
    paths: StudyPaths,
    chosen: pd.DataFrame,
    per_class: pd.DataFrame,
    settings: FigureSettings,
) -> list[dict[str, Any]]:
    """Return what the page shows of the tiles of each dataset.

    Parameters
    ----------
    datasets
        Dataset -> where its tiles are.
    stores, probes
        All that was evaluated.
    paths
        Paths of the study.
    chosen, per_class
        Tables of the comparison.
    settings
        Of the figures: kind of map, and its most tiles.

    Returns
    -------
    list of dict
        One entry per dataset that has a best store and enough labelled tiles.
    """
    found = []
    for name, place in datasets.items():
        probed = [p for p in stores if p.dataset == name]
        winner = _winner(name, probed, probes, paths, chosen)
        if winner is None:
            continue
        own = matching(per_class, winner.head, dataset=name, scheme=winner.scheme, **winner.columns)
        shown = _of_dataset(place, winner, own, settings, PICTURE_BYTES // len(datasets))
        found += [] if shown is None else [shown]
    return found


def _winner(
    dataset: str,
    probed: Sequence[Probed],
    probes: Sequence[str],
    paths: StudyPaths,
    chosen: pd.DataFrame,
) -> Winner | None:
    own = matching(chosen, dataset=dataset).sort_values("scheme")
    for row in own.to_dict("records"):
        columns = {"backbone": str(row["backbone"]), "channels": str(row["channels"])}
        for p in probed:
            if [p.representation, family_of(p.channels)] != [*columns.values()]:
                continue
            view = StoreView(
                f"{p.representation} / {p.channels}", paths.embeddings_of(p), p.output, p.channels
            )
            head, scheme = head_of(row), str(row["scheme"])
            files = (paths.predictions(each, dataset, *_store(p)) for each in probes)
            predictions = next((file for file in files if _has(file, head, scheme)), None)
            return Winner(view, head, scheme, columns, predictions)
    return None


def _store(p: Probed) -> tuple[str, str]:
    return p.representation, p.channels


def _has(path: Path, head: Head, scheme: str) -> bool:
    """Return whether a table has predictions of a head."""
    return path.exists() and bool(len(_predictions(path, head, scheme, ["fraction"])))


def _predictions(path: Path, head: Head, scheme: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the predictions of the first repeat, from all training labels."""
    wanted = [("head", "==", head.kind), ("scheme", "==", scheme)]
    keys = ["head", "k", "scheme", "seed", "fraction"]
    columns = [*dict.fromkeys([*keys, *columns])]
    found = pq.read_table(path, columns=columns, filters=wanted).to_pandas()
    found = matching(found, head)
    first = (found["fraction"] == found["fraction"].max()) & (found["seed"] == found["seed"].min())
    rows: pd.DataFrame = found[first]
    return rows


def _of_dataset(
    place: ShownDataset,
    winner: Winner,
    per_class: pd.DataFrame,
    settings: FigureSettings,
    most_bytes: int,
) -> dict[str, Any] | None:
    card = read_model(place.card, DatasetCard)
    frame = read_tile_table(place.table)
    labelled = LabelledTiles.from_table(frame, card.labels, card.task)
    rows = rows_to_show(labelled, max(settings.map_points, MOST_TILES), card.name)
    if len(rows) < FEWEST_TILES:
        return None
    store = EmbeddingStore(winner.view.manifest)
    check_tiles(place.table, frame, store, card.name)
    embeddings = store.read(winner.view.output, winner.view.strategy)[rows]
    places = project(embeddings, settings.map, card.name)
    predicted = _predicted(winner, labelled, rows)
    groups, group = np.unique(labelled.groups[rows], return_inverse=True)
    columns = [*CLASS_COLUMNS, *INTERVAL]
    table = per_class.reindex(columns=columns).astype(object)
    return {
        "dataset": card.name,
        "store": winner.view.name,
        "head": str(winner.head),
        "scheme": winner.scheme,
        "multi_label": card.task == "multi-label",
        "map": TITLES[settings.map],
        "n_labelled": int(labelled.labelled.sum()),
        "classes": labelled.classes,
        "ids": labelled.tile_ids[rows].tolist(),
        "groups": groups.tolist(),
        "group": group.tolist(),
        "places": _in_box(places),
        "true": _indices(labelled.matrix[rows]),
        "predicted": predicted,
        "per_class": table.where(table.notna(), None).to_dict("records"),
        "pictures": _pictures(place, card, rows, most_bytes),
    }


def _predicted(winner: Winner, tiles: LabelledTiles, rows: Integers) -> list[list[int] | None]:
    """Return the predicted classes of each tile; None for a tile that was in no test fold."""
    nothing: list[list[int] | None] = [None] * len(rows)
    if winner.predictions is None:
        return nothing
    classes = classes_of(winner.predictions)
    columns = [f"predicted_{j}" for j in range(len(classes))]
    table = _predictions(winner.predictions, winner.head, winner.scheme, ["tile_id", *columns])
    table = table.drop_duplicates("tile_id")
    places = [tiles.classes.index(name) for name in classes]
    given = table[columns].to_numpy(bool)
    of_tile = {
        str(tile): [places[j] for j in np.flatnonzero(line)]
        for tile, line in zip(table["tile_id"], given, strict=True)
    }
    return [of_tile.get(str(tile)) for tile in tiles.tile_ids[rows]]


def _pictures(
    place: ShownDataset, card: DatasetCard, rows: Integers, most_bytes: int
) -> dict[str, Any] | None:
    if place.tiles is None:
        return None
    store = TileStore(place.tiles)
    return Sprites.drawn(store, card, rows).within(most_bytes)


def _indices(matrix: Bools) -> list[list[int]]:
    return [np.flatnonzero(line).tolist() for line in matrix]


def _in_box(places: Matrix) -> list[list[float]]:
    """Scale positions to 0 to 1 on each axis: distances of these maps mean nothing."""
    found = np.asarray(places, dtype=np.float64)
    extent = np.ptp(found, axis=0)
    scaled = (found - found.min(axis=0)) / np.where(extent > 0, extent, 1)
    box: list[list[float]] = scaled.round(4).tolist()
    return box
