"""Splits of the tiles into training, validation and test, shared by all probes.

`group` keeps each group (protein, well, patient) on one side; `image` splits fields of view, with
groups on both sides, as older papers do. Both are stratified over all labels at once. Any other
scheme is a column of the sheet, whose values, and groups, are on one side (`column_splits`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.cards import DatasetCard
from transferscope.config.probes import USUAL_VALUES, SplitSettings
from transferscope.config.schemes import GROUP, IMAGE, is_column, without_shuffling
from transferscope.errors import Problem, UserError, user_error
from transferscope.probes.column_splits import (
    column_folds,
    column_problems,
    confined,
    confined_class,
    usable_columns,
)
from transferscope.probes.labels import LabelledTiles, label_problems
from transferscope.probes.units import SEED_LIMIT, Units, assign_folds, units_of
from transferscope.runtime.arrays import Bools, Floats, Integers, Texts
from transferscope.runtime.seeds import derive_rng, derive_seed
from transferscope.stores.manifest import digest_of_ids
from transferscope.stores.origin import check_origin
from transferscope.stores.parquet import read_parquet, write_parquet

TRAIN, VALIDATION, TEST = "train", "validation", "test"
ROLES = np.array([TRAIN, VALIDATION, TEST], dtype=object)
# Digests in the metadata: of the tiles with their groups and fields, and of their labels.
TILES, LABELS = "tiles_sha256", "labels_sha256"
COLUMNS = ["scheme", "seed", "fold", "row", "role", "share"]
UNIT_NAMES = {"group": "groups", "image": "fields of view"}
NAMES_SHOWN = 5

logger = logging.getLogger(__name__)


def one_image_per_group(table: pd.DataFrame) -> bool:
    """Return whether no group has several fields: the split by image is then one by group.

    Parameters
    ----------
    table
        Tile table or sample sheet: `group` and `fov`.
    """
    return bool(table.groupby("group")["fov"].nunique().max() == 1)


def classes_of_few_groups(
    table: pd.DataFrame, card: DatasetCard, settings: SplitSettings
) -> list[str]:
    """Say which classes have fewer training groups than `groups_per_class` asks for, by group.

    Parameters
    ----------
    table, card, settings
        As of `check_splits`.
    """
    most = max(settings.groups_per_class, default=0)
    tiles = LabelledTiles.from_table(table, card.labels, card.task)
    units = units_of(tiles, GROUP, np.flatnonzero(tiles.labelled))
    trained = (1 - 1 / settings.folds.get(GROUP, USUAL_VALUES)) * (1 - settings.validation)
    return [
        f'class "{name}" has {count} groups, of which about {count * trained:.0f} are trained on: '
        f"all of them stand for {most} per class"
        for name, count in zip(tiles.classes, units.labels.sum(axis=0), strict=True)
        if 0 < count * trained < most
    ]


def why_not_scored(
    name: str, table: pd.DataFrame, card: DatasetCard, settings: SplitSettings, where: str
) -> str:
    """Say why a study makes no scores of a dataset.

    Parameters
    ----------
    name
        The dataset.
    table, card, settings, where
        As of `check_splits`.
    """
    found = check_splits(table, card, settings, where)
    why = found[0].what if found else "labels and groups suffice: remove `scored: false`"
    return f"Nothing of {name} is scored (`scored: false`): {why}."


def check_splits(
    table: pd.DataFrame, card: DatasetCard, settings: SplitSettings, where: str
) -> list[Problem]:
    """Return why a sample sheet or tile table cannot be split with the settings.

    It only counts, so it is cheap enough to run before any computation.

    Parameters
    ----------
    table
        With columns `group` and `labels`; `fov` and `tile_id` are optional.
    card
        The dataset's card, with classes and task.
    settings
        The study's `splits`.
    where
        Name of the table in the problems.
    """
    problems = label_problems(table, card, where)
    usable = usable_columns(table, settings)
    tiles = LabelledTiles.from_table(table, card.labels, card.task, usable)
    if not tiles.labelled.any():
        fix = (
            "Label the tiles to score; empty labels mean unlabelled. To label by hand first, stop "
            "snakemake early: --until tiles, or --until cells."
        )
        return [*problems, Problem(f"{where}, column labels", "no tile has a label", fix)]
    if broken := column_problems(table, tiles, settings, where):
        problems += broken.values()
        rest = [scheme for scheme in settings.schemes if scheme not in broken]
        settings = settings.model_copy(update={"schemes": rest})
    classes, rare = _remaining_classes(tiles, settings, where)
    problems += rare
    tiles = tiles.with_classes(classes)
    if len(classes) < 2:
        what = f"{len(classes)} of {len(card.labels)} classes are left, two are needed"
        fix = "Lower splits.folds, or give more labelled groups."
        return [*problems, Problem(f"{where}, column labels", what, fix)]
    return problems + _unit_problems(tiles, settings, where)


def _remaining_classes(
    tiles: LabelledTiles, settings: SplitSettings, where: str
) -> tuple[list[str], list[Problem]]:
    """Return the classes with enough units for all folds, and the problems of the others."""
    rows = np.flatnonzero(tiles.labelled)
    problems: dict[str, Problem] = {}
    for scheme in settings.schemes:
        if is_column(scheme):
            for name, value in confined(tiles, scheme).items():
                problems.setdefault(name, confined_class(name, scheme, value, where))
            continue
        counts = units_of(tiles, scheme, rows).labels.sum(axis=0)
        for name, count in zip(tiles.classes, counts, strict=True):
            if count < settings.folds[scheme] and name not in problems:
                problems[name] = _rare_class(name, int(count), scheme, settings, where)
    remaining = [name for name in tiles.classes if name not in problems]
    if settings.rare_classes == "drop":
        return remaining, []
    # The study stops anyway; the other checks continue with all classes.
    return tiles.classes, list(problems.values())


def _rare_class(name: str, count: int, scheme: str, settings: SplitSettings, where: str) -> Problem:
    folds = settings.folds[scheme]
    what = f'class "{name}" has {count} {UNIT_NAMES[scheme]}, fewer than the {folds} folds'
    lower = f"Lower splits.folds.{scheme} to {count}, set" if count >= 2 else "Set"
    fix = f"{lower} `splits.rare_classes: drop`, or remove the class from card and sheet."
    return Problem(f"{where}, column labels", what, fix)


def _unit_problems(tiles: LabelledTiles, settings: SplitSettings, where: str) -> list[Problem]:
    rows = np.flatnonzero(tiles.labelled)
    problems = []
    for scheme in settings.schemes:
        if is_column(scheme):
            continue
        count, folds = len(units_of(tiles, scheme, rows)), settings.folds[scheme]
        if count < folds:
            what = f"{count} labelled {UNIT_NAMES[scheme]}, fewer than the {folds} folds"
            fix = f"Lower splits.folds.{scheme}, or give more labelled {UNIT_NAMES[scheme]}."
            problems.append(Problem(where, what, fix))
    pairs = pd.DataFrame({"fov": tiles.fovs, "group": tiles.groups}).drop_duplicates()
    straddling = sorted(pairs["fov"][pairs["fov"].duplicated()].unique())
    if straddling:
        more = ["..."] if len(straddling) > NAMES_SHOWN else []
        shown = ", ".join([*straddling[:NAMES_SHOWN], *more])
        what = f"{len(straddling)} fields belong to several groups: {shown}"
        fix = "Use unique field names over all groups; tiles of one field belong to one group."
        problems.append(Problem(f"{where}, column fov", what, fix))
    return problems


def make_splits(
    tile_table: pd.DataFrame,
    card: DatasetCard,
    settings: SplitSettings,
    where: str = "tile table",
) -> pd.DataFrame:
    """Split the labelled tiles of a dataset, for every scheme, seed and fold.

    Folds and validation sets are stratified over all labels at once (Sechidis et al. 2011,
    doi:10.1007/978-3-642-23808-6_10). The result depends on the tiles' names, not on their order,
    and seeds are independent. Tiles without a label of a remaining class are in no split.

    Parameters
    ----------
    tile_table
        With columns `tile_id`, `group`, `labels`, `fov`.
    card
        The dataset's card.
    settings
        The study's `splits`.
    where
        Name of the table in the problems.

    Returns
    -------
    pd.DataFrame
        Columns `COLUMNS`; a row is in fraction f if share < f. `attrs` hold `classes`,
        `dropped_classes`, `task`, `validation_unit` ("group", "fov" or "none", for each
        "scheme/seed/fold"), `dataset` and `origin_of` the table.

    Raises
    ------
    UserError
        Naming all problems found by `check_splits`, and classes confined to one fold.
    """
    if problems := check_splits(tile_table, card, settings, where):
        raise UserError(problems)
    columns = settings.columns
    everything = LabelledTiles.from_table(tile_table, card.labels, card.task, columns)
    classes, _ = _remaining_classes(everything, settings, where)
    if dropped := [name for name in card.labels if name not in classes]:
        logger.warning("%s: dropped as too rare for the folds: %s", card.name, ", ".join(dropped))
    tiles = everything.with_classes(classes)
    parts, validation_unit = [], {}
    rows = np.flatnonzero(tiles.labelled)
    for scheme in settings.divided:
        for seed in settings.seeds:
            place = f"{where}, scheme {scheme}, seed {seed}"
            names = (card.name, "splits", without_shuffling(scheme))
            for fold, part, unit in divide(tiles, rows, scheme, settings, seed, names, place):
                parts.append(part)
                validation_unit[f"{scheme}/{seed}/{fold}"] = unit
    splits = pd.concat(parts, ignore_index=True)
    described: dict[str, object] = {
        "classes": classes,
        "dropped_classes": dropped,
        "task": card.task,
        "validation_unit": validation_unit,
        "dataset": card.name,
    }
    splits.attrs.update(described | origin_of(tile_table))
    return splits


def origin_of(tile_table: pd.DataFrame) -> dict[str, str]:
    """Return digests of the tiles, groups and fields of a tile table, and of its labels."""
    tiles = LabelledTiles.from_table(tile_table, [], "multi-label")
    rows = zip(tiles.tile_ids, tiles.groups, tiles.fovs, strict=True)
    return {
        TILES: digest_of_ids(["\t".join(row) for row in rows]),
        LABELS: digest_of_ids([str(text) for text in tile_table["labels"].fillna("")]),
    }


def divide(
    tiles: LabelledTiles,
    rows: Integers,
    scheme: str,
    settings: SplitSettings,
    seed: int,
    names: tuple[object, ...],
    where: str | None = None,
) -> Iterator[tuple[int, pd.DataFrame, str]]:
    """Yield number, table and validation unit of every fold of some rows.

    Parameters
    ----------
    tiles
        All tiles.
    rows
        Rows to divide, int64 [n].
    scheme
        What is kept on one side.
    settings
        The study's `splits`.
    seed
        Seed of the splits.
    names
        Further names from which the seeds derive.
    where
        Name of the table and the scheme in a problem; None: it is not checked that each class can
        be trained.
    """
    names = (seed, *names)
    for fold, (is_test, is_inner) in enumerate(_folds(tiles, rows, scheme, settings, names, where)):
        inner = rows[is_inner]
        is_validation, unit = _choose_validation(
            tiles, scheme, inner, settings.validation, (*names, fold)
        )
        roles = np.full(len(rows), 2)
        roles[is_inner] = is_validation.astype(np.int64)
        kept = is_test | is_inner
        own, roles = rows[kept], roles[kept]
        columns = {
            "scheme": scheme,
            "seed": np.int64(seed),
            "fold": np.int64(fold),
            "row": own,
            "role": ROLES[roles],
            "share": _shares(tiles.groups[own], roles, (*names, fold)),
        }
        yield fold, pd.DataFrame(columns).astype({"scheme": "str", "role": "str"}), unit


def _folds(
    tiles: LabelledTiles,
    rows: Integers,
    scheme: str,
    settings: SplitSettings,
    names: tuple[object, ...],
    where: str | None,
) -> Iterator[tuple[Bools, Bools]]:
    """Yield which rows each fold tests, and which it trains on or validates with, bool [n]."""
    if is_column(scheme):
        found = list(column_folds(tiles, rows, scheme, settings, names))
        if where is not None:
            _check_trained(tiles, rows, [inner for _, inner in found], where)
        yield from found
        return
    units = units_of(tiles, scheme, rows)
    fold_of_unit = assign_folds(units, settings.folds[scheme], names)
    if where is not None:
        _check_spread(units, fold_of_unit, classes=tiles.classes, where=where)
    for fold in range(settings.folds[scheme]):
        is_test = fold_of_unit[units.codes] == fold
        yield is_test, ~is_test


def halve(tiles: LabelledTiles, names: tuple[object, ...]) -> tuple[Integers, Integers]:
    """Divide the labelled rows into two halves of the groups, stratified over all labels.

    Parameters
    ----------
    tiles
        All tiles.
    names
        Names from which the seed derives.

    Returns
    -------
    tuple
        Rows of each half, int64, ascending.
    """
    rows = np.flatnonzero(tiles.labelled)
    units = units_of(tiles, "group", rows)
    is_second = assign_folds(units, 2, names)[units.codes] == 1
    return rows[~is_second], rows[is_second]


def _check_spread(units: Units, fold_of_unit: Integers, *, classes: list[str], where: str) -> None:
    """Check that every class is in at least two folds."""
    problems = []
    for column, name in enumerate(classes):
        if len(set(fold_of_unit[units.labels[:, column]])) < 2:
            fix = "Choose another seed, lower splits.folds, or set `splits.rare_classes: drop`."
            problems.append(Problem(where, f'all of class "{name}" is in one fold', fix))
    if problems:
        raise UserError(problems)


def _check_trained(
    tiles: LabelledTiles, rows: Integers, inner: Sequence[Bools], where: str
) -> None:
    """Check that every class is on the training side of each fold."""
    has = np.stack([tiles.matrix[rows[each]].any(axis=0) for each in inner])
    fix = "Choose another seed, lower the folds of the scheme, or leave the scheme out."
    problems = [
        Problem(where, f'all of class "{name}" is left out of a training set', fix)
        for name, always in zip(tiles.classes, np.asarray(has.all(axis=0)), strict=True)
        if not always
    ]
    if problems:
        raise UserError(problems)


def _choose_validation(
    tiles: LabelledTiles,
    scheme: str,
    rows: Integers,
    share: float,
    names: tuple[object, ...],
) -> tuple[Bools, str]:
    """Choose validation rows among the training rows, bool [n]; return the unit as well.

    If there are too few groups, fields of the training groups are chosen instead.
    """
    attempts: list[tuple[str, str]] = [(GROUP, "group"), (IMAGE, "fov")]
    for kind, unit in attempts[1:] if scheme == IMAGE else attempts:
        units = units_of(tiles, kind, rows)
        chosen = _stratified_subset(units.labels, share, (*names, "validation", kind))
        if chosen.any():
            return chosen[units.codes], unit
    return np.zeros(len(rows), dtype=bool), "none"


def _stratified_subset(labels: Bools, share: float, names: tuple[object, ...]) -> Bools:
    """Return a stratified subset of the units, bool [U], that leaves a unit of each class."""
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    chosen = np.zeros(len(labels), dtype=bool)
    is_only_one = (labels & (labels.sum(axis=0) == 1)).any(axis=1)
    candidates = np.flatnonzero(~is_only_one)
    size = max(1, round(share * len(labels)))
    if size >= len(candidates):
        chosen[candidates] = True
        return _leave_every_class(chosen, labels)
    splitter = MultilabelStratifiedShuffleSplit(
        n_splits=1,
        test_size=size,
        train_size=len(candidates) - size,
        random_state=derive_seed(*names) % SEED_LIMIT,
    )
    _, subset = next(splitter.split(labels[candidates], labels[candidates]))
    # With few units the stratification may put all on the training side.
    if not len(subset):
        subset = derive_rng(*names).choice(len(candidates), size, replace=False)
    chosen[candidates[subset]] = True
    return _leave_every_class(chosen, labels)


def _leave_every_class(chosen: Bools, labels: Bools) -> Bools:
    """Remove units from the choice until each class has one that is not chosen."""
    kept = chosen.copy()
    for column in np.argsort(labels.sum(axis=0), kind="stable"):
        having = np.flatnonzero(labels[:, column])
        if len(having) and kept[having].all():
            kept[having[0]] = False
    return kept


def _shares(groups: Texts, roles: Integers, names: tuple[object, ...]) -> Floats:
    """Return rank / number of each row's group within its role, float64 [n]; 0 for test rows.

    A group has one random key for all roles. Thus, with the scheme `image`, where groups are in
    both training and validation, a small fraction contains few groups in total.
    """
    codes, distinct = pd.factorize(groups, sort=True)
    keys = np.array([derive_seed(*names, "share", name) for name in distinct])
    shares = np.zeros(len(groups))
    for role in (0, 1):
        present = np.unique(codes[roles == role])
        share_of_group = np.zeros(len(distinct))
        order = present[np.argsort(keys[present], kind="stable")]
        share_of_group[order] = np.arange(len(order)) / max(len(order), 1)
        shares[roles == role] = share_of_group[codes[roles == role]]
    return shares


def write_splits(splits: pd.DataFrame, path: Path) -> None:
    """Write the table of `make_splits` atomically; its `attrs` become schema metadata."""
    write_parquet(splits[COLUMNS], path, {str(key): value for key, value in splits.attrs.items()})


def read_splits(path: Path, tile_table: pd.DataFrame) -> pd.DataFrame:
    """Read a table of `write_splits`, with its `attrs`.

    Parameters
    ----------
    path
        The file.
    tile_table
        The tiles that it splits, with whatever labels.

    Raises
    ------
    UserError
        If the file is missing, damaged, not a split table, or splits other tiles.
    """
    splits = read_parquet(path)
    if list(splits.columns) != COLUMNS or "classes" not in splits.attrs:
        fix = "Delete it and run the workflow again."
        raise user_error(path, "is no split table", fix)
    tiles = origin_of(tile_table)[TILES]
    # Those of older versions do not say of which tiles they are.
    is_within = splits["row"].between(0, len(tile_table) - 1).all()
    said = splits.attrs if is_within else {TILES: ""}
    check_origin(path, said, {TILES: tiles})
    return splits
