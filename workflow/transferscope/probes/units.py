"""The units that a split keeps on one side, and their stratified folds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from transferscope.config.schemes import GROUP
from transferscope.probes.labels import LabelledTiles, joint_labels
from transferscope.runtime.arrays import Bools, Integers, Texts
from transferscope.runtime.seeds import derive_seed

SEED_LIMIT = 2**32


@dataclass(frozen=True)
class Units:
    """The units that a scheme splits, sorted by name.

    Parameters
    ----------
    codes
        Unit of each row, int64 [N].
    labels
        Union of the labels of each unit's tiles, bool [U, C].
    """

    codes: Integers
    labels: Bools

    def __len__(self) -> int:
        return len(self.labels)


def units_of(tiles: LabelledTiles, scheme: str, rows: Integers) -> Units:
    """Return the groups of some rows, or, for any other scheme, their fields of view."""
    return named_units(tiles.groups if scheme == GROUP else tiles.fovs, tiles, rows)


def named_units(names: Texts, tiles: LabelledTiles, rows: Integers) -> Units:
    """Return the units of some rows, given the unit of every tile, str [N]."""
    codes, distinct = pd.factorize(names[rows], sort=True)
    return Units(codes.astype(np.int64), joint_labels(tiles.matrix[rows], codes, len(distinct)))


def assign_folds(units: Units, folds: int, names: tuple[object, ...]) -> Integers:
    """Return the test fold of each unit, int64 [U], stratified over all labels at once."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    seed = derive_seed(*names, "folds") % SEED_LIMIT
    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    assigned = np.empty(len(units), dtype=np.int64)
    for fold, (_, test) in enumerate(splitter.split(units.labels, units.labels)):
        assigned[test] = fold
    return assigned
