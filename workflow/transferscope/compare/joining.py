"""What joined stores gain over the better of their parts.

The better part is chosen in each fold on validation tiles, so that no test tile chooses. Such a
choice may be wrong, and a wrong part is easier to beat than the better one. A gain is therefore
told only if the joined store is shown to be better than the chosen part, and than each of the
parts: whichever is truly the better one, it is among them, so that no choice is needed for the
claim to keep its level (an intersection-union test; Berger 1982,
doi:10.1080/00401706.1982.10487790).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.contests import Rules, Side
from transferscope.compare.differences import FOUND, compare_pairs
from transferscope.compare.drawn_scores import Predictions, ScorePaths, identify
from transferscope.compare.halves import HalfScores, read_halves
from transferscope.compare.tables import Head, matching, read_scores
from transferscope.compare.tally import Tally, groups_of, tally
from transferscope.config.joining import CHOSEN, JOINED, part, parts_of
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import VALIDATION_SCORE
from transferscope.runtime.progress import progress_bar

NAMED = ["dataset", "head", "k", "backbone", "channels"]
# `n_chosen`: in how many of the folds a part was chosen.
COLUMNS = [*NAMED, "metric", "against", "part", "n_chosen", *FOUND, "gain"]


@dataclass(frozen=True)
class _Joined:
    """The scores of one joined store and of its parts."""

    table: Predictions
    counted: Tally
    halves: HalfScores

    @property
    def heads(self) -> list[Head]:
        return sorted({head for head, scheme, _ in self.counted.sums if scheme == JOINED})

    @property
    def parts(self) -> list[str]:
        """The names of the parts."""
        return parts_of(self.table.store.backbone)

    def side(self, head: Head, scheme: str) -> Side:
        """Return the scores of the joined store, of the chosen part or of another one."""
        fraction, metric = self.counted.full_fraction, self.counted.headline
        key = (self.table.dataset, self.table.store, head, scheme, fraction, metric, "")
        return Side(
            self.table.store,
            self.counted.curves[head, scheme, fraction],
            self.counted.folds[head, scheme],
            self.halves.of([key])[0],
        )


def compare_joined(paths: ScorePaths, settings: CompareSettings, rules: Rules) -> pd.DataFrame:
    """Compare joined stores with their parts.

    Parameters
    ----------
    paths
        Tables of the step `join`.
    settings
        Headline metric, number of draws, seed.
    rules
        What decides a difference.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`: per dataset, head and joined store one row `against` the `chosen` part, and one
        against each part, `part-1` and so on. `difference` is the joined store minus that one. All
        joined stores of a dataset and head are one family, against the chosen parts, and another
        one against each part. `gain`: the joined store is shown to be better than the chosen
        part, and than each part.
    """
    scores, halves = read_scores(paths.scores), read_halves(paths.halves)
    with_precision = bool((scores["metric"] == "macro_average_precision").any())
    named = identify(paths.scores, paths.predictions)
    found: list[pd.DataFrame] = []
    with progress_bar("Drawing groups", sum(map(len, named.values())), "tables") as bar:
        for dataset, tables in sorted(named.items()):
            groups = sorted({name for t in tables for path in t.paths for name in groups_of(path)})
            weights = draw_weights(len(groups), settings.bootstrap, settings.seed, dataset)
            fraction = float(scores["fraction"].max())
            stores = []
            for table in tables:
                counted = tally(table.paths, groups, weights, settings, fraction, with_precision)
                stores.append(_Joined(table, counted, halves))
                bar.update()
            for head in sorted({head for each in stores for head in each.heads}):
                own = [each for each in stores if head in each.heads]
                found.append(_of_head(head, own, len(groups), rules, scores))
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(found, ignore_index=True)[COLUMNS].astype({"k": "Int64"})


def _of_head(
    head: Head, stores: Sequence[_Joined], n_groups: int, rules: Rules, scores: pd.DataFrame
) -> pd.DataFrame:
    """Return the rows of the joined stores of one dataset and head."""
    tables = [
        _of_family([_rows(each, head, scores, alone=alone) for each in stores], n_groups, rules)
        for alone in (False, True)
    ]
    table = pd.concat(tables, ignore_index=True)
    better = table["verdict"] == "better"
    return table.assign(
        gain=better.groupby([table["backbone"], table["channels"]]).transform("all")
    )


def _of_family(
    stores: Sequence[list[tuple[dict[str, Any], tuple[Side, Side]]]], n_groups: int, rules: Rules
) -> pd.DataFrame:
    rows = [row for each in stores for row in each]
    found = compare_pairs([pair for _, pair in rows], n_groups, rules)
    return pd.DataFrame([names for names, _ in rows]).join(found)


def _rows(
    each: _Joined, head: Head, scores: pd.DataFrame, *, alone: bool
) -> list[tuple[dict[str, Any], tuple[Side, Side]]]:
    """Return names and sides: against the chosen part, or against each part alone."""
    n_chosen = _n_chosen(matching(scores, head), each)
    named = {
        "dataset": each.table.dataset,
        **head.columns,
        **each.table.store.columns,
        "metric": each.counted.headline,
    }
    against = {CHOSEN: ("", sum(n_chosen))}
    if alone:
        against = {
            part(number): known
            for number, known in enumerate(zip(each.parts, n_chosen, strict=True), 1)
        }
    return [
        (
            {**named, "against": scheme, "part": name, "n_chosen": count},
            (each.side(head, JOINED), each.side(head, scheme)),
        )
        for scheme, (name, count) in against.items()
    ]


def _n_chosen(scores: pd.DataFrame, of: _Joined) -> list[int]:
    """Return in how many folds each part was chosen, as `probes.joining` chooses."""
    store = of.table.store
    own = matching(scores, dataset=of.table.dataset, **store.columns, metric=of.counted.headline)
    schemes = [part(number) for number in range(1, len(of.parts) + 1)]
    known = own[own["scheme"].isin(schemes)].fillna({VALIDATION_SCORE: -1.0})
    ranked = known.sort_values(
        [VALIDATION_SCORE, "scheme"], ascending=[False, True], kind="stable"
    ).drop_duplicates(["seed", "fold"])
    return [int((ranked["scheme"] == scheme).sum()) for scheme in schemes]
