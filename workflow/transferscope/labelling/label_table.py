"""Labels given by hand, in a table by tile id, which replace those of the sample sheet.

A tile that is not in the table is unlabelled, and so is one whose labels are empty or a mark: the
person has seen it and has not decided.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.errors import Problem, UserError
from transferscope.raw.sheets import LABEL_SEPARATOR, check_label_rows, split_labels
from transferscope.raw.text_tables import read_table
from transferscope.runtime.spelling import Likely, quoted
from transferscope.stores.origin import check_origin
from transferscope.stores.parquet import read_tile_table, write_parquet

MARKS = ("skip", "unsure")
SHOWN = 3
# Rows for which a likely match is looked for.
MOST_OFFERED = 10_000

logger = logging.getLogger(__name__)


def label_table_of(card: DatasetCard, card_path: Path) -> Path:
    """Return the path of a dataset's label table.

    Parameters
    ----------
    card, card_path
        A card with `label_table`, and its file.

    Raises
    ------
    UserError
        If the card has none.
    """
    if card.label_table is None:
        fix = "Add `label_table:` with the path of the table."
        raise UserError(Problem(str(card_path), "names no label table", fix))
    return card_path.parent / card.label_table


def marks_of(classes: Iterable[str]) -> list[str]:
    """Return the entries that mean no label; a class of that name is an ordinary label."""
    return [mark for mark in MARKS if mark not in set(classes)]


def read_label_table(
    path: Path,
    card: DatasetCard,
    card_path: Path | None = None,
    known_ids: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Read and check a table of labels given by hand.

    Parameters
    ----------
    path
        TSV or CSV with the columns `tile_id` and `labels`.
    card, card_path
        The dataset, and the file of its card.
    known_ids
        Ids of the dataset's tiles; None: ids are not checked.

    Returns
    -------
    pd.DataFrame
        All columns str; `labels` is empty where the row has a mark.

    Raises
    ------
    UserError
        With every problem: a missing column, an unknown tile or label, a tile that occurs twice,
        several labels in a single-label dataset.
    """
    table = read_table(path, "label_table")
    if "labels" in table:
        labels = table["labels"].replace(marks_of(card.labels), "")
        table["labels"] = labels.map(split_labels).map(LABEL_SEPARATOR.join)
    if problems := check_label_rows(path, table, card, card_path, known_ids):
        raise UserError(problems)
    return table


def check_label_table(card: DatasetCard, card_path: Path) -> list[Problem]:
    """Return problems of a dataset's label table, if it has one, without checking tile ids.

    Parameters
    ----------
    card, card_path
        A card, and its file.
    """
    if card.label_table is None:
        return []
    try:
        read_label_table(label_table_of(card, card_path), card, card_path)
    except UserError as error:
        return error.problems
    return []


def with_hand_labels(
    table: pd.DataFrame, card: DatasetCard, card_path: Path, *, skip: bool = False
) -> pd.DataFrame:
    """Return a tile table with the labels of the dataset's label table instead of its own.

    Parameters
    ----------
    table
        Tile table, or sample sheet of one tile per field: `tile_id`, `labels` and any others.
    card, card_path
        A card with `label_table`, and its file.
    skip
        Leave out, with a warning, labels of unknown tiles.

    Returns
    -------
    pd.DataFrame
        The same rows. Further columns of the label table are added, as text, unless the tile table
        has a column of that name.

    Raises
    ------
    UserError
        With every problem of the label table.
    """
    path = label_table_of(card, card_path)
    ids = table["tile_id"]
    by_hand = read_label_table(path, card, card_path, None if skip else ids).set_index("tile_id")
    _report_unmatched(path, ids, by_hand.index)
    carried = [name for name in by_hand.columns if name not in table]
    columns = {name: ids.map(by_hand[name]).fillna("") for name in ["labels", *carried]}
    return table.assign(**columns)


def _report_unmatched(path: Path, tiles: pd.Series, named: pd.Index) -> None:
    """Say which rows name no tile, and how many tiles no row names."""
    unknown = named[~named.isin(tiles)]
    if len(unknown):
        offers = filter(None, map(Likely(tiles).of, unknown[:MOST_OFFERED]))
        shown = ", ".join(map(quoted, unknown[:SHOWN]))
        what = f"{len(unknown)} rows were left out: no such tile: {shown}"
        logger.warning("%s: %s", path, " ".join([what, *list(offers)[:1]]))
    without = tiles[~tiles.isin(named)]
    if len(without):
        shown = ", ".join(map(quoted, without[:SHOWN]))
        what = "tiles are not in it and count as unlabelled, such as"
        logger.info("%s: %d of %d %s %s", path, len(without), len(tiles), what, shown)


def relabel(
    tile_table: Path, card: DatasetCard, card_path: Path, output: Path, *, skip: bool = False
) -> None:
    """Write a tile table with the labels given by hand.

    Parameters
    ----------
    tile_table
        The tile table.
    card, card_path, skip
        As in `with_hand_labels`.
    output
        Parquet to write, with the rows of the tile table in their order.

    Raises
    ------
    UserError
        With every problem of the label table, or if the tile table cannot be read.
    """
    own = read_tile_table(tile_table)
    check_origin(tile_table, own.attrs, {"dataset": card.name})
    table = with_hand_labels(own, card, card_path, skip=skip)
    labelled = int((table["labels"] != "").sum())
    logger.info("%s: %d of %d tiles have labels", card.name, labelled, len(table))
    write_parquet(table, output, {"dataset": card.name})
