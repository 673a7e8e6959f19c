"""Pictures of the most similar pairs that no source has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from transferscope.cards import DatasetCard
from transferscope.config.results import FigureSettings
from transferscope.config.roles import RoleSettings
from transferscope.correction.role_checks import roles_in, texts
from transferscope.errors import first_line, user_error
from transferscope.figures.gallery import colours_in_words, show_tile
from transferscope.figures.style import (
    BLACK,
    annotate,
    check_outputs,
    label_of,
    new_grid,
    note_that_nothing_is_shown,
    save,
    style,
)
from transferscope.relations.best import best_map
from transferscope.runtime.arrays import Texts
from transferscope.stores.origin import check_tiles
from transferscope.stores.parquet import read_tile_table
from transferscope.stores.tile_store import TileStore
from transferscope.tiles.contact_sheets import add_scale_bar, choose_rows, display_limits

PAIRS, TILES = 8, 3
TILE_INCHES = 0.95


def draw_new_pairs(
    relations: Path,
    tiles: Path,
    table: Path,
    card: DatasetCard,
    roles: RoleSettings,
    settings: FigureSettings,
    outputs: Sequence[Path],
) -> None:
    """Draw tiles of both entities of each new pair, in the map that recalls most known pairs.

    Parameters
    ----------
    relations
        Folder that the step `relate` has written.
    tiles, table
        Manifest of the tile store, and the tile table.
    card
        The dataset: its intensity ranges.
    roles
        Which column has the entities, and which rows are controls.
    settings
        The resolution.
    outputs
        Files to write, `.svg` or `.png`.

    Raises
    ------
    UserError
        Where tables or the store cannot be read, or a format is not known.
    """
    check_outputs(outputs)
    frame, store = read_tile_table(table), TileStore(tiles)
    check_tiles(table, frame, store, card.name)
    recall, pairs = (_read(relations / f"{name}.csv") for name in ("recall", "new_pairs"))
    best = best_map(recall)
    own = pairs
    if best is not None:
        own = pairs[(pairs["map"] == best[0]) & (pairs["correction"] == best[1])]
    with style():
        if best is None or own.empty:
            figure = note_that_nothing_is_shown("No map was scored, or there is no new pair.")
        else:
            names = _entities(frame, roles)
            figure = _draw(own.head(PAIRS), best, frame, names, store, card)
        save(figure, outputs, settings.dpi)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        what = f"cannot be read: {first_line(error)}"
        raise user_error(path, what, "Relate the stores of this dataset first.") from None


def _entities(frame: pd.DataFrame, roles: RoleSettings) -> Texts:
    """Return the entity of each row, str [N]; empty for controls."""
    own = roles_in(frame, roles)
    names = texts(frame[own.perturbation])
    if own.control is not None:
        names[np.array(own.are_controls(list(texts(frame[own.control]))), dtype=bool)] = ""
    return names


def _tiles_of(entity: str, frame: pd.DataFrame, names: Texts) -> list[int]:
    """Return the rows of the tiles that are shown of an entity."""
    rows = np.flatnonzero(names == entity)
    if not len(rows):
        fix = "Give the tile table of the stores that were related."
        raise user_error("new_pairs.csv", f'the tile table has no row of "{entity}"', fix)
    return [int(rows[place]) for place in choose_rows(frame.iloc[rows], TILES)]


def _draw(
    pairs: pd.DataFrame,
    best: tuple[str, str],
    frame: pd.DataFrame,
    names: Texts,
    store: TileStore,
    card: DatasetCard,
) -> Figure:
    shown = {
        str(entity): _tiles_of(str(entity), frame, names)
        for entity in pd.concat([pairs["entity1"], pairs["entity2"]])
    }
    count = max(map(len, shown.values()))
    figure, grid = new_grid(
        1.9 + TILE_INCHES * (2 * count + 0.4),
        1.9 + (TILE_INCHES + 0.16) * len(pairs),
        len(pairs),
        2 * count + 1,
        width_ratios=[*[1] * count, 0.25, *[1] * count],
        gridspec_kw={"wspace": 0.02},
    )
    limits = display_limits(store, card)
    for axes, pair in zip(grid, pairs.to_dict("records"), strict=True):
        axes[count].set_axis_off()
        sides = (axes[:count], axes[count + 1 :])
        for cells, entity in zip(sides, (pair["entity1"], pair["entity2"]), strict=True):
            rows = shown[str(entity)]
            for cell, row in zip(cells, rows, strict=False):
                show_tile(cell, store, limits, row)
            for cell in cells[len(rows) :]:
                cell.set_axis_off()
            cells[0].set_title(label_of(str(entity), 30, 1), fontsize=7.5, loc="left", pad=2)
        text = f"cosine {pair['cosine']:.2f}"
        axes[0].set_ylabel(text, rotation=0, ha="right", va="center", fontsize=7.5, color=BLACK)
    if pixel_size := store.attributes.get("pixel_size_um"):
        add_scale_bar(grid[0, 0], float(pixel_size), store)
    corrected = "" if best[1] == "none" else f", {best[1]}"
    annotate(
        figure,
        f"{card.name}: the most similar pairs that no source has",
        f"Candidates, not findings: the {len(pairs)} pairs with the highest cosine in "
        f"{best[0]}{corrected}, the map that recalls most known pairs; at most {TILES} tiles of "
        f"each. Colours: {colours_in_words(store.channels)}; all tiles are scaled alike.",
    )
    return figure
