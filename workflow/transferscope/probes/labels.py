"""Label matrices from the label strings of a sample sheet or tile table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard, Task
from transferscope.errors import Problem, suggest
from transferscope.raw.sheets import split_labels
from transferscope.runtime.arrays import Bools, Integers, Texts


@dataclass(frozen=True)
class LabelledTiles:
    """Tiles with their labels, groups and fields, in the row order of their table.

    Parameters
    ----------
    matrix
        Whether a tile has a class, bool [N, C].
    classes
        Names of the C classes.
    task
        Whether a tile may have several labels.
    tile_ids, groups, fovs, batches
        Names, str [N]; an unknown batch is empty.
    columns
        Further columns of the table, str [N] each, by which tiles are split; unknown: empty.
    """

    matrix: Bools
    classes: list[str]
    task: Task
    tile_ids: Texts
    groups: Texts
    fovs: Texts
    batches: Texts
    columns: Mapping[str, Texts] = field(default_factory=dict)

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        classes: Sequence[str],
        task: Task,
        columns: Sequence[str] = (),
    ) -> LabelledTiles:
        """Read a tile table or sample sheet; labels outside `classes` are ignored.

        Parameters
        ----------
        table
            With columns `group` and `labels`. Defaults: `tile_id` is the row number, `fov` the
            `tile_id`, and `batch` empty.
        classes
            Classes, in the order of the matrix's columns.
        task
            Whether a tile may have several labels.
        columns
            Names of further columns to keep.
        """
        rows = pd.Series(range(len(table)), dtype="int64")
        tile_ids = _texts(table.get("tile_id", rows))
        return cls(
            matrix=label_matrix(_texts(table["labels"]), classes),
            classes=list(classes),
            task=task,
            tile_ids=tile_ids,
            groups=_texts(table["group"]),
            fovs=_texts(table["fov"]) if "fov" in table else tile_ids,
            batches=_texts(table.get("batch", pd.Series("", index=table.index))),
            columns={name: _texts(table[name]) for name in columns},
        )

    def with_classes(self, classes: Sequence[str]) -> LabelledTiles:
        """Return the same tiles with a subset of the classes."""
        columns = [self.classes.index(name) for name in classes]
        return replace(self, matrix=self.matrix[:, columns], classes=list(classes))

    @property
    def labelled(self) -> Bools:
        """Whether a tile has any of the classes, bool [N]."""
        return np.asarray(self.matrix.any(axis=1))

    def class_index(self) -> Integers:
        """Return the first class of each tile, int64 [N]; -1 if it is unlabelled."""
        return np.where(self.labelled, self.matrix.argmax(axis=1), -1)

    def __len__(self) -> int:
        return len(self.matrix)


def _texts(column: pd.Series[Any]) -> Texts:
    return np.asarray(column.astype(object).where(column.notna(), "").map(str), dtype=object)


def label_matrix(texts: Texts, classes: Sequence[str]) -> Bools:
    """Return the label matrix, bool [N, C]; labels of other classes are ignored."""
    codes, distinct = pd.factorize(texts)
    index = {name: column for column, name in enumerate(classes)}
    rows = np.zeros((len(distinct), len(classes)), dtype=bool)
    for row, text in enumerate(distinct):
        rows[row, [index[label] for label in split_labels(text) if label in index]] = True
    matrix: Bools = rows[codes]
    return matrix


def joint_labels(matrix: Bools, codes: Integers, count: int) -> Bools:
    """Return the classes of sets of tiles: those of any tile in the set, bool [sets, C].

    Parameters
    ----------
    matrix
        Label matrix, bool [N, C].
    codes
        Set of each tile, [N].
    count
        Number of sets.
    """
    labels = np.zeros((count, matrix.shape[1]), dtype=bool)
    np.logical_or.at(labels, codes, matrix)
    return labels


def label_problems(table: pd.DataFrame, card: DatasetCard, where: str) -> list[Problem]:
    """Return the problems of the labels of a tile table or sample sheet.

    Parameters
    ----------
    table
        With column `labels` and optionally `tile_id`.
    card
        The dataset's card, with vocabulary and task.
    where
        Name of the table in the problems.
    """
    # A million tiles have few distinct label strings: each is parsed once.
    codes, distinct = pd.factorize(_texts(table["labels"]))
    found = [split_labels(text) for text in distinct]
    unknown = sorted({label for labels in found for label in labels} - set(card.labels))
    column = f"{where}, column labels"
    problems = [
        Problem(column, f'unknown label "{label}"', suggest(label, card.labels))
        for label in unknown
    ]
    has_several = np.array([len(labels) > 1 for labels in found], dtype=bool)
    several = np.flatnonzero(has_several[codes])
    if card.task == "single-label" and len(several):
        first = str(table["tile_id"].iloc[several[0]]) if "tile_id" in table else str(several[0])
        what = f"{len(several)} tiles have several labels, first {first}"
        fix = "Give each tile one label, or set `task: multi-label` in the dataset's card."
        problems.append(Problem(column, what, fix))
    return problems
