"""What embeddings know besides biology: batch, plate, site, well, and the quality of images.

Each is predicted on the study's own folds by group, from tiles of other groups. Columns of names by
the study's logistic regression, scored by balanced accuracy (the mean share of each value that is
recognised), whose floor is one over the number of values. Numbers by ridge regression, whose
penalty is chosen on the validation rows of each fold, scored by R2 against the mean of the training
rows, whose floor is zero. Standard errors are those of other scores: draws of test groups, and
halves of the groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from transferscope.config.nuisance import SCHEME
from transferscope.config.probes import HeadSettings, SplitSettings
from transferscope.probes.evaluation import Division, ProbeData
from transferscope.probes.halves import halves_of
from transferscope.probes.heads import run_heads
from transferscope.probes.nuisance_scores import COLUMN, NUMBER, score
from transferscope.probes.ridge import fit_ridge
from transferscope.runtime.arrays import Bools, Floats, Integers, Texts

LOGREG = "logreg"
_WELL = re.compile(r"([A-Za-z]{1,2})[-_ ]?(\d{1,2})")
# Folds that a value must be in: one is tested, another one trains.
LEAST_FOLDS = 2
# Rows that a regression needs.
LEAST_ROWS = 2
PREDICTION_COLUMNS = ["target", "seed", "group", "truth", "predicted", "baseline"]
HALF_COLUMNS = ["target", "half", "value"]
_Run = Callable[[Sequence[Division]], pd.DataFrame]


@dataclass(frozen=True)
class Target:
    """Something besides biology that is predicted.

    Parameters
    ----------
    name
        Column of the sheet, or measure.
    kind
        `COLUMN` or `NUMBER`.
    codes
        Value of each tile: an index into `values`, -1 where unknown; or the number, NaN where
        unknown. float64 [N].
    values
        Names of the values of a column.
    """

    name: str
    kind: str
    codes: Floats
    values: Sequence[str] = ()

    @property
    def known(self) -> Bools:
        """Which tiles have a value, bool [N]."""
        return np.isfinite(self.codes) & ((self.kind == NUMBER) | (self.codes >= 0))


def column_targets(name: str, texts: Texts, *, is_position: bool = False) -> list[Target]:
    """Return what is predicted of a column of names: itself, or row and column of wells.

    Parameters
    ----------
    name
        Of the column.
    texts
        Its values, str [N]; empty where unknown.
    is_position
        Whether it is the column of wells: values such as B07 are places on a plate then.

    Examples
    --------
    >>> import numpy as np
    >>> texts = np.array(["A01", "B12"], dtype=object)
    >>> [target.name for target in column_targets("well", texts, is_position=True)]
    ['well (row)', 'well (column)']
    >>> [target.name for target in column_targets("batch", texts)]
    ['batch']
    """
    filled = [text for text in texts if text]
    wells = [_WELL.fullmatch(text) for text in texts]
    if (
        is_position
        and filled
        and all(well for well, text in zip(wells, texts, strict=True) if text)
    ):
        places = np.array(
            [(_row(well[1]), float(well[2])) if well else (np.nan, np.nan) for well in wells]
        )
        named = (f"{name} (row)", f"{name} (column)")
        return [Target(each, NUMBER, places[:, n]) for n, each in enumerate(named)]
    values, codes = np.unique(np.asarray(texts, dtype=str), return_inverse=True)
    numbers: Floats = codes.ravel().astype(np.float64)
    if len(values) and not values[0]:
        values, numbers = values[1:], numbers - 1
    return [Target(name, COLUMN, numbers, [str(value) for value in values])]


def _row(letters: str) -> float:
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return float(number)


@dataclass(frozen=True)
class Predicted:
    """What was predicted of one target.

    Parameters
    ----------
    target
        Its name and kind.
    n_values, n_left_out
        Values that are predicted, and those that are not.
    reason
        Why it cannot be predicted; empty if it can.
    predictions
        Columns `PREDICTION_COLUMNS`: tiles of test groups.
    halves
        Columns `HALF_COLUMNS`: scores in halves of the groups.
    """

    target: Target
    n_values: int
    n_left_out: int
    reason: str
    predictions: pd.DataFrame
    halves: pd.DataFrame

    @classmethod
    def impossible(cls, target: Target, reason: str) -> Predicted:
        """Return what is said of a target that cannot be predicted."""
        nothing = [pd.DataFrame(columns=names) for names in (PREDICTION_COLUMNS, HALF_COLUMNS)]
        return cls(target, 0, len(target.values), reason, *nothing)


def predict(
    data: ProbeData, targets: Sequence[Target], heads: HeadSettings, splits: SplitSettings
) -> Iterator[Predicted]:
    """Predict targets on the folds by group, and in halves of the groups.

    Parameters
    ----------
    data
        Embeddings, groups and divisions.
    targets
        What is predicted.
    heads
        The study's `heads`: the strength of the logistic regression.
    splits
        The study's `splits`.

    Yields
    ------
    Predicted
        One per target, columns of names before numbers.
    """
    possible = []
    for target in targets:
        known = target.codes[target.known & data.tiles.labelled]
        if not len(known):
            yield Predicted.impossible(target, "no labelled tile has a value")
        elif np.ptp(known) == 0:
            yield Predicted.impossible(target, "all labelled tiles have the same value")
        elif target.kind == COLUMN:
            yield _predict_column(data, target, heads, splits)
        else:
            possible.append(target)
    # Those that the same tiles have are fitted together.
    alike: dict[bytes, list[Target]] = {}
    for target in possible:
        alike.setdefault(target.known.tobytes(), []).append(target)
    for together in alike.values():
        yield from _predict_numbers(data, together, splits)


def _predict_numbers(
    data: ProbeData, targets: Sequence[Target], splits: SplitSettings
) -> Iterator[Predicted]:
    known = targets[0].known
    tiles = replace(data.tiles, matrix=data.tiles.matrix & known[:, None])
    in_halves = _halves_by_group(replace(data, tiles=tiles), splits)

    def run(parts: Sequence[Division]) -> pd.DataFrame:
        return _numbers(data, targets, parts)

    found = run([_among(division, known) for division in _by_group(data)])
    halves = _halves(targets, in_halves, run)
    for target in targets:
        own, in_half = (each[each["target"] == target.name] for each in (found, halves))
        yield Predicted(target, 0, 0, "", own, in_half)


def _numbers(
    data: ProbeData, targets: Sequence[Target], divisions: Sequence[Division]
) -> pd.DataFrame:
    numbers = np.stack([target.codes for target in targets], axis=1)
    parts = [pd.DataFrame(columns=PREDICTION_COLUMNS)]
    for division in divisions:
        train, validation, test = division.train, division.validation, division.test
        if not len(test) or len(train) < LEAST_ROWS:
            continue
        inner = numbers[train], numbers[validation]
        fitted = fit_ridge(data.embeddings, train, inner[0], validation, inner[1])
        predicted = fitted.predict(data.embeddings[test])
        for place, target in enumerate(targets):
            columns = {
                "target": target.name,
                "seed": division.seed,
                "group": data.tiles.groups[test],
                "truth": numbers[test, place],
                "predicted": predicted[:, place],
                "baseline": fitted.intercepts[place],
            }
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts[1:] or parts, ignore_index=True)[PREDICTION_COLUMNS]


def _predict_column(
    data: ProbeData, target: Target, heads: HeadSettings, splits: SplitSettings
) -> Predicted:
    divisions = [_among(division, target.known) for division in _by_group(data)]
    spread = _least_folds(target, divisions)
    kept = np.flatnonzero(spread >= LEAST_FOLDS)
    n_lost = len(target.values) - len(kept)
    if len(kept) < 2:
        reason = (
            f"each of its {len(target.values)} values is in one fold of the groups only, so that "
            "none could be recognised in other groups"
            if not len(kept)
            else f"only one of its {len(target.values)} values is in several folds of the groups"
        )
        return Predicted.impossible(target, reason)
    matrix = target.codes[:, None] == kept
    values = [target.values[int(each)] for each in kept]
    usable = matrix.any(axis=1)
    tiles = replace(data.tiles, matrix=matrix, classes=values, task="single-label")
    posed = replace(data, tiles=tiles, identity={**data.identity, "task": "single-label"})
    kept_only = replace(target, codes=np.where(usable, matrix.argmax(axis=1), -1.0), values=values)
    # Halves are of labelled tiles, as all else.
    labelled = replace(tiles, matrix=matrix & data.tiles.labelled[:, None])
    in_halves = _halves_by_group(replace(data, tiles=labelled), splits)
    settings = heads.model_copy(update={"kinds": [LOGREG]})

    def run(parts: Sequence[Division]) -> pd.DataFrame:
        return _columns(posed, kept_only, settings, parts)

    halves = _halves([kept_only], in_halves, run)
    found = run([_among(division, usable) for division in divisions])
    return Predicted(target, len(kept), n_lost, "", found, halves)


def _columns(
    data: ProbeData, target: Target, settings: HeadSettings, divisions: Sequence[Division]
) -> pd.DataFrame:
    # Nothing is chosen on validation rows here: they train.
    divisions = [_all_train(each) for each in divisions if len(each.train) and len(each.test)]
    if not divisions:
        return pd.DataFrame(columns=PREDICTION_COLUMNS)
    found = run_heads(replace(data, divisions=divisions), settings).predictions()
    found = found[found["head"] == LOGREG]
    n_values = len(target.values)
    truth, predicted = (
        found[[f"{name}_{n}" for n in range(n_values)]].to_numpy().argmax(axis=1)
        for name in ("true", "predicted")
    )
    columns = {"truth": truth.astype(float), "predicted": predicted.astype(float)}
    own = found[["seed", "group"]].assign(target=target.name, baseline=np.nan, **columns)
    return own[PREDICTION_COLUMNS].reset_index(drop=True)


def _least_folds(target: Target, divisions: Sequence[Division]) -> Integers:
    """Return in how many folds each value is tested, the fewest of all repeats, int64 [V]."""
    tested: dict[int, Integers] = {}
    for division in divisions:
        found = np.bincount(
            np.unique(target.codes[division.test]).astype(np.int64), minlength=len(target.values)
        )
        tested[division.seed] = tested.get(division.seed, np.zeros_like(found)) + found
    return np.asarray(np.min(list(tested.values()), axis=0), dtype=np.int64)


def _halves(targets: Sequence[Target], divisions: Sequence[Division], run: _Run) -> pd.DataFrame:
    """Return the scores in halves of the groups, means over repeats, of targets known together."""
    rows = []
    for half in sorted({each.half for each in divisions if each.half is not None}):
        own = [_among(each, targets[0].known) for each in divisions if each.half == half]
        found = run(own)
        for target in targets:
            of_target = found[found["target"] == target.name]
            value = score(of_target, target.kind, len(target.values))
            rows.append({"target": target.name, "half": half, "value": value})
    return pd.DataFrame(rows, columns=HALF_COLUMNS)


def _by_group(data: ProbeData) -> list[Division]:
    """Return the divisions by group, at the largest fraction."""
    found = [division for division in data.divisions if division.scheme == SCHEME]
    largest = max((division.fraction for division in found), default=1.0)
    return [division for division in found if division.fraction == largest]


def _halves_by_group(data: ProbeData, splits: SplitSettings) -> list[Division]:
    return halves_of(data, splits.model_copy(update={"schemes": [SCHEME]}), 1.0)


def _all_train(division: Division) -> Division:
    """Return a division whose validation rows are training rows."""
    rows = np.sort(np.concatenate([division.train, division.validation]))
    return replace(division, train=rows, validation=rows[:0], train_shares=np.zeros(len(rows)))


def _among(division: Division, usable: Bools) -> Division:
    """Return a division of the rows that can be used, bool [N]."""
    kept = usable[division.train]
    return replace(
        division,
        train=division.train[kept],
        train_shares=division.train_shares[kept],
        validation=division.validation[usable[division.validation]],
        test=division.test[usable[division.test]],
    )
