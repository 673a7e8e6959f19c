"""Maps: the embeddings of each store in two dimensions, with a number for what the eye sees.

A map by t-SNE or UMAP has no scale and no error bar. So each map states how pure the neighbourhoods
are in the embedding itself: the share of a tile's nearest neighbours that share a class with it.
Only neighbours of other groups count, because tiles of one group are alike for other reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.preprocessing import normalize

from transferscope.cards import DatasetCard
from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.uncertainty import Inflation, interval, variances
from transferscope.config.results import FigureSettings
from transferscope.figures.projection import PRINCIPAL_COMPONENTS, TITLES, Matrix, project
from transferscope.figures.style import (
    MANY_COLOURS,
    PALE,
    annotate,
    check_outputs,
    label_of,
    legend_key,
    legend_on_the_right,
    new_grid,
    note_that_nothing_is_shown,
    save,
    style,
)
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.metrics import ratio
from transferscope.runtime.arrays import Bools, Integers
from transferscope.runtime.progress import progress_bar
from transferscope.runtime.seeds import derive_rng
from transferscope.stores.embedding_store import EmbeddingStore
from transferscope.stores.origin import check_tiles
from transferscope.stores.parquet import read_tile_table

NEIGHBOURS = 10
DRAWS = 1000
CONFIDENCE = 0.95
COLUMNS = 4
# A map takes seconds, and the report has no room for more than these.
MOST_MAPS = 12
FEWEST_TILES = 5
TOO_FEW = {True: "Too few labelled tiles for a map.", False: "Too few tiles for a map."}


@dataclass(frozen=True)
class StoreView:
    """A representation of an embedding store.

    Parameters
    ----------
    name
        How the map is titled, `backbone / channels`.
    manifest
        Manifest of the embedding store.
    output
        Output of the backbone; None: the first.
    strategy
        The channel strategy that reads the store; None: all passes, concatenated.
    """

    name: str
    manifest: Path
    output: str | None = None
    strategy: str | None = None


@dataclass(frozen=True)
class Purity:
    """How many of the nearest neighbours in other groups share a class.

    Parameters
    ----------
    value, low, high
        Mean over tiles, and its interval over groups.
    chance
        The same for tiles of other groups drawn at random.
    """

    value: float
    low: float
    high: float
    chance: float


def draw_embedding_maps(
    views: Sequence[StoreView],
    table: Path,
    card: DatasetCard,
    settings: FigureSettings,
    outputs: Sequence[Path],
) -> None:
    """Draw the maps of all stores of one dataset next to each other.

    Parameters
    ----------
    views
        What to show, in this order.
    table
        Tile table of the dataset.
    card
        Card of the dataset, for its classes.
    settings
        Resolution, kind of map, and the most tiles to show.
    outputs
        Files to write, `.svg` or `.png`.

    Raises
    ------
    UserError
        Where a store or the table cannot be read or the two do not agree.
    """
    check_outputs(outputs)
    frame = read_tile_table(table)
    check = partial(check_tiles, table, frame, dataset=card.name)
    tiles = LabelledTiles.from_table(frame, card.labels, card.task)
    rows = rows_to_show(tiles, settings.map_points, card.name)
    with style():
        if len(rows) < FEWEST_TILES:
            figure = note_that_nothing_is_shown(TOO_FEW[bool(tiles.labelled.any())])
        else:
            figure = _draw(views, check, tiles, rows, card, settings.map)
        save(figure, outputs, settings.dpi)


def neighbour_purity(embeddings: Matrix, labels: Bools, group: Integers, *names: object) -> Purity:
    """Measure how often near tiles of other groups share a class, by cosine similarity.

    Parameters
    ----------
    embeddings
        [N, D].
    labels
        Label indicators, [N, C].
    group
        Index of each tile's group, [N].
    names
        What the draws of the interval depend on.
    """
    unit = normalize(embeddings)
    similarity = unit @ unit.T
    other = group[:, None] != group[None, :]
    similarity[~other] = -np.inf
    k = min(NEIGHBOURS, int(other.sum(axis=1).min()))
    if k == 0:
        return Purity(*[math.nan] * 4)
    shares = (labels.astype(np.float32) @ labels.T.astype(np.float32)) > 0
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    of_tiles = np.take_along_axis(shares, nearest, axis=1).mean(axis=1)
    chance = float((shares & other).sum() / other.sum())
    n_groups = int(group.max()) + 1
    weights = draw_weights(n_groups, DRAWS, "map", *names)
    total = np.bincount(group, weights=of_tiles, minlength=n_groups)
    count = np.bincount(group, minlength=n_groups)
    exact = weights.astype(np.float64)
    draws = ratio(exact @ total, exact @ count)
    # Nothing is trained: the groups are all that varies.
    groups_only = Inflation(1.0, max(n_groups - 1, 1))
    low, high = interval(draws[0], variances(draws), groups_only, CONFIDENCE, 0, 1)
    return Purity(float(draws[0]), float(low), float(high), chance)


def colour_by_class(labels: Bools) -> Integers:
    """Choose the class whose colour a tile takes; -1 where none of its classes is shown.

    The most frequent classes are shown, as many as there are distinguishable colours. A tile with
    several takes the rarest of them, which distinguishes it best.
    """
    counts = labels.sum(axis=0)
    shown = np.argsort(-counts, kind="stable")[: len(MANY_COLOURS)]
    chosen = np.full(len(labels), -1, dtype=np.int64)
    for j in shown:  # from the most frequent to the rarest
        chosen[labels[:, j]] = j
    return chosen


def rows_to_show(tiles: LabelledTiles, most: int, dataset: str) -> Integers:
    """Return the rows of a map: labelled tiles, or all where no tile has a label.

    Above a number, that many of them are drawn at random.
    """
    rows = np.flatnonzero(tiles.labelled | ~tiles.labelled.any())
    if len(rows) <= most:
        return rows
    return np.sort(derive_rng("map", dataset).choice(rows, most, replace=False))


def _read(view: StoreView, check: Callable[[EmbeddingStore], None], rows: Integers) -> Matrix:
    store = EmbeddingStore(view.manifest)
    check(store)
    return store.read(view.output, view.strategy)[rows]


def _draw(
    views: Sequence[StoreView],
    check: Callable[[EmbeddingStore], None],
    tiles: LabelledTiles,
    rows: Integers,
    card: DatasetCard,
    method: str,
) -> Figure:
    groups, group = np.unique(tiles.groups[rows], return_inverse=True)
    has_labels = bool(tiles.labelled.any())
    # Where there are no labels yet, a map still shows outliers, and what groups have in common.
    labels = tiles.matrix[rows] if has_labels else group[:, None] == np.arange(len(groups))
    names = card.labels if has_labels else groups.tolist()
    colours = colour_by_class(labels)
    purities = {}
    if has_labels:
        for view in views:
            embeddings = _read(view, check, rows)
            purities[view.name] = neighbour_purity(embeddings, labels, group, card.name)
    mapped = _purest(views, purities)
    columns = min(COLUMNS, len(mapped))
    lines = math.ceil(len(mapped) / columns)
    figure, grid = new_grid(max(6.5, 2.6 * columns + 2.4), 1.5 + 2.95 * lines, lines, columns)
    with progress_bar(f"Maps of {card.name}", len(mapped), "maps") as bar:
        for axes, view in zip(grid.flat, mapped, strict=False):
            places = project(_read(view, check, rows), method, card.name)
            _scatter(axes, places, colours, view.name, purities.get(view.name))
            bar.update()
    for axes in grid.flat[len(mapped) :]:
        axes.set_axis_off()
    of_what = "Class" if has_labels else "Group"
    _legend(grid[0, -1], colours, labels, names, of_what)
    left_out = (
        f" {len(mapped)} of {len(views)} stores are shown." if len(mapped) < len(views) else ""
    )
    if not has_labels:
        title = f"{card.name}, {len(rows):,} tiles without labels, coloured by group"
        annotate(figure, title, _how(method) + left_out)
        return figure
    best = max(purities, key=lambda name: purities[name].value)
    title = f"{card.name}, {len(rows):,} tiles: neighbours agree most in {best}"
    annotate(figure, title, _footnote(method, purities[best].chance, len(groups)) + left_out)
    return figure


def _purest(views: Sequence[StoreView], purities: Mapping[str, Purity]) -> list[StoreView]:
    """Return the stores that are shown, in order: where there are too many, the purest."""
    if not purities:
        return [*views[:MOST_MAPS]]
    # Without neighbours in other groups there is no purity, in any store.
    ranked = sorted(views, key=lambda view: -np.nan_to_num(purities[view.name].value))
    return [view for view in views if view in ranked[:MOST_MAPS]]


def _how(method: str) -> str:
    return (
        f"Maps: {TITLES[method]} of the first {PRINCIPAL_COMPONENTS} principal components; axes "
        "and distances between clusters mean nothing."
    )


def _footnote(method: str, chance: float, n_groups: int) -> str:
    return (
        f"{_how(method)} Purity: share of a tile's "
        f"{NEIGHBOURS} nearest neighbours (cosine, in the embedding itself, tiles of other groups "
        "only) that share a class with it; "
        f"in brackets its {CONFIDENCE:.0%} bootstrap interval over n = {n_groups:,} groups; chance "
        f"is {chance:.2f}. No split is involved. A tile of several classes takes the colour of its "
        "rarest shown class."
    )


def _scatter(
    axes: Axes, places: Matrix, colours: Integers, name: str, purity: Purity | None
) -> None:
    look: Any = {"linewidths": 0, "rasterized": True, "s": np.clip(6000 / len(places), 4, 22)}
    grey = colours < 0
    axes.scatter(*places[grey].T, color=PALE, **look)
    # In one call and in a shuffled order, so that no class is drawn over all others.
    order = derive_rng("map order").permutation(np.flatnonzero(~grey))
    shades = dict(zip(sorted(set(colours[~grey].tolist())), MANY_COLOURS, strict=False))
    shown = [shades[c] for c in colours[order].tolist()]
    axes.scatter(*places[order].T, color=shown, alpha=0.85, **look)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(PALE)
    axes.set_aspect("equal", adjustable="datalim")
    title = label_of(name, 32)
    if purity is not None:
        title += f"\npurity {purity.value:.2f} ({purity.low:.2f} to {purity.high:.2f})"
    axes.set_title(title, fontsize=8.5)


def _legend(
    axes: Axes, colours: Integers, labels: Bools, names: Sequence[str], of_what: str
) -> None:
    classes = sorted(set(colours[colours >= 0].tolist()))
    look = {"marker": "o", "linestyle": ""}
    handles = [
        legend_key(f"{label_of(names[c], 22)} ({int(labels[:, c].sum()):,})", color=colour, **look)
        for c, colour in zip(classes, MANY_COLOURS, strict=False)
    ]
    if (colours < 0).any():
        n_others = int(labels.any(axis=0).sum()) - len(classes)
        what = "classes" if of_what == "Class" else "groups"
        handles.append(legend_key(f"{n_others} other {what}", color=PALE, **look))
    legend_on_the_right(axes, handles, f"{of_what} (tiles)", 1.04)
