"""What heads are worth on another dataset than they were trained on, and whether ranks are kept.

All trainings are tested on the same groups of the tested dataset, so that differences of one store
are paired. Draws of test groups are of the tested dataset; halves are of the groups of both, so
that the part of the training sets is that of either. Intervals and verdicts are corrected for the
number of pairs of datasets (Bonferroni), and verdicts for the stores of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from transferscope.compare.contests import Contest, Rules, Side
from transferscope.compare.differences import COLUMNS as DIFFERENCE_COLUMNS
from transferscope.compare.differences import FOUND, compare_pairs, differences
from transferscope.compare.drawn_scores import (
    bootstrapped,
    contests_of,
    identify,
    n_groups_of,
    sides_of,
)
from transferscope.compare.halves import read_halves
from transferscope.compare.leaderboard import LEADERBOARD_COLUMNS, leaderboard
from transferscope.compare.tables import Head, Store, matching, read_scores
from transferscope.config.results import CompareSettings
from transferscope.config.transfer import (
    ALONE,
    FEW_SHOT,
    OWN,
    ZERO_SHOT,
    n_labelled,
    with_labels,
)
from transferscope.probes.score_table import FLOOR

SOURCE = "source"
SCORE_COLUMNS = [SOURCE, *LEADERBOARD_COLUMNS[:-1], "n_train_groups", "above_floor"]
# Without folds won: of trainings, which are no stores.
RESULTS = [name for name in FOUND if name not in ("folds_won", "n_folds")]
NAMED = [SOURCE, "dataset", "head", "k", "metric"]
COST_COLUMNS = [*NAMED, "backbone", "channels", "better_with", "than", *RESULTS]
RANK_COLUMNS = [
    *NAMED,
    "n_stores",
    "kendall_tau",
    "best_inside",
    "best_outside",
    "best_inside_may_be_best",
    "best_inside_behind",
    "n_pairs",
    "n_same",
    "n_opposite",
    "n_changed",
]
PAIR_COLUMNS = [
    *NAMED,
    *DIFFERENCE_COLUMNS[6:10],
    "inside",
    "inside_verdict",
    "outside",
    "outside_verdict",
    *RESULTS,
]
Sides = Mapping[tuple[Head, str], Mapping[Store, Side]]


@dataclass(frozen=True)
class Transferred:
    """The tables of what was tested on another dataset.

    Parameters
    ----------
    transfer
        Scores of all trainings, columns `SCORE_COLUMNS`; the highest first.
    transfer_costs
        Differences between trainings of one store, columns `COST_COLUMNS`.
    transfer_ranks
        Ranking of the stores in and out of domain, columns `RANK_COLUMNS`.
    transfer_pairs
        Differences of two stores in and out of domain, and between these, columns `PAIR_COLUMNS`.
    """

    transfer: pd.DataFrame
    transfer_costs: pd.DataFrame
    transfer_ranks: pd.DataFrame
    transfer_pairs: pd.DataFrame


@dataclass(frozen=True)
class TransferPaths:
    """Tables of all that was trained on one dataset: scores, predictions, scores in halves."""

    scores: Sequence[Path]
    predictions: Sequence[Path]
    halves: Sequence[Path]


@dataclass(frozen=True)
class _Tested:
    """One pair of datasets.

    Parameters
    ----------
    source, dataset
        What was trained on, and what is tested.
    sides
        Head and training -> store -> its score.
    n_groups
        Training -> number of test groups.
    sizes
        Mean numbers of training groups: head, k, scheme, backbone, channels, n_train_groups.
    """

    source: str
    dataset: str
    sides: Sides
    n_groups: Mapping[str, int]
    sizes: pd.DataFrame

    @property
    def heads(self) -> list[Head]:
        return sorted({head for head, _ in self.sides if head.kind != FLOOR})

    def named(self, head: Head, metric: str) -> dict[str, Any]:
        columns = {SOURCE: self.source, "dataset": self.dataset, "metric": metric}
        return {**columns, **head.columns}

    def contests(self, metric: str) -> list[Contest]:
        return contests_of(self.sides, self.n_groups, metric)


def compare_transfers(
    paths: Mapping[str, TransferPaths], settings: CompareSettings, rules: Rules
) -> Transferred:
    """Compare what was trained on one dataset and tested on another one.

    Parameters
    ----------
    paths
        Dataset that is trained on -> its tables.
    settings
        Headline metric, number of draws and seed.
    rules
        What decides a difference, without correction for the number of pairs of datasets.
    """
    tested = {(one.source, one.dataset): one for one in _read(paths, settings)}
    corrected = 1 - (1 - rules.confidence) / max(len(tested), 1)
    rules, n_pairs = replace(rules, confidence=corrected), len(tested)
    scores: list[pd.DataFrame] = []
    costs: list[pd.DataFrame] = []
    ranks: list[dict[str, Any]] = []
    pairs: list[pd.DataFrame] = []
    for key, one in sorted(tested.items()):
        scores.extend(_scores(one, settings.metric, rules))
        costs.extend(_costs(one, settings.metric, rules))
        if back := tested.get((key[1], key[0])):
            for head in one.heads:
                found = _both_places(one, back, head, settings.metric, rules)
                if found is not None:
                    ranks.append(found[0])
                    pairs.append(found[1])
    return Transferred(
        _table(scores, SCORE_COLUMNS),
        _over_datasets(_table(costs, COST_COLUMNS), n_pairs),
        _table([pd.DataFrame(ranks)] if ranks else [], RANK_COLUMNS),
        _over_datasets(_table(pairs, PAIR_COLUMNS), n_pairs),
    )


def _read(paths: Mapping[str, TransferPaths], settings: CompareSettings) -> Iterator[_Tested]:
    for source, own in paths.items():
        scores = read_scores(own.scores)
        halves = read_halves(own.halves)
        drawn = bootstrapped(scores, identify(own.scores, own.predictions), settings)
        for dataset, found in drawn.items():
            sides = sides_of(dataset, found, halves, settings.metric)
            keys = ["head", "k", "scheme", "backbone", "channels"]
            of_dataset = matching(scores, dataset=dataset).fillna({"k": 0})
            sizes = of_dataset.groupby(keys)["n_train_groups"].mean().reset_index()
            yield _Tested(source, dataset, sides, n_groups_of(found), sizes)


def _scores(one: _Tested, metric: str, rules: Rules) -> Iterator[pd.DataFrame]:
    """Yield the scores of all stores, of each head and training."""
    for contest in one.contests(metric):
        gaps = differences(contest, rules)
        table = leaderboard(contest, gaps, rules, {}).drop(columns="operations")
        above = {
            (row["first_backbone"], row["first_channels"]): row["verdict"]
            for row in matching(gaps, kind="floor").to_dict("records")
        }
        sizes = matching(one.sizes, contest.head, scheme=contest.scheme)
        known = sizes.set_index(["backbone", "channels"])["n_train_groups"].to_dict()
        stores = list(zip(table["backbone"], table["channels"], strict=True))
        yield table.assign(
            **one.named(contest.head, metric),
            n_train_groups=[known.get(store, np.nan) for store in stores],
            above_floor=[above.get(store, "") for store in stores],
        ).astype({"k": "Int64"})


def _costs(one: _Tested, metric: str, rules: Rules) -> Iterator[pd.DataFrame]:
    """Yield what one training is worth more than another, of each head."""
    schemes = {scheme for _, scheme in one.sides}
    steps = [(OWN, ZERO_SHOT)]
    for k in sorted({n_labelled(scheme) for scheme in schemes} - {0}):
        few, alone = with_labels(FEW_SHOT, k), with_labels(ALONE, k)
        steps += [(few, ZERO_SHOT), (few, alone), (OWN, few)]
    for head in one.heads:
        for first, second in steps:
            sides, others = (one.sides.get((head, name), {}) for name in (first, second))
            shared = [store for store in sorted(sides) if store in others]
            if not shared:
                continue
            both = [(sides[store], others[store]) for store in shared]
            found = compare_pairs(both, one.n_groups[second], rules)
            stores = pd.DataFrame([store.columns for store in shared])
            named = {**one.named(head, metric), "better_with": first, "than": second}
            yield pd.concat([stores, found], axis=1).assign(**named).astype({"k": "Int64"})


def _both_places(
    out: _Tested, back: _Tested, head: Head, metric: str, rules: Rules
) -> tuple[dict[str, Any], pd.DataFrame] | None:
    """Return the ranking, and pairs of stores, of one head in and out of domain.

    Parameters
    ----------
    out, back
        A pair of datasets, and the reverse one, whose own training is on the dataset that `out`
        trains on.
    """
    inside, outside = back.sides.get((head, OWN), {}), out.sides.get((head, ZERO_SHOT), {})
    stores = [store for store in sorted(inside) if store in outside]
    if len(stores) < 2:
        return None
    at_home, abroad = (
        Contest(head, scheme, [sides[store] for store in stores], {}, {}, tested.n_groups[scheme])
        for scheme, sides, tested in ((OWN, inside, back), (ZERO_SHOT, outside, out))
    )
    pairs = _pairs(stores, at_home, abroad, rules).assign(**out.named(head, metric))
    values = [np.array([side.scores[0] for side in each.sides]) for each in (at_home, abroad)]
    best, best_abroad = (int(np.nanargmax(each)) for each in values)
    with_best = abroad.with_best(rules)
    shown = pairs[["inside_verdict", "outside_verdict"]].isin(["better", "worse"]).all(axis=1)
    same = pairs["inside_verdict"] == pairs["outside_verdict"]
    row = {
        **out.named(head, metric),
        "n_stores": len(stores),
        "kendall_tau": float(kendalltau(*values).statistic),
        "best_inside": str(stores[best]),
        "best_outside": str(stores[best_abroad]),
        "best_inside_may_be_best": bool(with_best.may_be_best[best]),
        "best_inside_behind": float(with_best.at_most_behind[best]),
        "n_pairs": len(pairs),
        "n_same": int((shown & same).sum()),
        "n_opposite": int((shown & ~same).sum()),
        "n_changed": int(pairs["verdict"].isin(["better", "worse"]).sum()),
    }
    return row, pairs.astype({"k": "Int64"})


def _pairs(
    stores: Sequence[Store], at_home: Contest, abroad: Contest, rules: Rules
) -> pd.DataFrame:
    """Return differences of two stores in both places, and how much more one of them loses."""
    pairs = list(combinations(range(len(stores)), 2))
    columns = {
        f"{side}_{key}": [store.columns[key] for store in chosen]
        for side, chosen in (
            ("first", [stores[i] for i, _ in pairs]),
            ("second", [stores[j] for _, j in pairs]),
        )
        for key in ("backbone", "channels")
    }
    places: dict[str, Any] = {}
    for name, contest in (("inside", at_home), ("outside", abroad)):
        both = [(contest.sides[i], contest.sides[j]) for i, j in pairs]
        found = compare_pairs(both, contest.n_groups, rules, contest.inflation)
        places |= {name: found["difference"], f"{name}_verdict": found["verdict"]}
    # The groups of the two datasets are drawn apart.
    losses = [
        replace(one, scores=one.scores - other.scores, halves=one.halves - other.halves)
        for one, other in zip(at_home.sides, abroad.sides, strict=True)
    ]
    lost = replace(at_home, sides=losses, n_groups=min(at_home.n_groups, abroad.n_groups))
    both = [(losses[i], losses[j]) for i, j in pairs]
    found = compare_pairs(both, lost.n_groups, rules, lost.inflation, paired=False)
    return pd.DataFrame({**columns, **places}).join(found)


def _over_datasets(table: pd.DataFrame, n_pairs: int) -> pd.DataFrame:
    """Return p-values and counts corrected for pairs of datasets, as the verdicts are."""
    corrected = (table["p_adjusted"] * n_pairs).clip(upper=1)
    return table.assign(p_adjusted=corrected, n_comparisons=table["n_comparisons"] * n_pairs)


def _table(parts: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True)[columns]
