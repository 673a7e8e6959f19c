"""The comparison in plain sentences: what won, by how much, and whether that is real."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from transferscope.backbones.strategies import FEATURES, MAP_RANDOM
from transferscope.compare.finetuning import KEYS as TUNED_KEYS
from transferscope.compare.finetuning import best_frozen
from transferscope.compare.leakage import training_notes
from transferscope.compare.selection import RULE, at_full_fraction
from transferscope.compare.summary import head_of
from transferscope.compare.tables import HEAD, Head, Store
from transferscope.compare.wording import (
    METRIC_NAMES,
    SCHEME_NAMES,
    capitalised,
    count,
    estimate,
    gap,
    number,
    percent,
    quoted,
    signed,
    store_name,
    strategy_phrase,
    verdict,
)
from transferscope.config import CompareSettings
from transferscope.score_table import FLOOR

SATURATED = 0.95
SUSPICIOUS = 0.98
WIDE = 0.15
RANDOM_ORDERS = (
    "`map-random` stands for all random orders of the channels that were run: its scores are "
    "averages over them, and its intervals hold that they were drawn."
)
FEW_GROUPS = 20


@dataclass(frozen=True)
class Evidence:
    """All that is known of one dataset, with the chosen head.

    Parameters
    ----------
    curve
        The headline metric of the chosen head at every fraction.
    floor
        The headline metric of the floor at the full fraction.
    gaps
        Differences with the chosen head.
    chosen
        The best store of each scheme.
    classes
        The class table, chosen head.
    tuned
        What fine-tuning gains.
    settings
        Metric and coverage.
    """

    curve: pd.DataFrame
    floor: pd.DataFrame
    gaps: pd.DataFrame
    chosen: pd.DataFrame
    classes: pd.DataFrame
    tuned: pd.DataFrame
    settings: CompareSettings

    @property
    def full(self) -> pd.DataFrame:
        """The headline metric at the full fraction, the best store of each scheme first."""
        rows = self.curve[self.curve["fraction"] == self.curve["fraction"].max()]
        keys = ["scheme", "mean", "backbone", "channels"]
        full: pd.DataFrame = rows.sort_values(keys, ascending=[True, False, True, True])
        return full

    def of_scheme(self, scheme: str) -> pd.DataFrame:
        """Return `full` of one scheme, the best store first."""
        return self.full[self.full["scheme"] == scheme].reset_index(drop=True)

    def gaps_of(self, kind: str, scheme: str) -> pd.DataFrame:
        """Return the differences of one kind and scheme: one family of Holm's correction."""
        return self.gaps[(self.gaps["kind"] == kind) & (self.gaps["scheme"] == scheme)]


def describe(
    summary: pd.DataFrame,
    gaps: pd.DataFrame,
    chosen: pd.DataFrame,
    classes: pd.DataFrame,
    tuned: pd.DataFrame,
    settings: CompareSettings,
) -> str:
    """Write the comparison as Markdown.

    Parameters
    ----------
    summary, gaps, chosen, classes, tuned
        From `summarise`, `differences`, `choose`, `class_table` and `gains`.
    settings
        Metric, coverage and draws.
    """
    parts = ["# What the comparison shows", "", *_how_to_read(settings)]
    if (summary["channels"] == MAP_RANDOM).any():
        parts += ["", RANDOM_ORDERS]
    for dataset in sorted(summary["dataset"].unique()):
        parts += ["", f"## {quoted(dataset)}", ""]
        evidence = _evidence(dataset, summary, gaps, chosen, classes, tuned, settings)
        if evidence is None:
            parts += ["Only the floor was run here: there is nothing to compare."]
            continue
        parts += _of_dataset(evidence)
        notes = training_notes(summary, dataset)
        if notes:
            parts += ["", "### Trained on this dataset", "", *(f"* {note}" for note in notes)]
    return "\n".join(parts) + "\n"


def _how_to_read(settings: CompareSettings) -> list[str]:
    metric = METRIC_NAMES[settings.metric]
    return [
        f"Scores are {metric}, averaged over folds and repeats, with all training labels unless a "
        "fraction is named. "
        f"Intervals are {percent(settings.confidence)} bootstrap intervals over "
        f"{settings.bootstrap:,} draws of whole groups (percentiles, centred on the score), the "
        "same draws for every store, so that differences are paired. They say how much depends on "
        "which groups were tested; what another training set would change is not in them.",
        "",
        f"{RULE} A store is a backbone with a channel strategy. The best of many is chosen because "
        "it came out highest, so that its score is optimistic: judge by the differences.",
    ]


