"""What stores know besides biology, with intervals: tables of all stores of a study.

Scores of predictions have the standard errors of all other scores: draws of test groups, inflated
by what scores in halves of the groups differ. The robustness index comes with its own variance over
groups. That of a corrected store is compared with that of the store it was made from, group by
group; a gain is called shown only where the batch was shown to matter before the correction, for to
subtract the mean of each batch removes accidental differences, too, and raises the index slightly
without any effect of batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.masks import holm
from transferscope.compare.tables import Store, rounded, write_csv
from transferscope.compare.uncertainty import Inflation, interval, variances, weight_of_scores
from transferscope.config.nuisance import COMPARED, NUISANCE, ROBUSTNESS
from transferscope.config.probed import Probed, uncorrected
from transferscope.config.results import CompareSettings
from transferscope.probes.nuisance_scores import METRICS, floor_of, group_sums, score_of_sums
from transferscope.probes.robustness_errors import interval as index_interval
from transferscope.probes.robustness_errors import variance
from transferscope.runtime.arrays import Floats, Floats32, Integers
from transferscope.runtime.progress import progress_bar
from transferscope.stores.parquet import read_parquet, write_parquet

STORE = ["dataset", "backbone", "channels"]
NUISANCE_COLUMNS = [
    *STORE,
    "target",
    "kind",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "standard_error",
    "floor",
    "p",
    "p_adjusted",
    "shown",
    "n_comparisons",
    "n_values",
    "n_left_out",
    "n_groups",
    "reason",
]
ROBUSTNESS_COLUMNS = [
    *STORE,
    "column",
    "k",
    "robustness_index",
    "ci_low",
    "ci_high",
    "standard_error",
    "shuffled",
    "p",
    "p_adjusted",
    "shown",
    "n_comparisons",
    "gain",
    "gain_low",
    "gain_high",
    "gain_p_adjusted",
    "gain_shown",
    "n_tiles",
    "n_groups",
    "n_classes",
    "reason",
]


@dataclass(frozen=True)
class Found:
    """What the step `nuisance` wrote of one store.

    Parameters
    ----------
    store
        Which it is.
    targets, predictions, halves, index, replicates
        Its tables (`config.nuisance.TABLES`).
    """

    store: Store
    targets: pd.DataFrame
    predictions: pd.DataFrame
    halves: pd.DataFrame
    index: pd.DataFrame
    replicates: pd.DataFrame


def compare_nuisances(
    stores: Mapping[Probed, Mapping[str, Path]], settings: CompareSettings, folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write both tables, also as CSV, and return them.

    Parameters
    ----------
    stores
        Store -> table -> its file.
    settings
        Coverage, draws and seed.
    folder
        Where the tables are written.

    Raises
    ------
    UserError
        If a table cannot be read.
    """
    by_dataset: dict[str, list[Found]] = {}
    with progress_bar("What stores know besides biology", len(stores), "stores") as bar:
        for probed, files in stores.items():
            read = {name: read_parquet(path) for name, path in files.items()}
            found = Found(Store(probed.representation, probed.channels), **read)
            by_dataset.setdefault(probed.dataset, []).append(found)
            bar.update(1)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in COMPARED}
    for dataset, own in by_dataset.items():
        parts[NUISANCE].append(_predicted(dataset, own, settings))
        parts[ROBUSTNESS].append(_robustness(dataset, own, settings))
    columns = (NUISANCE_COLUMNS, ROBUSTNESS_COLUMNS)
    made = [
        rounded(pd.concat(parts[name], ignore_index=True)[own])
        for name, own in zip(COMPARED, columns, strict=True)
    ]
    for name, table in zip(COMPARED, made, strict=True):
        write_parquet(table, folder / f"{name}.parquet", {})
        write_csv(table, folder / f"{name}.csv")
    return made[0], made[1]


