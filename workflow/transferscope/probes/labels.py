"""From the label strings of a sample sheet or tile table to a label matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        Does the tile have the class? bool [N, C].
    classes
        Names of the C classes.
    task
        May a tile have several labels?
    tile_ids, groups, fovs, batches
        Names, str [N]; an unknown batch is empty.
    """

    matrix: Bools
    classes: list[str]
    task: Task
    tile_ids: Texts
    groups: Texts
    fovs: Texts
    batches: Texts

    @classmethod
    def from_table(cls, table: pd.DataFrame, classes: Sequence[str], task: Task) -> LabelledTiles:
        """Read a tile table or sample sheet; labels outside `classes` are ignored.

        Parameters
        ----------
        table
            With columns `group` and `labels`. A missing `tile_id` is the row's number, a missing
            `fov` the `tile_id`, a missing `batch` empty.
        classes
            The class list, in the order of the matrix's columns.
        task
            May a tile have several labels?
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
        )

    def with_classes(self, classes: Sequence[str]) -> LabelledTiles:
        """Return the same tiles with some of the classes."""
        columns = [self.classes.index(name) for name in classes]
        return replace(self, matrix=self.matrix[:, columns], classes=list(classes))

    @property
    def labelled(self) -> Bools:
        """Does the tile have a label of the class list? bool [N]."""
        return np.asarray(self.matrix.any(axis=1))

    def class_index(self) -> Integers:
        """Return the first class of each tile, int64 [N]; -1 where it is unlabelled."""
        return np.where(self.labelled, self.matrix.argmax(axis=1), -1)

    def __len__(self) -> int:
        return len(self.matrix)


def _texts(column: pd.Series[Any]) -> Texts:
    return np.asarray(column.astype(object).where(column.notna(), "").map(str), dtype=object)


def label_matrix(texts: Texts, classes: Sequence[str]) -> Bools:
    """Return which tile has which class, bool [N, C]; other labels are ignored."""
    codes, distinct = pd.factorize(texts)
    index = {name: column for column, name in enumerate(classes)}
    rows = np.zeros((len(distinct), len(classes)), dtype=bool)
    for row, text in enumerate(distinct):
        rows[row, [index[label] for label in split_labels(text) if label in index]] = True
    matrix: Bools = rows[codes]
    return matrix


def label_problems(table: pd.DataFrame, card: DatasetCard, where: str) -> list[Problem]:
    """Return what is wrong with the labels of a tile table or sample sheet.

    Parameters
    ----------
    table
        With columns `labels` and, if at hand, `tile_id`.
    card
        The dataset's card, which states the vocabulary and the task.
    where
        What to call the table in the problems.
    """
    # A million tiles have few different labels: each text is read once.
    codes, distinct = pd.factorize(_texts(table["labels"]))
    found = [split_labels(text) for text in distinct]
    unknown = sorted({label for labels in found for label in labels} - set(card.labels))
    problems = [
        Problem(f"{where}, column labels", f'unknown label "{label}"', suggest(label, card.labels))
        for label in unknown
    ]
    has_several = np.array([len(labels) > 1 for labels in found], dtype=bool)
    several = np.flatnonzero(has_several[codes])
    if card.task == "single-label" and len(several):
        first = str(table["tile_id"].iloc[several[0]]) if "tile_id" in table else str(several[0])
        what = f"{len(several)} tiles have several labels, first {first}"
        fix = "Give each tile one label, or set `task: multi-label` in the dataset's card."
        problems.append(Problem(f"{where}, column labels", what, fix))
    return problems