def _evidence(
    dataset: str,
    summary: pd.DataFrame,
    gaps: pd.DataFrame,
    chosen: pd.DataFrame,
    classes: pd.DataFrame,
    tuned: pd.DataFrame,
    settings: CompareSettings,
) -> Evidence | None:
    best = chosen[chosen["dataset"] == dataset]
    if best.empty:
        return None
    head = head_of(best.iloc[0])
    rows = summary[(summary["metric"] == settings.metric) & (summary["dataset"] == dataset)]
    floor = at_full_fraction(rows, settings.metric)
    return Evidence(
        curve=_with_head(rows, head),
        floor=floor[floor["head"] == FLOOR],
        gaps=_with_head(gaps[gaps["dataset"] == dataset], head),
        chosen=best,
        classes=_with_head(classes[classes["dataset"] == dataset], head)
        if len(classes)
        else classes,
        tuned=tuned[tuned["dataset"] == dataset],
        settings=settings,
    )


def _with_head(rows: pd.DataFrame, head: object) -> pd.DataFrame:
    if rows.empty:
        return rows
    same = [head_of(row) == head for _, row in rows[HEAD].iterrows()]
    return rows[np.array(same)]


def _of_dataset(evidence: Evidence) -> list[str]:
    head = head_of(evidence.chosen.iloc[0])
    stores = count(int(evidence.chosen["n_stores"].max()), "store")
    parts = [f"Head that stands for all stores: {head}, on {stores}."]
    for scheme in evidence.chosen["scheme"]:
        parts += ["", f"### {SCHEME_NAMES.get(scheme, quoted(scheme))}", ""]
        parts += [f"* {sentence}" for sentence in _of_scheme(evidence, scheme)]
    if gap_sentences := list(_split_gap(evidence)):
        parts += ["", "### What the split is worth", ""]
        parts += [f"* {sentence}" for sentence in gap_sentences]
    parts += ["", "### All stores", "", *_ranking(evidence), "", "### Warnings", ""]
    warnings = list(_warnings(evidence))
    return [*parts, *(f"* {w}" for w in warnings or ["None."])]


def _of_scheme(evidence: Evidence, scheme: str) -> Iterator[str]:
    ranked = evidence.of_scheme(scheme)
    yield _winner(ranked, evidence.settings)
    yield from _runner_up(evidence, scheme, ranked)
    yield from _handcrafted(evidence, scheme, ranked.iloc[0])
    yield from _floor(evidence, scheme, ranked.iloc[0])
    yield from _mapping(evidence, scheme)
    yield _saturation(evidence, scheme, ranked.iloc[0])
    yield from _fine_tuning(evidence, scheme)


def _winner(ranked: pd.DataFrame, settings: CompareSettings) -> str:
    best = ranked.iloc[0]
    groups = "" if pd.isna(best["n_groups"]) else f", {count(int(best['n_groups']), 'group')}"
    tested = f"{count(int(best['n_scores']), 'test fold')}{groups}"
    text = f"{estimate(best, settings.confidence)} on {tested}"
    name = f"**{store_name(best)}**"
    if len(ranked) == 1:
        return f"The only store, {name}, reaches {text}."
    return f"The best of {count(len(ranked), 'store')} is {name} with {text}."


def _runner_up(evidence: Evidence, scheme: str, ranked: pd.DataFrame) -> Iterator[str]:
    if len(ranked) < 2:
        return
    gaps = evidence.gaps_of("stores", scheme)
    of_best = _from(gaps, ranked.iloc[0], "first_")
    second = ranked.iloc[1]
    direct = _from(of_best, second, "second_")
    if direct.empty:
        yield f"The runner-up is {store_name(second)} with {number(second['mean'])}."
        return
    row = direct.iloc[0]
    yield (
        f"The runner-up is {store_name(second)}; the best is ahead by {gap(row)} and won "
        f"{percent(round(row['share_folds_won'], 3))} of the folds: {verdict(row, len(gaps))}."
    )
    level = int((~of_best["significant"].astype(bool)).sum())
    if len(ranked) > 2:
        if level:
            yield (
                f"{level} of the {len(of_best)} other stores cannot be told apart from the best."
            )
        else:
            yield f"The best is ahead of each of the {len(of_best)} other stores."


