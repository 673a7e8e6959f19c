"""What joined stores gain over the better of their parts.

The better part is chosen in each fold on validation tiles, so that no test tile chooses. Such a
choice may be wrong, and a wrong part is easier to beat than the better one. A gain is therefore
told only if the joined store is shown to be better than the chosen part, and than each of the
parts: whichever is truly the better one, it is among them, so that no choice is needed for the
claim to keep its level (an intersection-union test; Berger 1982,
doi:10.1080/00401706.1982.10487790).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pandas as pd

from transferscope.compare.contests import Rules, Side
from transferscope.compare.differences import FOUND, compare_pairs
from transferscope.compare.drawn_scores import ScorePaths
from transferscope.compare.tables import Head, matching, read_scores
from transferscope.compare.versions import Versions, read_versions
from transferscope.config.joining import CHOSEN, JOINED, part, parts_of
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import VALIDATION_SCORE

NAMED = ["dataset", "head", "k", "backbone", "channels"]
# `n_chosen`: in how many of the folds a part was chosen.
COLUMNS = [*NAMED, "metric", "against", "part", "n_chosen", *FOUND, "gain"]


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
    scores = read_scores(paths.scores)
    found: list[pd.DataFrame] = []
    for _, versions in itertools.groupby(read_versions(paths, settings), lambda v: v.dataset):
        stores = list(versions)
        for head in sorted({head for each in stores for head in _heads(each)}):
            own = [each for each in stores if head in _heads(each)]
            found.append(_of_head(head, own, rules, scores))
    if not found:
        return pd.DataFrame(columns=COLUMNS)
    return pd.concat(found, ignore_index=True)[COLUMNS].astype({"k": "Int64"})


def _heads(versions: Versions) -> list[Head]:
    """Return the heads that were tested on the joined store."""
    return sorted({head for head, scheme, _ in versions.counted.sums if scheme == JOINED})


def _side(versions: Versions, head: Head, scheme: str) -> Side:
    """Return the scores of the joined store, of the chosen part or of another one."""
    counted = versions.counted
    fraction = counted.full_fraction
    key = (versions.dataset, versions.store, head, scheme, fraction, counted.headline, "")
    return Side(
        versions.store,
        counted.curves[head, scheme, fraction],
        counted.folds[head, scheme],
        versions.halves.of([key])[0],
    )


def _of_head(
    head: Head, stores: Sequence[Versions], rules: Rules, scores: pd.DataFrame
) -> pd.DataFrame:
    """Return the rows of the joined stores of one dataset and head."""
    n_groups = stores[0].n_groups
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
    each: Versions, head: Head, scores: pd.DataFrame, *, alone: bool
) -> list[tuple[dict[str, Any], tuple[Side, Side]]]:
    """Return names and sides: against the chosen part, or against each part alone."""
    n_chosen = _n_chosen(matching(scores, head), each)
    named = {**each.columns, **head.columns, "metric": each.headline}
    against = {CHOSEN: ("", sum(n_chosen))}
    if alone:
        against = {
            part(number): known
            for number, known in enumerate(
                zip(parts_of(each.store.backbone), n_chosen, strict=True), 1
            )
        }
    return [
        (
            {**named, "against": scheme, "part": name, "n_chosen": count},
            (_side(each, head, JOINED), _side(each, head, scheme)),
        )
        for scheme, (name, count) in against.items()
    ]


def _n_chosen(scores: pd.DataFrame, of: Versions) -> list[int]:
    """Return in how many folds each part was chosen, as `probes.joining` chooses."""
    own = matching(scores, **of.columns, metric=of.headline)
    n_parts = len(parts_of(of.store.backbone))
    schemes = [part(number) for number in range(1, n_parts + 1)]
    known = own[own["scheme"].isin(schemes)].fillna({VALIDATION_SCORE: -1.0})
    ranked = known.sort_values(
        [VALIDATION_SCORE, "scheme"], ascending=[False, True], kind="stable"
    ).drop_duplicates(["seed", "fold"])
    return [int((ranked["scheme"] == scheme).sum()) for scheme in schemes]
