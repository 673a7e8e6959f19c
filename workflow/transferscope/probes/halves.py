"""Half-samples: the whole cross-validation, repeated in random halves of the groups.

How much a score depends on the groups that trained a head does not show in the predictions of
trained heads. It shows between disjoint halves of the groups, each with heads of its own. The
comparison turns the differences between halves into standard errors (`compare.uncertainty`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from transferscope.config.probes import SplitSettings
from transferscope.config.schemes import is_column, without_shuffling
from transferscope.probes.evaluation import Division, ProbeData, read_divisions
from transferscope.probes.labels import LabelledTiles, joint_labels
from transferscope.probes.splits import divide, halve

# Groups that a class needs: two in each half, so that it can be trained and tested.
LEAST_GROUPS_PER_CLASS = 4
# Groups per fold, of both halves together.
LEAST_GROUPS_PER_FOLD = 4
# Groups of each value of a column by which tiles are split.
LEAST_GROUPS_PER_VALUE = 4

logger = logging.getLogger(__name__)


def halves_of(data: ProbeData, settings: SplitSettings, fraction: float) -> list[Division]:
    """Return all divisions of all halves of what a probe evaluates, with one fraction of labels.

    A backbone evaluated on one division only, whose training saw the other groups, has no halves.

    Parameters
    ----------
    data
        What is evaluated.
    settings
        The study's `splits`.
    fraction
        Fraction of the training groups.
    """
    if data.leakage.only is not None:
        return []
    return half_divisions(data.tiles, settings, [fraction], data.identity["dataset"])


def half_divisions(
    tiles: LabelledTiles, settings: SplitSettings, fractions: Sequence[float], dataset: str
) -> list[Division]:
    """Return all divisions of all halves; none where the groups are too few to halve.

    Pairs of halves do not depend on the scheme, the seed of the splits or the backbone, so that
    differences of any two scores are paired.

    Parameters
    ----------
    tiles
        Tiles, with the classes of the splits.
    settings
        The study's `splits`.
    fractions
        Fractions of the training groups.
    dataset
        Name of the dataset, for the seeds.
    """
    if not settings.halves or not can_be_halved(tiles, settings, dataset):
        return []
    found: list[Division] = []
    for pair in range(settings.halves):
        for side, rows in enumerate(halve(tiles, (dataset, "halves", pair))):
            parts = [
                part
                for scheme in settings.divided
                for seed in settings.seeds
                for _, part, _ in divide(
                    tiles,
                    rows,
                    scheme,
                    settings,
                    seed,
                    (dataset, "halves", without_shuffling(scheme), pair, side),
                )
            ]
            divisions = read_divisions(pd.concat(parts, ignore_index=True), fractions)
            found += [replace(each, half=2 * pair + side) for each in divisions]
    return found


def can_be_halved(tiles: LabelledTiles, settings: SplitSettings, what: str) -> bool:
    """Return whether there are enough groups, of each class and per fold; warn if not.

    Parameters
    ----------
    tiles
        Tiles or aggregates, with the classes of the splits.
    settings
        The study's `splits`.
    what
        What they are, for the warning.
    """
    if why := _too_few(tiles, settings):
        logger.warning("%s: no half-samples, errors are larger: %s", what, why)
    return not why


def _too_few(tiles: LabelledTiles, settings: SplitSettings) -> str:
    """Return why the groups cannot be halved; empty if they can."""
    rows = np.flatnonzero(tiles.labelled)
    codes, names = pd.factorize(tiles.groups[rows])
    counts = joint_labels(tiles.matrix[rows], codes.astype(np.int64), len(names)).sum(axis=0)
    rare = [
        f"{name} has {count} groups"
        for name, count in zip(tiles.classes, counts, strict=True)
        if count < LEAST_GROUPS_PER_CLASS
    ]
    if rare:
        return f"a class needs {LEAST_GROUPS_PER_CLASS} groups, but {', '.join(rare)}"
    for column in settings.columns:
        if lacking := _rare_values(tiles, column):
            return f"each {column} needs {LEAST_GROUPS_PER_VALUE} groups, but {lacking}"
    counted = [settings.folds[scheme] for scheme in settings.schemes if not is_column(scheme)]
    needed = LEAST_GROUPS_PER_FOLD * max(counted, default=1)
    return f"{needed} groups are needed, there are {len(names)}" if len(names) < needed else ""


def _rare_values(tiles: LabelledTiles, column: str) -> str:
    """Return which values of a column are of too few groups to be in each half."""
    rows = np.flatnonzero(tiles.labelled)
    pairs = pd.DataFrame({"value": tiles.columns[column][rows], "group": tiles.groups[rows]})
    counts = pairs.drop_duplicates().groupby("value").size()
    rare = counts[counts < LEAST_GROUPS_PER_VALUE]
    return ", ".join(f"{name} has {count}" for name, count in rare.items())
