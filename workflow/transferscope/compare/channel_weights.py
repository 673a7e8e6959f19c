"""What heads gain if channels are weighted, and which weights they choose.

Both heads of a gain have the same features, folds and groups, so that gains are paired. Gains of
all stores of a dataset are one family, and those of their classes another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t

from transferscope.compare.contests import Rules
from transferscope.compare.differences import FOUND, compare_pairs
from transferscope.compare.drawn_scores import ScorePaths
from transferscope.compare.tally import CLASS_METRIC
from transferscope.compare.uncertainty import HALF_SHARE
from transferscope.compare.versions import Versions, read_versions
from transferscope.config.ablation import EQUAL, WEIGHTED
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import HALF
from transferscope.stores.parquet import read_parquet

STORE = ["dataset", "backbone", "channels"]
# Without folds won: gains are of all folds together.
RESULTS = [name for name in FOUND if name not in ("folds_won", "n_folds")]
GAIN_COLUMNS = [*STORE, "head", "k", "metric", "class", *RESULTS]
WEIGHT_COLUMNS = [*STORE, "channel", "weight", "ci_low", "ci_high", "lowest", "highest", "n_folds"]


class Weighed(NamedTuple):
    """What weights of channels are, and are worth.

    Attributes
    ----------
    channel_gains
        `GAIN_COLUMNS`: one row per store and class; an empty class: the headline metric.
        `difference` is the gain: weighted minus equal.
    channel_weights
        `WEIGHT_COLUMNS`: one row per store and channel. `weight` is the mean over folds and
        repeats, of all channels 1; `ci_low` and `ci_high` its interval over groups, NaN without
        halves; `lowest` and `highest` are of single folds.
    """

    channel_gains: pd.DataFrame
    channel_weights: pd.DataFrame


def compare_weights(
    paths: ScorePaths, weights: Sequence[Path], settings: CompareSettings, rules: Rules
) -> Weighed:
    """Compare heads with chosen weights of channels with heads to which all count alike.

    Parameters
    ----------
    paths
        Tables of the step `weigh-channels`.
    weights
        Its tables of weights.
    settings
        Headline metric, number of draws, coverage, seed.
    rules
        What decides a difference.
    """
    of_dataset: dict[str, list[Versions]] = {}
    for versions in read_versions(paths, settings):
        of_dataset.setdefault(versions.dataset, []).append(versions)
    gains = [table for stores in of_dataset.values() for table in _gains(stores, rules)]
    chosen = [_intervals(read_parquet(path), settings.confidence) for path in weights]
    return Weighed(
        pd.concat(gains, ignore_index=True)[GAIN_COLUMNS],
        pd.concat(chosen, ignore_index=True)[WEIGHT_COLUMNS],
    )


def _gains(stores: Sequence[Versions], rules: Rules) -> list[pd.DataFrame]:
    """Return the gains of all stores of a dataset: of all classes together, and of each."""
    found = []
    for of_classes in (False, True):
        rows, pairs = [], []
        for versions in stores:
            metric = CLASS_METRIC if of_classes else versions.headline
            for head in versions.heads:
                with_weights, alike = (versions.sides(head, v) for v in (WEIGHTED, EQUAL))
                for name in versions.classes if of_classes else [""]:
                    pairs.append((with_weights[name], alike[name]))
                    named = {"metric": metric, "class": name}
                    rows.append({**versions.columns, **head.columns, **named})
        table = pd.DataFrame(rows).join(compare_pairs(pairs, stores[0].n_groups, rules))
        found.append(table.astype({"k": "Int64"}))
    return found


def _intervals(weights: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return the mean weight of each channel of a store, with its interval over groups.

    Two disjoint halves of the groups are independent, and the weights of each vary twice as much as
    those of all: a quarter of their squared difference estimates the variance of the latter
    (delete-half jackknife, as of scores in `compare.uncertainty`).
    """
    by = [*STORE, "channel"]
    whole = weights[weights[HALF].isna()].groupby(by, sort=False)["weight"]
    table = whole.agg(weight="mean", lowest="min", highest="max", n_folds="size")
    half = weights[weights[HALF].notna()]
    means = half.groupby([*by, HALF], sort=False)["weight"].mean().unstack(HALF)
    n_pairs = means.shape[1] // 2
    if n_pairs:
        values = means.reindex(table.index).to_numpy(float)[:, : 2 * n_pairs]
        gaps = values.reshape(len(table), n_pairs, 2)
        error = np.sqrt(np.square(gaps[..., 0] - gaps[..., 1]).mean(axis=1) * HALF_SHARE)
        reach = t.ppf((1 + confidence) / 2, n_pairs) * error
    else:
        reach = np.full(len(table), np.nan)
    limits = [(table["weight"] + sign * reach).clip(0, 1) for sign in (-1, 1)]
    found: pd.DataFrame = table.assign(ci_low=limits[0], ci_high=limits[1]).reset_index()
    return found
