"""Gallery: tiles, such as cells, each with its nearest neighbours in the best store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from transferscope.cards import DatasetCard
from transferscope.compare.tables import matching
from transferscope.config.channel_strategies import family_of
from transferscope.config.paths import StudyPaths
from transferscope.config.probed import Probed
from transferscope.config.probes import KnnSettings
from transferscope.config.results import FigureSettings
from transferscope.config.schemes import scheme_order
from transferscope.figures.embedding_maps import StoreView
from transferscope.figures.style import (
    BLACK,
    OKABE_ITO,
    annotate,
    check_outputs,
    label_of,
    new_grid,
    note_that_nothing_is_shown,
    save,
    style,
)
from transferscope.probes.exclusion import exclusion_codes
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.nearest import fewest_allowed, nearest
from transferscope.runtime.arrays import Bools, Integers
from transferscope.runtime.seeds import derive_rng
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_tiles
from transferscope.stores.parquet import read_parquet, read_tile_table
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.contact_sheets import (
    add_scale_bar,
    composite,
    display_limits,
    drawn_channels,
    shrunk,
)

STYLE_VERSION = 1
NEIGHBOURS = 8
TILE_INCHES = 0.95
WRONG = OKABE_ITO[1]
RIGHT_FRAME = {"color": OKABE_ITO[0], "linestyle": "solid"}
WRONG_FRAME = {"color": WRONG, "linestyle": (0, (3.5, 2))}
EXCLUDED = {
    "none": "all other labelled tiles",
    "fov": "labelled tiles of other fields",
    "group": "labelled tiles of other groups",
    "batch": "labelled tiles of other batches",
}


@dataclass(frozen=True)
class Shown:
    """The rows of a gallery, the tile with the most neighbours of its class first.

    Parameters
    ----------
    tiles
        Rows of the tiles, int64 [n].
    neighbours
        Rows of their neighbours, the nearest first, int64 [n, k].
    right
        Which neighbours share a class with their tile, bool [n, k].
    """

    tiles: Integers
    neighbours: Integers
    right: Bools


def best_store(chosen: Path, probed: Sequence[Probed], paths: StudyPaths) -> StoreView | None:
    """Return the best store of a dataset, by group where the study has that scheme.

    Parameters
    ----------
    chosen
        Table of the comparison.
    probed
        What was evaluated on the dataset; of random orders, the first is shown.
    paths
        Paths of the study.
    """
    table = read_parquet(chosen)
    own = matching(table, dataset=probed[0].dataset).sort_values(
        "scheme", key=lambda s: s.map(scheme_order)
    )
    for best in zip(own["backbone"], own["channels"], strict=True):
        for p in probed:
            if (p.representation, family_of(p.channels)) == best:
                manifest = paths.embeddings_of(p)
                return StoreView(
                    f"{p.representation} / {p.channels}", manifest, p.output, p.channels
                )
    return None


def draw_gallery(
    view: StoreView | None,
    tiles: Path,
    table: Path,
    card: DatasetCard,
    knn: KnnSettings,
    settings: FigureSettings,
    outputs: Sequence[Path],
) -> None:
    """Draw some tiles of each class with their nearest neighbours.

    Parameters
    ----------
    view
        The store in which neighbours are searched for; None: only the floor was run.
    tiles, table
        Manifest of the tile store, and the tile table.
    card
        The dataset: its classes and intensity ranges.
    knn
        The first metric, and which tiles are excluded as neighbours.
    settings
        How many tiles, and the resolution.
    outputs
        Files to write, `.svg` or `.png`.

    Raises
    ------
    UserError
        Where a store or the table cannot be read, or a format is not known.
    """
    check_outputs(outputs)
    frame = read_tile_table(table)
    if view is not None:
        for store in (EmbeddingStore(view.manifest), TileStore(tiles)):
            check_tiles(table, frame, store, card.name)
    labelled = LabelledTiles.from_table(frame, card.labels, card.task)
    with style():
        shown = _search(view, labelled, knn, settings.gallery_tiles, card.name) if view else None
        if view is None or shown is None:
            figure = note_that_nothing_is_shown("Too few labelled tiles or stores for a gallery.")
        else:
            figure = _draw(view, shown, labelled, TileStore(tiles), card, knn)
        save(figure, outputs, settings.dpi)


def choose_tiles(labels: Bools, count: int, *names: object) -> Integers:
    """Draw tiles at random, the classes in turn, so that rare ones are shown as well.

    Parameters
    ----------
    labels
        [N, C].
    count
        How many at most.
    names
        What the draw depends on.
    """
    rng = derive_rng("gallery", *names)
    queues = [list(rng.permutation(np.flatnonzero(column))) for column in labels.T]
    chosen: dict[int, None] = {}
    while len(chosen) < count and any(queues):
        for queue in queues:
            while queue and int(queue[-1]) in chosen:
                queue.pop()
            if queue and len(chosen) < count:
                chosen[int(queue.pop())] = None
    return np.array(list(chosen), dtype=np.int64)


def _search(
    view: StoreView, tiles: LabelledTiles, knn: KnnSettings, count: int, dataset: str
) -> Shown | None:
    chosen = choose_tiles(tiles.matrix, count, dataset)
    codes = exclusion_codes(tiles, knn.exclude, dataset)
    # A tile is never its own neighbour.
    codes = np.arange(len(tiles), dtype=np.int64) if codes is None else codes
    candidates = np.flatnonzero(tiles.labelled)
    k = min(NEIGHBOURS, fewest_allowed(chosen, candidates, codes))
    if not len(chosen) or k < 1:
        return None
    embeddings = EmbeddingStore(view.manifest).read(view.output, view.strategy)
    searched = len(candidates)
    (near,) = nearest(embeddings, knn.metrics[0], chosen, candidates, [searched], [k], codes)
    found = near.rows
    own: npt.NDArray[np.bool_] = tiles.matrix[chosen][:, None]
    right = np.asarray((tiles.matrix[found] & own).any(axis=2))
    order = np.argsort(-right.sum(axis=1), kind="stable")
    return Shown(chosen[order], found[order], right[order])


def _draw(
    view: StoreView,
    shown: Shown,
    tiles: LabelledTiles,
    store: TileStore,
    card: DatasetCard,
    knn: KnnSettings,
) -> Figure:
    count, k = shown.neighbours.shape
    figure, grid = new_grid(
        1.5 + TILE_INCHES * (k + 1.3),
        1.7 + (TILE_INCHES + 0.16) * count,
        count,
        k + 2,
        width_ratios=[1, 0.25, *[1] * k],
        gridspec_kw={"wspace": 0.02},
    )
    limits = display_limits(store, card)
    for row, axes in enumerate(grid):
        show_tile(axes[0], store, limits, int(shown.tiles[row]))
        name = label_of(_classes(tiles, shown.tiles[row]), 16)
        text = f"{name}\n{shown.right[row].sum()} of {k} right"
        axes[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7.5, color=BLACK)
        axes[1].set_axis_off()
        for cell, neighbour, is_right in zip(
            axes[2:], shown.neighbours[row], shown.right[row], strict=True
        ):
            show_tile(cell, store, limits, int(neighbour))
            _frame(cell, bool(is_right), _classes(tiles, neighbour))
    if pixel_size := store.attributes.get("pixel_size_um"):
        add_scale_bar(grid[0, 0], float(pixel_size), store)
    grid[0, 0].set_title("Tile", fontsize=8.5, fontweight="bold")
    grid[0, 2].set_title("Nearest first", fontsize=8.5, fontweight="bold")
    share = float(shown.right.mean())
    title = f"{card.name}: {share:.0%} of the neighbours in {view.name} share a class"
    annotate(figure, title, _footnote(count, k, store.channels, knn))
    return figure


def _footnote(count: int, k: int, channels: list[str], knn: KnnSettings) -> str:
    return (
        f"{count} tiles drawn at random, the classes in turn, those with the most right neighbours "
        f"first; each with its {k} nearest ({knn.metrics[0]}) among {EXCLUDED[knn.exclude]}. "
        "Solid blue frame: shares a class with the tile; dashed orange frame: shares none, its "
        f"class is named below it. No split is involved. Colours: {colours_in_words(channels)}; "
        "all tiles are scaled alike."
    )


def colours_in_words(channels: list[str]) -> str:
    """Say in which colour each channel is drawn."""
    return ", ".join(f"{_COLOUR_NAMES[c]}: {n}" for n, c in drawn_channels(channels).items())


_COLOUR_NAMES = {
    (1.0, 1.0, 1.0): "grey",
    (0.0, 0.45, 1.0): "blue",
    (1.0, 0.8, 0.0): "yellow",
    (0.9, 0.35, 0.7): "purple",
    (1.0, 0.0, 0.0): "red",
    (0.0, 1.0, 0.0): "green",
    (0.0, 0.0, 1.0): "blue",
}


def _classes(tiles: LabelledTiles, row: int) -> str:
    return ", ".join(np.array(tiles.classes)[tiles.matrix[row]])


def show_tile(axes: Axes, store: TileStore, limits: npt.NDArray[np.float64], row: int) -> None:
    """Draw a tile of a store in colours, without axes."""
    image = composite(shrunk(store.read(row, row + 1)[0]), limits, store.channels)
    axes.imshow((image * 255).round().astype(np.uint8), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _frame(axes: Axes, is_right: bool, classes: str) -> None:
    # Outside the tile, where dashes are seen on white.
    axes.spines[:].set_position(("outward", 1.6))
    axes.spines[:].set(visible=True, linewidth=1.8, **(RIGHT_FRAME if is_right else WRONG_FRAME))
    if not is_right:
        axes.set_xlabel(label_of(classes, 17, 1), fontsize=6, color=WRONG, labelpad=2)
