"""The comparison of a study: reads all scores and predictions, writes all tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from transferscope.compare.ablation import compare_ablations
from transferscope.compare.channel_weights import compare_weights
from transferscope.compare.confusion import CONFUSION_COLUMNS, confusion
from transferscope.compare.contests import Rules, Side
from transferscope.compare.datasets import across_datasets
from transferscope.compare.differences import COLUMNS as DIFFERENCE_COLUMNS
from transferscope.compare.differences import differences
from transferscope.compare.drawn_scores import (
    Bootstrapped,
    ScorePaths,
    bootstrapped,
    contests_of,
    identify,
    n_groups_of,
    sides_of,
)
from transferscope.compare.evidence import LookedAt
from transferscope.compare.families import family_table
from transferscope.compare.few_groups import COLUMNS as FEW_GROUPS_COLUMNS
from transferscope.compare.few_groups import few_groups
from transferscope.compare.finetuning import COLUMNS as TUNED_COLUMNS
from transferscope.compare.finetuning import gains, tuned_stores
from transferscope.compare.grid_curves import GridTables, grid_tables
from transferscope.compare.halves import HalfScores, read_halves
from transferscope.compare.joining import compare_joined
from transferscope.compare.known_pairs import KnownPairTables
from transferscope.compare.ladder import COLUMNS as LADDER_COLUMNS
from transferscope.compare.ladder import columns_of, ladder
from transferscope.compare.layers import layer_table
from transferscope.compare.leaderboard import LEADERBOARD_COLUMNS, leaderboard
from transferscope.compare.masks import MaskTables
from transferscope.compare.nuisance import NuisanceTables
from transferscope.compare.number_format import read_number_formats
from transferscope.compare.page import as_page
from transferscope.compare.plateau import enough_from
from transferscope.compare.selection import at_full_fraction, choose
from transferscope.compare.summary import (
    INTERVAL_KEYS,
    Shares,
    class_table,
    shares_of,
    summarise,
    with_intervals,
)
from transferscope.compare.tables import (
    Head,
    Store,
    head_of,
    matching,
    read_scores,
    rounded,
    write_csv,
)
from transferscope.compare.tally import CLASS_METRIC
from transferscope.compare.texts import describe
from transferscope.compare.transfer import TransferPaths, compare_transfers
from transferscope.compare.uncertainty import draw_noise
from transferscope.config.jobs import Comparison
from transferscope.config.joining import JOINED
from transferscope.config.results import CompareSettings
from transferscope.errors import user_error
from transferscope.probes.calibration import CALIBRATION
from transferscope.runtime.arrays import Floats
from transferscope.runtime.atomic_files import write_atomically
from transferscope.runtime.seeds import derive_rng
from transferscope.stores.parquet import write_parquet

STORE_KEYS = ["dataset", "scheme", "backbone", "channels", "head", "k"]
LADDER, FEW_GROUPS = "ladder", "groups_per_class"
CONFUSION_KEYS = [*STORE_KEYS, *CONFUSION_COLUMNS]


def compare(
    score_paths: Sequence[Path],
    prediction_paths: Sequence[Path],
    settings: CompareSettings,
    folder: Path,
    summary_csv: Path,
    summary_md: Path,
    half_paths: Sequence[Path] = (),
    relations: Mapping[str, Path] | None = None,
    trained: Mapping[str, Path] | None = None,
    *,
    segmented: bool = False,
    nuisances: bool = False,
    looked: Mapping[str, LookedAt] | None = None,
    transferred: Mapping[str, TransferPaths] | None = None,
    ablated: ScorePaths | None = None,
    weighted: tuple[ScorePaths, Sequence[Path]] | None = None,
    joined: ScorePaths | None = None,
) -> None:
    """Compare all stores of a study.

    Writes `scores`, `differences`, `leaderboard` and `across_datasets` (also as CSV), `chosen`,
    `confusion`, `per_class`, `finetuning` and `number_format` (Parquet) into `folder`, and the
    summary as a table and in sentences, with all details next to it. With grids, also `grid_cells`,
    `grid_curves` and `grid_bands`, and where all blocks of a backbone are evaluated, `layers`; with
    families of backbones, `families`; with splits by columns of the sheet, `ladder`;
    with few groups per class, `groups_per_class`; with tests on other datasets, `transfer`,
    `transfer_costs`, `transfer_ranks`, `transfer_pairs`; with ablated channels, `ablation` and
    `ablation_carriers`; with weighted ones, `channel_gains` and `channel_weights`; with joined
    stores, `joined`.

    Parameters
    ----------
    score_paths
        Score tables of all probes and stores.
    prediction_paths
        Prediction tables, each next to its score table.
    settings
        Headline metric, number of draws, coverage and seed.
    folder
        Output folder of the tables.
    summary_csv, summary_md
        Output files of the summary.
    half_paths
        Tables of scores in halves of the groups. Where there are none, errors are larger.
    relations
        Dataset -> folder of its recall of known pairs, where that was asked for.
    trained
        Backbone -> manifest of its training, of the cells of grids.
    segmented
        Whether `folder` has the tables of `compare_masks`, which are told, too.
    nuisances
        Whether `folder` has the tables of `compare_nuisances`, which are told, too.
    looked
        What was found out about the images of each dataset.
    transferred
        Dataset -> tables of what was trained on it and tested on another one.
    ablated
        Tables of heads on tiles without single channels.
    weighted
        Tables of heads on weighted channels, and those of the weights.
    joined
        Tables of heads on joined stores, and on their parts.

    Raises
    ------
    UserError
        Naming all unusable tables.
    """
    scores = read_scores(score_paths)
    _check_headline(scores, settings.metric)
    predictions = identify(score_paths, prediction_paths)
    halves = read_halves(half_paths)
    noise = draw_noise(settings.bootstrap, derive_rng("noise", settings.seed))
    rules = Rules(settings.confidence, settings.margin, noise)
    drawn = bootstrapped(scores, predictions, settings)
    shares = shares_of(scores)
    intervals = _intervals(drawn, halves, settings.confidence, shares)
    summary = _summary(scores, intervals)
    sides = {
        dataset: sides_of(dataset, found, halves, settings.metric)
        for dataset, found in drawn.items()
    }
    n_groups = {dataset: n_groups_of(found) for dataset, found in drawn.items()}
    contests = {
        dataset: contests_of(of_dataset, n_groups[dataset], settings.metric)
        for dataset, of_dataset in sides.items()
    }
    chosen = choose(summary, settings.metric)
    gained = [
        gains(_tuned_curves(found, scores, dataset), dataset, summary, settings.confidence)
        for dataset, found in drawn.items()
    ]
    gaps, leaders = [], []
    for dataset, of_dataset in contests.items():
        for contest in of_dataset:
            names = {"dataset": dataset, "metric": settings.metric}
            found = differences(contest, rules).assign(**names)
            gaps.append(found[DIFFERENCE_COLUMNS])
            cost = _operations(settings).get(dataset, {})
            leaders.append(leaderboard(contest, found, rules, cost).assign(**names))
    of_all = _concatenate(gaps, DIFFERENCE_COLUMNS)
    counts = [table for found in drawn.values() for table in found.classes]
    tables = {
        "scores": scores,
        "differences": of_all,
        "across_datasets": across_datasets(of_all, settings.confidence),
        "leaderboard": _concatenate(leaders, LEADERBOARD_COLUMNS),
        # With the parameters of the intervals, for the figures.
        "chosen": chosen.assign(
            metric=settings.metric,
            confidence=settings.confidence,
            margin=settings.margin,
            enough_from=_enough_from(chosen, drawn, halves, settings),
            n_repeats=chosen["dataset"].map(scores.groupby("dataset")["seed"].nunique()),
            n_half_pairs=chosen["dataset"].map(halves.n_pairs).fillna(0).astype("int64"),
        ),
        "confusion": _confusions(drawn, chosen, summary, settings),
        "per_class": class_table(_concatenate(counts, []), intervals),
        "finetuning": _concatenate(gained, TUNED_COLUMNS),
        "number_format": read_number_formats(score_paths),
    }
    for name, table in tables.items():
        table = table if name == "scores" else rounded(table)
        write_parquet(table, folder / f"{name}.parquet", {})
    for name in ("differences", "leaderboard", "across_datasets"):
        write_csv(tables[name], folder / f"{name}.csv")
    write_csv(summary.drop(columns="point"), summary_csv)
    recalled = {name: KnownPairTables.read(path) for name, path in (relations or {}).items()}
    grids = _grids(summary, tables["chosen"], settings, trained or {}, recalled)
    for name, table in ({} if grids is None else grids.named()).items():
        write_parquet(rounded(table), folder / f"{name}.parquet", {})
        write_csv(table, folder / f"{name}.csv")
    layers = _layers(summary, tables, settings)
    if layers is not None:
        write_parquet(rounded(layers), folder / "layers.parquet", {})
        write_csv(layers, folder / "layers.csv")
    families = _families(summary, tables, settings)
    if families is not None:
        write_parquet(rounded(families), folder / "families.parquet", {})
        write_csv(families, folder / "families.csv")
    tables |= _ladder(sides, n_groups, rules, settings, folder)
    if shares:
        few = [
            few_groups(dataset, settings.metric, of_dataset, summary, n_groups[dataset], rules)
            for dataset, of_dataset in sides.items()
        ]
        tables |= _written({FEW_GROUPS: _concatenate(few, FEW_GROUPS_COLUMNS)}, folder)
    if transferred:
        tables |= _written(vars(compare_transfers(transferred, settings, rules)), folder)
    if ablated is not None:
        tables |= _written(compare_ablations(ablated, settings, rules)._asdict(), folder)
    if weighted is not None:
        tables |= _written(compare_weights(*weighted, settings, rules)._asdict(), folder)
    if joined is not None:
        tables |= _written({JOINED: compare_joined(joined, settings, rules)}, folder)
    masks = MaskTables.read(folder) if segmented else None
    besides = NuisanceTables.read(folder) if nuisances else None
    told = recalled, grids, masks, looked, layers, families, besides
    texts = describe(summary, tables, settings, *told)
    write_atomically(summary_md, texts.summary)
    write_atomically(summary_md.with_name("details.md"), texts.details)
    page = as_page(f"{texts.summary}\n{texts.details}", "What the comparison shows")
    write_atomically(summary_md.with_suffix(".html"), page)


def _grids(
    summary: pd.DataFrame,
    chosen: pd.DataFrame,
    settings: CompareSettings,
    trained: Mapping[str, Path],
    recalled: Mapping[str, KnownPairTables],
) -> GridTables | None:
    if not isinstance(settings, Comparison) or not settings.cells:
        return None
    return grid_tables(summary, chosen, settings, trained, recalled)


def _layers(
    summary: pd.DataFrame, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> pd.DataFrame | None:
    if not isinstance(settings, Comparison) or not settings.layered:
        return None
    gaps, layered = tables["differences"], settings.layered
    return layer_table(summary, tables["chosen"], gaps, layered, settings.metric)


def _families(
    summary: pd.DataFrame, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> pd.DataFrame | None:
    if not isinstance(settings, Comparison) or not settings.families:
        return None
    chosen, gaps = tables["chosen"], tables["differences"]
    costs, members = settings.operations, settings.families
    return family_table(summary, chosen, gaps, members, costs, settings.metric)


def _operations(settings: CompareSettings) -> Mapping[str, Mapping[str, float]]:
    return settings.operations if isinstance(settings, Comparison) else {}


def _check_headline(scores: pd.DataFrame, metric: str) -> None:
    if metric == CLASS_METRIC:
        what = "class_f1 is one value per class, not one per store"
        raise user_error("compare.metric", what, "Choose macro_f1, their mean.")
    if metric in CALIBRATION:
        what = f"{metric} is of probabilities, and lower is better"
        raise user_error("compare.metric", what, "Choose a score, such as macro_f1.")
    if metric not in set(scores["metric"]):
        what = f"{metric} is in no score table"
        raise user_error("compare.metric", what, "Add it to `metrics`.")


def _intervals(
    bootstrapped: dict[str, Bootstrapped],
    halves: HalfScores,
    confidence: float,
    shares: Shares,
) -> pd.DataFrame:
    """Return the intervals of all stores; the floor may be in several tables of one store."""
    parts = [table for found in bootstrapped.values() for table in found.estimates]
    estimates = _concatenate(parts, [*INTERVAL_KEYS, "point", "variance", "n_groups"])
    return with_intervals(estimates.drop_duplicates(INTERVAL_KEYS), halves, confidence, shares)


def _summary(scores: pd.DataFrame, intervals: pd.DataFrame) -> pd.DataFrame:
    if intervals.empty:
        extra = ["point", "ci_low", "ci_high", "n_groups"]
        intervals = scores[INTERVAL_KEYS].iloc[:0].assign(**dict.fromkeys(extra, np.nan))
    return summarise(scores, intervals.drop(columns="variance", errors="ignore"))


def _ladder(
    sides: Mapping[str, Mapping[tuple[Head, str], Mapping[Store, Side]]],
    n_groups: Mapping[str, Mapping[str, int]],
    rules: Rules,
    settings: CompareSettings,
    folder: Path,
) -> dict[str, pd.DataFrame]:
    """Write what harder splits cost, and return it by its name; nothing without such splits."""
    named = settings.columns if isinstance(settings, Comparison) else []
    parts = [
        ladder(dataset, settings.metric, sides[dataset], columns, counts, rules)
        for dataset, counts in n_groups.items()
        if (columns := columns_of(list(counts), named))
    ]
    if not parts and not named:
        return {}
    table = rounded(_concatenate(parts, LADDER_COLUMNS))
    write_parquet(table, folder / f"{LADDER}.parquet", {})
    write_csv(table, folder / f"{LADDER}.csv")
    return {LADDER: table}


def _written(found: Mapping[str, pd.DataFrame], folder: Path) -> dict[str, pd.DataFrame]:
    """Write tables by their names, and return them."""
    tables = {name: rounded(table) for name, table in found.items()}
    for name, table in tables.items():
        write_parquet(table, folder / f"{name}.parquet", {})
        write_csv(table, folder / f"{name}.csv")
    return tables


def _tuned_curves(
    found: Bootstrapped, scores: pd.DataFrame, dataset: str
) -> dict[Store, dict[tuple[Head, str, float], Floats]]:
    tuned = tuned_stores(matching(scores, dataset=dataset))
    return {store: curves for store, curves in found.curves.items() if store in tuned}


def _enough_from(
    chosen: pd.DataFrame,
    bootstrapped: dict[str, Bootstrapped],
    halves: HalfScores,
    settings: CompareSettings,
) -> list[float]:
    """Return from which fraction on each chosen store is shown to be near its full score."""
    found = []
    for row in chosen.to_dict("records"):
        store, head, scheme = Store(row["backbone"], row["channels"]), head_of(row), row["scheme"]
        of_dataset = bootstrapped.get(row["dataset"])
        curves = {} if of_dataset is None else of_dataset.curves.get(store, {})
        draws = {f: values for (h, s, f), values in curves.items() if (h, s) == (head, scheme)}
        if of_dataset is None or not draws:
            found.append(np.nan)
            continue
        keys = [(row["dataset"], store, head, scheme, f, settings.metric, "") for f in draws]
        in_halves = dict(zip(draws, halves.of(keys), strict=True))
        n_groups = len(of_dataset.groups)
        found.append(enough_from(draws, in_halves, n_groups, settings.confidence))
    return found


def _confusions(
    bootstrapped: dict[str, Bootstrapped],
    chosen: pd.DataFrame,
    summary: pd.DataFrame,
    settings: CompareSettings,
) -> pd.DataFrame:
    """Return the confusion matrix of the best store of each dataset and scheme."""
    full = at_full_fraction(summary, settings.metric).groupby("dataset")["fraction"].max()
    parts = []
    for _, row in chosen.iterrows():
        found = bootstrapped.get(row["dataset"])
        store, head, scheme = Store(row["backbone"], row["channels"]), head_of(row), row["scheme"]
        if found is None or (store, head, scheme) not in found.sources:
            continue
        paths, fraction = found.sources[store, head, scheme], float(full[row["dataset"]])
        table = confusion(
            paths, found.groups, found.weights, head, scheme, fraction, settings.confidence
        )
        named = table.assign(**{key: row[key] for key in STORE_KEYS})
        parts.append(named[CONFUSION_KEYS].astype({"k": "Int64"}))
    return _concatenate(parts, CONFUSION_KEYS)


def _concatenate(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [table for table in tables if not table.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)
