"""Probes trained on one dataset and tested on another one, of the classes that both have.

Every fold of the tested dataset is tested by heads that were trained on the training groups of the
same fold of the other dataset (zero-shot), on these and k labelled groups per class of the tested
dataset (few-shot), on the k alone, and on all of its training groups (own): the same test groups,
so that differences are paired. No group of the test is trained on under its name in the other
dataset, nor are thresholds chosen on it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from transferscope.config.model import Model
from transferscope.config.probes import SplitSettings
from transferscope.config.transfer import (
    ALONE,
    FEW_SHOT,
    OWN,
    SCHEME,
    ZERO_SHOT,
    SharedClass,
    with_labels,
)
from transferscope.errors import user_error
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.few_groups import first_groups
from transferscope.probes.halves import half_divisions
from transferscope.probes.labels import LabelledTiles
from transferscope.probes.probe import FrozenProbe
from transferscope.probes.written import ScoreFiles, write_all
from transferscope.runtime.arrays import Integers, Texts

# Between a dataset's name and those of its groups, fields and batches.
MARK = ": "

logger = logging.getLogger(__name__)


def transfer(
    source: ProbeData,
    target: ProbeData,
    shared: Sequence[SharedClass],
    few_shot: Sequence[int],
    splits: SplitSettings,
    probes: Mapping[FrozenProbe, Model],
    files: ScoreFiles,
) -> None:
    """Train probes on one dataset, test them on another one, and write all tables.

    Parameters
    ----------
    source, target
        Embeddings, labels and divisions of both, at the largest fraction.
    shared
        The classes that both have.
    few_shot
        Numbers of labelled groups per class of the target.
    splits
        The study's `splits`.
    probes
        Probes with their settings.
    files
        What is written.

    Raises
    ------
    UserError
        If the embeddings are not of the same columns, or nothing is left to train on.
    """
    pair = Pair.of(source, target, shared)
    wanted = pair.usable(few_shot)
    data = pair.data(pair.divisions(source.divisions, target.divisions, wanted))
    in_halves = pair.half_divisions(splits, wanted)
    described = {
        "classes": data.tiles.classes,
        "task": data.tiles.task,
        "source": source.identity["dataset"],
    }
    write_all(data, in_halves, probes, files, described)


@dataclass(frozen=True)
class Pair:
    """Two datasets with the labels of their shared classes.

    Parameters
    ----------
    source, target
        What is trained on, and what is tested.
    """

    source: ProbeData
    target: ProbeData

    @classmethod
    def of(cls, source: ProbeData, target: ProbeData, shared: Sequence[SharedClass]) -> Pair:
        """Return a pair of datasets, with the shared classes only.

        Classes that one of the splits dropped as too rare are left out.

        Raises
        ------
        UserError
            If fewer than two classes are left, or the embeddings differ in their columns.
        """
        name, other = (data.identity["dataset"] for data in (source, target))
        where = f"{name} to {other}, {source.identity['backbone']}"
        kept = [
            one
            for one in shared
            if set(one.source) & set(source.tiles.classes)
            and set(one.target) & set(target.tiles.classes)
        ]
        if len(kept) < 2:
            what = f"{len(kept)} of {len(shared)} shared classes are in the splits of both"
            fix = "Leave a dataset out by `transfer.datasets`, or lower splits.folds."
            raise user_error(where, what, fix)
        _check_columns(source, target, where)
        return cls(
            replace(source, tiles=_renamed(source.tiles, {c.name: c.source for c in kept})),
            replace(target, tiles=_renamed(target.tiles, {c.name: c.target for c in kept})),
        )

    def usable(self, few_shot: Sequence[int]) -> list[int]:
        """Return those numbers of groups that every class has in every training set."""
        tiles = self.target.tiles
        counts = [
            _n_groups(tiles, division.train)
            for division in self.target.divisions
            if division.scheme == SCHEME
        ]
        least = min((int(each.min()) for each in counts), default=0)
        for k in few_shot:
            if k > least:
                text = "%s: a class has %d training groups in a fold, too few to take %d of them"
                logger.warning(text, self.target.identity["dataset"], least, k)
        return [k for k in few_shot if k <= least]

    def data(self, divisions: Sequence[Division]) -> ProbeData:
        """Return both datasets as one, the rows of the source first."""
        source, target = self.source, self.target
        mark = source.identity["dataset"] + MARK
        first, second = source.tiles, target.tiles
        tiles = LabelledTiles(
            matrix=np.concatenate([first.matrix, second.matrix]),
            classes=second.classes,
            task=second.task,
            tile_ids=np.concatenate([first.tile_ids, second.tile_ids]),
            groups=np.concatenate([_marked(first.groups, mark), second.groups]),
            fovs=np.concatenate([_marked(first.fovs, mark), second.fovs]),
            batches=np.concatenate([_marked(first.batches, mark), second.batches]),
        )
        return replace(
            target,
            embeddings=np.concatenate([source.embeddings, target.embeddings]),
            tiles=tiles,
            divisions=list(divisions),
            number_format=None,
            store=None,
        )

    def divisions(
        self,
        source: Sequence[Division],
        target: Sequence[Division],
        few_shot: Sequence[int],
        n_halved: int = 1,
    ) -> list[Division]:
        """Return all trainings for the test groups of each fold of the target.

        Parameters
        ----------
        source, target
            Divisions of both at one fraction; those by group are used.
        few_shot
            Numbers of labelled groups per class.
        n_halved
            By how much these numbers are divided, and rounded up: 2 in halves of the groups.
        """
        trained = {(d.half, d.seed, d.fold): d for d in source if d.scheme == SCHEME}
        found: list[Division] = []
        for tested in target:
            key = (tested.half, tested.seed, tested.fold)
            if tested.scheme == SCHEME and key in trained:
                found += self._of_fold(trained[key], tested, few_shot, n_halved)
        return found

    def half_divisions(self, splits: SplitSettings, few_shot: Sequence[int]) -> list[Division]:
        """Return the same in halves of the groups of both; none where one cannot be halved."""
        by_group = splits.model_copy(update={"schemes": [SCHEME]})
        both = [
            half_divisions(data.tiles, by_group, [1.0], data.identity["dataset"])
            for data in (self.source, self.target)
        ]
        return self.divisions(both[0], both[1], few_shot, 2)

    def _of_fold(
        self, trained: Division, tested: Division, few_shot: Sequence[int], n_halved: int
    ) -> Iterator[Division]:
        target, offset = self.target.tiles, len(self.source.tiles)
        test, train, validation = (
            rows[target.labelled[rows]] for rows in (tested.test, tested.train, tested.validation)
        )
        known = np.isin(self.source.tiles.groups, np.unique(target.groups[test]))
        usable = self.source.tiles.labelled & ~known
        other, other_validation = (
            rows[usable[rows]] for rows in (trained.train, trained.validation)
        )
        if not len(other):
            name = self.source.identity["dataset"]
            what = "all training groups are, by their names, groups of the test"
            raise user_error(name, what, "Give different groups different names.")

        def made(scheme: str, rows: Integers, validation: Integers) -> Division:
            return Division(
                scheme=scheme,
                seed=tested.seed,
                fold=tested.fold,
                fraction=1.0,
                train=rows,
                validation=validation,
                test=test + offset,
                train_shares=np.zeros(len(rows)),
                half=tested.half,
            )

        yield made(ZERO_SHOT, other, other_validation)
        yield made(OWN, train + offset, validation + offset)
        shares = tested.train_shares[target.labelled[tested.train]]
        for k in few_shot:
            rows = train[first_groups(target, train, shares, -(-k // n_halved))] + offset
            yield made(with_labels(FEW_SHOT, k), np.concatenate([other, rows]), other_validation)
            # Labels to choose thresholds by, or when to stop, would be more labels.
            yield made(with_labels(ALONE, k), rows, rows[:0])


def _check_columns(source: ProbeData, target: ProbeData, where: str) -> None:
    widths = [data.embeddings.shape[1] for data in (source, target)]
    if widths[0] != widths[1]:
        what = f"embeddings have {widths[0]} and {widths[1]} columns"
        raise user_error(where, what, "Use a channel strategy whose width is the same for both.")
    names = [
        None if data.store is None else data.store[1].get("feature_names")
        for data in (source, target)
    ]
    if names[0] != names[1]:
        what = "the features of the two tables differ in their names or their order"
        raise user_error(where, what, "Name the same features in `features` of both cards.")


def _renamed(tiles: LabelledTiles, classes: Mapping[str, Sequence[str]]) -> LabelledTiles:
    """Return tiles with shared classes: a tile has one if it has any label of that meaning."""
    columns = [
        tiles.matrix[:, [tiles.classes.index(name) for name in names if name in tiles.classes]]
        for names in classes.values()
    ]
    matrix = np.stack([each.any(axis=1) for each in columns], axis=1)
    return replace(tiles, matrix=matrix, classes=list(classes))


def _marked(names: Texts, mark: str) -> Texts:
    """Return names with a mark in front; an unknown one stays empty."""
    return np.array([mark + name if name else name for name in names], dtype=object)


def _n_groups(tiles: LabelledTiles, rows: Integers) -> Integers:
    """Return the number of groups of each class among some rows, int64 [C]."""
    table = pd.DataFrame(tiles.matrix[rows]).groupby(tiles.groups[rows]).any()
    return np.asarray(table.sum(axis=0), dtype=np.int64)