def _handcrafted(evidence: Evidence, scheme: str, best: Any) -> Iterator[str]:
    ranked = evidence.of_scheme(scheme)
    if not (ranked["channels"] == FEATURES).any():
        yield "Hand-crafted features were not run, so what a network adds is not known."
        return
    if best["channels"] == FEATURES:
        yield "The best store is hand-crafted features: no network is needed for this score."
        return
    baseline = ranked[ranked["channels"] == FEATURES].iloc[0]
    gaps = evidence.gaps_of("handcrafted", scheme)
    direct = _from(_from(gaps, best, "first_"), baseline, "second_")
    if direct.empty:
        yield f"Hand-crafted features ({store_name(baseline)}) reach {number(baseline['mean'])}."
        return
    row = direct.iloc[0]
    yield (
        f"Hand-crafted features ({store_name(baseline)}) reach {number(row['second_mean'])}; the "
        f"best store is ahead by {gap(row)}: {verdict(row, len(gaps))}."
    )


def _floor(evidence: Evidence, scheme: str, best: Any) -> Iterator[str]:
    gaps = evidence.gaps_of("floor", scheme)
    direct = _from(gaps, best, "first_")
    if not direct.empty:
        row = direct.iloc[0]
        ahead = "is ahead by" if row["difference"] >= 0 else "is behind by"
        yield (
            f"The floor, which knows the training labels alone, reaches "
            f"{number(row['second_mean'])}; the best store {ahead} {gap(row)}: "
            f"{verdict(row, len(gaps))}."
        )
        return
    floor = evidence.floor[evidence.floor["scheme"] == scheme]["mean"].mean()
    if np.isnan(floor):
        yield "The floor was not computed."
    else:
        yield f"The floor, which knows the training labels alone, reaches {number(floor)}."


def _mapping(evidence: Evidence, scheme: str) -> Iterator[str]:
    """Say whether channels in the slots that they belong to beat each other strategy."""
    gaps = evidence.gaps_of("strategy", scheme)
    for strategy in sorted(gaps["second_channels"].unique()):
        rows = gaps[gaps["second_channels"] == strategy]
        other = strategy_phrase(strategy)
        if len(rows) == 1:
            row = rows.iloc[0]
            yield (
                f"Natural mapping minus {other} ({quoted(strategy)}), for "
                f"{quoted(row['first_backbone'])}: {gap(row)}; {verdict(row, len(gaps))}."
            )
            continue
        proven = rows[rows["significant"].astype(bool)]
        better, worse = (proven["difference"] > 0).sum(), (proven["difference"] < 0).sum()
        span = f"{signed(rows['difference'].min())} to {signed(rows['difference'].max())}"
        yield (
            f"Natural mapping against {other} ({quoted(strategy)}), over {len(rows)} backbones: "
            f"better for {better}, worse for {worse}, no difference shown for "
            f"{len(rows) - better - worse}; differences from {span}, mean "
            f"{signed(rows['difference'].mean())}."
        )
    if gaps.empty:
        yield "Natural mapping was not run beside another strategy, so it is not compared."


def _saturation(evidence: Evidence, scheme: str, best: Any) -> str:
    curve = evidence.curve[evidence.curve["scheme"] == scheme]
    curve = _from(curve, best, "").sort_values("fraction")
    if len(curve) < 2:
        return "One fraction was run, so how many labels are needed is not known."
    enough = curve[curve["mean"] >= SATURATED * best["mean"]]
    if enough.empty or best["mean"] <= 0:
        return "The best score is zero, so how many labels are needed cannot be said."
    first = enough.iloc[0]
    groups = count(round(first["n_train_groups"]), "training group")
    if first["fraction"] == curve["fraction"].max():
        return (
            f"Only all training labels ({groups}) give {percent(SATURATED)} of the best store's "
            "full score, less does not: no plateau is seen, and more labels may still help."
        )
    return (
        f"With {percent(first['fraction'])} of the training groups ({groups}) the best store "
        f"reaches {number(first['mean'])}, at least {percent(SATURATED)} of its full score."
    )


def _fine_tuning(evidence: Evidence, scheme: str) -> Iterator[str]:
    """Say what fine-tuning adds to the best frozen head, and from which fraction on."""
    tuned = evidence.tuned[evidence.tuned["scheme"] == scheme]
    for _, rows in tuned.groupby(TUNED_KEYS, sort=True):
        last = rows.sort_values("fraction").iloc[-1]
        name = store_name(last)
        labels = (
            "all training labels"
            if last["fraction"] == evidence.curve["fraction"].max()
            else f"{percent(last['fraction'])} of the training groups"
        )
        yield (
            f"{capitalised(str(Head(last['head'])))} of {name} reaches "
            f"{number(last['tuned_mean'])} with {labels}, against {number(last['frozen_mean'])} of "
            f"the best head on the frozen backbone ({best_frozen(last)}): a difference of "
            f"{gap(last)}. {_worth(rows)}"
        )