def _predicted(dataset: str, found: Sequence[Found], settings: CompareSettings) -> pd.DataFrame:
    """Return the scores of all targets and stores of one dataset."""
    names = sorted({name for each in found for name in each.predictions["group"].unique()})
    weights = draw_weights(len(names), settings.bootstrap, settings.seed, dataset)
    rows: list[dict[str, Any]] = []
    for target in dict.fromkeys(name for each in found for name in each.targets["target"]):
        rows.extend(_of_target(target, found, names, weights, settings))
    table = pd.DataFrame(rows, columns=NUISANCE_COLUMNS[1:]).assign(dataset=dataset)
    adjusted = holm(table["p"].to_numpy(float))
    shown = adjusted <= 1 - settings.confidence
    n_tests = int(np.isfinite(adjusted).sum())
    return table.assign(p_adjusted=adjusted, shown=shown, n_comparisons=n_tests)


def _of_target(
    target: str,
    found: Sequence[Found],
    names: Sequence[str],
    weights: Floats32,
    settings: CompareSettings,
) -> Iterator[dict[str, Any]]:
    """Yield the scores of one target, of each store that was asked for it."""
    known: list[tuple[Found, Any, Floats, Floats]] = []
    for each in found:
        row = each.targets[each.targets["target"] == target].iloc[:1]
        if row.empty:
            continue
        own = row.iloc[0]
        predictions = each.predictions[each.predictions["target"] == target]
        if own["reason"] or predictions.empty:
            yield _row(each, own)
            continue
        draws = _draws(predictions, str(own["kind"]), int(own["n_values"]), names, weights)
        known.append((each, own, draws, _in_halves(each.halves, target)))
    if not known:
        return
    n_pairs = max(len(halves) for *_, halves in known)
    halves = np.full((len(known), n_pairs, 2), np.nan)
    for place, (*_, own_halves) in enumerate(known):
        halves[place, : len(own_halves)] = own_halves
    draws = np.stack([each for *_, each, _ in known], axis=1)
    bootstrapped = variances(draws)
    n_groups = int(weights.shape[1])
    inflation = Inflation.of(halves, bootstrapped, n_groups, weight_of_scores(len(known)))
    low, high = interval(draws[0], bootstrapped, inflation, settings.confidence, highest=1.0)
    errors = inflation.errors(bootstrapped)
    for place, (each, own, *_) in enumerate(known):
        floor = floor_of(str(own["kind"]), int(own["n_values"]))
        value, error = float(draws[0, place]), float(errors[place])
        yield {
            **_row(each, own),
            "value": value,
            "ci_low": low[place],
            "ci_high": high[place],
            "standard_error": error,
            "floor": floor,
            "p": float(stdtr(inflation.df, (floor - value) / error)) if error > 0 else np.nan,
            "n_groups": n_groups,
        }


def _row(found: Found, own: Any) -> dict[str, Any]:
    """Return the columns that a row has without a score, too."""
    named = {name: own[name] for name in ("target", "kind", "n_values", "n_left_out", "reason")}
    metric = METRICS[str(own["kind"])]
    return {**dict.fromkeys(NUISANCE_COLUMNS[1:], np.nan), **found.store.columns, **named} | {
        "metric": metric
    }


def _draws(
    predictions: pd.DataFrame, kind: str, n_values: int, names: Sequence[str], weights: Floats32
) -> Floats:
    """Return the score in each draw of groups, mean over repeats, [1 + draws]."""
    place = {name: number for number, name in enumerate(names)}
    drawn = []
    for _, own in predictions.groupby("seed"):
        groups: Integers = np.asarray([place[name] for name in own["group"]], dtype=np.int64)
        sums = group_sums(own, kind, n_values, groups)
        weighted = weights[:, : len(sums)].astype(np.float64) @ sums
        drawn.append(score_of_sums(weighted, kind))
    return np.asarray(np.mean(drawn, axis=0))


def _in_halves(halves: pd.DataFrame, target: str) -> Floats:
    """Return the scores of a target in halves, [J, 2]."""
    own = halves[halves["target"] == target].set_index("half")["value"]
    if own.empty:
        return np.empty((0, 2))
    n_pairs = int(own.index.max()) // 2 + 1
    return own.reindex(range(2 * n_pairs)).to_numpy(np.float64).reshape(n_pairs, 2)