def _worth(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]["worth_from"]
    if np.isnan(first):
        return (
            "From no fraction on does the paired interval of the difference stay above zero, so "
            "that it is not shown to be worth it."
        )
    groups = rows.loc[rows["fraction"] == first, "n_train_groups"].iloc[0]
    return (
        f"It is worth it from {percent(first)} of the training groups on "
        f"({count(round(groups), 'training group')}): from there the paired interval of the "
        "difference stays above zero."
    )


def _split_gap(evidence: Evidence) -> Iterator[str]:
    gaps = evidence.gaps_of("scheme", "image")
    if gaps.empty:
        return
    best = {row["scheme"]: row for _, row in evidence.chosen.iterrows()}
    row = _from(gaps, best["group"], "first_")
    if not row.empty:
        yield (
            f"The best store by group, {store_name(best['group'])}, changes by "
            f"{gap(row.iloc[0])} when split by image: {verdict(row.iloc[0], len(gaps))}."
        )
    span = f"{signed(gaps['difference'].min())} to {signed(gaps['difference'].max())}"
    if len(gaps) > 1:
        yield (
            f"Over all {len(gaps)} stores the gap is {signed(gaps['difference'].mean())} on "
            f"average ({span})."
        )
        same = all(best["group"][k] == best["image"][k] for k in ("backbone", "channels"))
        yield (
            "Both splits name the same best store."
            if same
            else (
                f"The splits disagree on the best store: {store_name(best['group'])} by group, "
                f"{store_name(best['image'])} by image."
            )
        )
    if (gaps["significant"].astype(bool) & (gaps["difference"] > 0)).any():
        yield "A score from a split by image is no estimate for groups that were never seen."


def _ranking(evidence: Evidence) -> list[str]:
    schemes = list(evidence.chosen["scheme"])
    tables = {s: evidence.of_scheme(s) for s in schemes}
    header = " | ".join(["store", *(f"by {s}" for s in schemes)])
    lines = [f"| {header} |", "|---" * (len(schemes) + 1) + "|"]
    names = dict.fromkeys(n for t in tables.values() for n in map(_key, t.to_dict("records")))
    for name in names:
        cells = []
        for table in tables.values():
            found = [r for r in table.to_dict("records") if _key(r) == name]
            cells.append(_cell(found[0]) if found else "-")
        label = quoted(Store(*name)).replace("|", "\\|")
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def _key(row: Any) -> tuple[str, str]:
    return str(row["backbone"]), str(row["channels"])


def _cell(row: Any) -> str:
    if np.isnan(row["ci_low"]):
        return number(row["mean"])
    return f"{number(row['mean'])} ({number(row['ci_low'])} to {number(row['ci_high'])})"


def _warnings(evidence: Evidence) -> Iterator[str]:
    metric = METRIC_NAMES[evidence.settings.metric]
    for scheme in evidence.chosen["scheme"]:
        best = evidence.of_scheme(scheme).iloc[0]
        where = f"By {scheme}, {store_name(best)}"
        if best["mean"] >= SUSPICIOUS:
            yield (
                f"{where} reaches a {metric} of {number(best['mean'])}, which is suspiciously "
                "high: check that groups are what must not be shared, and that no label is in the "
                "images."
            )
        if best["ci_high"] - best["ci_low"] > WIDE:
            yield (
                f"{where}: the interval is {number(best['ci_high'] - best['ci_low'])} wide; more "
                "groups are needed for a firm answer."
            )
        if best["n_groups"] is not pd.NA and best["n_groups"] < FEW_GROUPS:
            yield f"{where}: intervals rest on {count(int(best['n_groups']), 'group')} only."
        below = _from(evidence.gaps_of("floor", scheme), best, "first_")
        if len(below) and not (below.iloc[0]["ci_low"] > 0):
            yield f"{where} is not shown to beat the floor: nothing was learnt that can be trusted."
        yield from _class_warnings(evidence, scheme, best, where)


def _class_warnings(evidence: Evidence, scheme: str, best: Any, where: str) -> Iterator[str]:
    if evidence.classes.empty:
        return
    rows = _from(evidence.classes[evidence.classes["scheme"] == scheme], best, "")
    never = rows[(rows["n_predicted"] == 0) & (rows["n_positive"] > 0)]["class"]
    if len(never):
        yield f"{where} never predicts {', '.join(map(quoted, never))}."


def _from(rows: pd.DataFrame, store: Any, side: str) -> pd.DataFrame:
    """Return the rows whose first, second or only side is a store."""
    same = (rows[f"{side}backbone"] == store["backbone"]) & (
        rows[f"{side}channels"] == store["channels"]
    )
    found: pd.DataFrame = rows[same]
    return found