def _robustness(dataset: str, found: Sequence[Found], settings: CompareSettings) -> pd.DataFrame:
    """Return the robustness indices of all stores of one dataset, and gains by corrections."""
    parts = []
    for column in dict.fromkeys(name for each in found for name in each.index["column"]):
        rows = pd.DataFrame(list(_indices(column, found, settings.confidence)))
        level = 1 - settings.confidence
        adjusted = holm(rows["p"].to_numpy(float))
        n_tests = int(np.isfinite(adjusted).sum())
        rows = rows.assign(p_adjusted=adjusted, shown=adjusted <= level, n_comparisons=n_tests)
        of_gains = holm(rows.pop("gain_p").to_numpy(float))
        # What a store was made from, by the place of its row.
        names = list(zip(rows["backbone"], rows["channels"], strict=True))
        origin = [(uncorrected(backbone), channels) for backbone, channels in names]
        before = [bool(rows["shown"].iloc[names.index(o)]) if o in names else False for o in origin]
        shown = np.array(before, dtype=bool) & (of_gains <= level)
        parts.append(rows.assign(gain_p_adjusted=of_gains, gain_shown=shown))
    if not parts:
        return pd.DataFrame(columns=ROBUSTNESS_COLUMNS)
    return pd.concat(parts, ignore_index=True).assign(dataset=dataset)


def _indices(column: str, found: Sequence[Found], confidence: float) -> Iterator[dict[str, Any]]:
    """Yield the indices against one column, with the p-value of a gain, of each store."""
    replicates = {
        each.store: each.replicates[each.replicates["column"] == column].set_index("group")
        for each in found
    }
    values = {each.store: _of_column(each.index, column) for each in found}
    for each in found:
        row = values[each.store]
        if row is None:
            continue
        value, error = row["robustness_index"], float(np.sqrt(row["variance"]))
        strata = replicates[each.store]["stratum"]
        df = max(len(strata) - strata.nunique(), 1)
        low, high = index_interval(value, error, len(strata), strata.nunique(), confidence)
        columns = ("column", "k", "robustness_index", "shuffled", "p", "n_tiles", "n_groups")
        found_row = {
            **each.store.columns,
            **{name: row[name] for name in (*columns, "n_classes", "reason")},
            "ci_low": low,
            "ci_high": high,
            "standard_error": error,
            **dict.fromkeys(("gain", "gain_low", "gain_high", "gain_p"), np.nan),
        }
        origin = Store(uncorrected(each.store.backbone), each.store.channels)
        before = values.get(origin)
        if origin != each.store and before is not None and not (row["reason"] or before["reason"]):
            pair = replicates[each.store]["value"] - replicates[origin]["value"]
            gain = value - before["robustness_index"]
            no_common = np.zeros(0)
            spread = np.sqrt(variance(pair.to_numpy(), strata.to_numpy(np.int64), no_common))
            reach = float(stdtrit(df, (1 + confidence) / 2)) * spread
            found_row |= {"gain": gain, "gain_low": gain - reach, "gain_high": gain + reach}
            # One-sided at half the level, as a two-sided interval above zero.
            found_row["gain_p"] = float(2 * stdtr(df, -gain / spread)) if spread > 0 else 1.0
            found_row["gain_p"] = min(found_row["gain_p"], 1.0) if gain > 0 else 1.0
        yield found_row


def _of_column(table: pd.DataFrame, column: str) -> Any:
    own = table[table["column"] == column]
    return None if own.empty else own.iloc[0]


@dataclass(frozen=True)
class NuisanceTables:
    """What `compare_nuisances` wrote."""

    nuisance: pd.DataFrame
    robustness: pd.DataFrame

    @classmethod
    def read(cls, folder: Path) -> NuisanceTables:
        """Read both tables; a UserError says which cannot be read."""
        return cls(*(read_parquet(folder / f"{name}.parquet") for name in COMPARED))
