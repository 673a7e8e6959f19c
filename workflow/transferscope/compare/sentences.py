"""The comparison in sentences: what is best, by how much, and whether that is significant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from transferscope.compare.finetuning import KEYS as TUNED_KEYS
from transferscope.compare.finetuning import best_frozen
from transferscope.compare.leakage import training_notes
from transferscope.compare.selection import RULE, at_full_fraction
from transferscope.compare.summary import head_of
from transferscope.compare.tables import Head, Store, matching
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
from transferscope.config.channel_strategies import FEATURES, MAP_RANDOM
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import FLOOR

SATURATED = 0.95
SUSPICIOUS = 0.98
WIDE = 0.15
RANDOM_ORDERS = (
    "`map-random` stands for all random orders of the channels that were run: its scores are "
    "averages over them, and its intervals include the variance between them."
)
FEW_GROUPS = 20


@dataclass(frozen=True)
class Evidence:
    """Results of one dataset, with the chosen head.

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
        Scores per class.
    tuned
        Gains of fine-tuning.
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

    def of_scheme(self, scheme: str) -> OfScheme:
        """Return the results of one split scheme."""
        rows = self.curve[self.curve["fraction"] == self.curve["fraction"].max()]
        keys = ["mean", "backbone", "channels"]
        ranked = matching(rows, scheme=scheme).sort_values(keys, ascending=[False, True, True])
        return OfScheme(self, scheme, ranked)


@dataclass(frozen=True)
class OfScheme:
    """Results of one dataset and split scheme.

    Parameters
    ----------
    all
        Results of the dataset.
    scheme
        The split scheme.
    ranked
        The headline metric at the full fraction, best store first.
    """

    all: Evidence
    scheme: str
    ranked: pd.DataFrame

    @property
    def best(self) -> Any:
        """The row of the best store."""
        return self.ranked.iloc[0]

    def gaps(self, kind: str) -> pd.DataFrame:
        """Return the differences of one kind: one family of Holm's correction."""
        return matching(self.all.gaps, kind=kind, scheme=self.scheme)


def describe(
    summary: pd.DataFrame, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> str:
    """Write the comparison as Markdown.

    Parameters
    ----------
    summary
        From `summarise`.
    tables
        `differences`, `chosen`, `per_class` and `finetuning`, as `compare` writes them.
    settings
        Metric, coverage and draws.
    """
    parts = ["# What the comparison shows", "", *_how_to_read(settings)]
    if (summary["channels"] == MAP_RANDOM).any():
        parts += ["", RANDOM_ORDERS]
    for dataset in sorted(summary["dataset"].unique()):
        parts += ["", f"## {quoted(dataset)}", ""]
        evidence = _evidence(dataset, summary, tables, settings)
        if evidence is None:
            parts += ["Only the floor was run here: there is nothing to compare."]
            continue
        parts += _of_dataset(evidence)
        if notes := training_notes(summary, dataset, settings):
            parts += ["", "### What backbones have seen", "", *_bullets(notes)]
    return "\n".join(parts) + "\n"


def _bullets(sentences: Iterable[str]) -> list[str]:
    return [f"* {sentence}" for sentence in sentences]


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
    tables: Mapping[str, pd.DataFrame],
    settings: CompareSettings,
) -> Evidence | None:
    best = matching(tables["chosen"], dataset=dataset)
    if best.empty:
        return None
    head = head_of(best.iloc[0])
    rows = matching(summary, metric=settings.metric, dataset=dataset)
    return Evidence(
        curve=matching(rows, head),
        floor=matching(at_full_fraction(rows, settings.metric), Head(FLOOR)),
        gaps=matching(tables["differences"], head, dataset=dataset),
        chosen=best,
        classes=matching(tables["per_class"], head, dataset=dataset),
        tuned=matching(tables["finetuning"], dataset=dataset),
        settings=settings,
    )


def _of_dataset(evidence: Evidence) -> list[str]:
    head = head_of(evidence.chosen.iloc[0])
    stores = count(int(evidence.chosen["n_stores"].max()), "store")
    parts = [f"Head that stands for all stores: {head}, on {stores}."]
    for scheme in evidence.chosen["scheme"]:
        parts += ["", f"### {SCHEME_NAMES.get(scheme, quoted(scheme))}", ""]
        parts += _bullets(_of_scheme(evidence.of_scheme(scheme)))
    if gap_sentences := list(_split_gap(evidence)):
        parts += ["", "### What the split is worth", "", *_bullets(gap_sentences)]
    parts += ["", "### All stores", "", *_ranking(evidence), "", "### Warnings", ""]
    return [*parts, *_bullets(list(_warnings(evidence)) or ["None."])]


def _of_scheme(known: OfScheme) -> Iterator[str]:
    yield _winner(known)
    yield from _runner_up(known)
    yield from _handcrafted(known)
    yield from _floor(known)
    yield from _mapping(known)
    yield _saturation(known)
    yield from _fine_tuning(known)


def _winner(known: OfScheme) -> str:
    best, n = known.best, len(known.ranked)
    groups = "" if pd.isna(best["n_groups"]) else f", {count(int(best['n_groups']), 'group')}"
    tested = f"{count(int(best['n_scores']), 'test fold')}{groups}"
    text = f"{estimate(best, known.all.settings.confidence)} on {tested}"
    name = f"**{store_name(best)}**"
    if n == 1:
        return f"The only store, {name}, reaches {text}."
    return f"The best of {count(n, 'store')} is {name} with {text}."


def _runner_up(known: OfScheme) -> Iterator[str]:
    if len(known.ranked) < 2:
        return
    gaps = known.gaps("stores")
    of_best = _from(gaps, known.best, "first_")
    second = known.ranked.iloc[1]
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
    if len(known.ranked) > 2:
        yield (
            f"{level} of the {len(of_best)} other stores cannot be distinguished from the best."
            if level
            else f"The best is ahead of each of the {len(of_best)} other stores."
        )


def _handcrafted(known: OfScheme) -> Iterator[str]:
    found = matching(known.ranked, channels=FEATURES)
    if found.empty:
        yield "Hand-crafted features were not run, so what a network adds is not known."
        return
    if known.best["channels"] == FEATURES:
        yield "The best store is hand-crafted features: no network is needed for this score."
        return
    baseline, gaps = found.iloc[0], known.gaps("handcrafted")
    direct = _from(_from(gaps, known.best, "first_"), baseline, "second_")
    if direct.empty:
        yield f"Hand-crafted features ({store_name(baseline)}) reach {number(baseline['mean'])}."
        return
    row = direct.iloc[0]
    yield (
        f"Hand-crafted features ({store_name(baseline)}) reach {number(row['second_mean'])}; the "
        f"best store is ahead by {gap(row)}: {verdict(row, len(gaps))}."
    )


def _floor(known: OfScheme) -> Iterator[str]:
    gaps = known.gaps("floor")
    direct = _from(gaps, known.best, "first_")
    if not direct.empty:
        row = direct.iloc[0]
        ahead = "is ahead by" if row["difference"] >= 0 else "is behind by"
        yield (
            f"The floor, which uses only the training labels, reaches "
            f"{number(row['second_mean'])}; the best store {ahead} {gap(row)}: "
            f"{verdict(row, len(gaps))}."
        )
        return
    floor = matching(known.all.floor, scheme=known.scheme)["mean"].mean()
    yield (
        "The floor was not computed."
        if np.isnan(floor)
        else f"The floor, which uses only the training labels, reaches {number(floor)}."
    )


def _mapping(known: OfScheme) -> Iterator[str]:
    """Compare channels in their natural slots with each other strategy."""
    gaps = known.gaps("strategy")
    for strategy, rows in gaps.groupby("second_channels", sort=True):
        other = strategy_phrase(str(strategy))
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
        yield "Natural mapping was not run next to another strategy, so it is not compared."


def _saturation(known: OfScheme) -> str:
    best, rows = known.best, matching(known.all.curve, scheme=known.scheme)
    curve = _from(rows, best).sort_values("fraction")
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


def _fine_tuning(known: OfScheme) -> Iterator[str]:
    """Describe the gain of fine-tuning over the best frozen head, and from which fraction."""
    tuned = matching(known.all.tuned, scheme=known.scheme)
    for _, rows in tuned.groupby(TUNED_KEYS, sort=True):
        last = rows.sort_values("fraction").iloc[-1]
        name = store_name(last)
        labels = (
            "all training labels"
            if last["fraction"] == known.all.curve["fraction"].max()
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
    gaps = evidence.of_scheme("image").gaps("scheme")
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
    cells: dict[Store, dict[str, str]] = {}
    schemes = list(evidence.chosen["scheme"])
    for scheme in schemes:
        for row in evidence.of_scheme(scheme).ranked.to_dict("records"):
            store = Store(row["backbone"], row["channels"])
            cells.setdefault(store, {})[scheme] = _cell(row)
    header = " | ".join(["store", *(f"by {s}" for s in schemes)])
    lines = [f"| {header} |", "|---" * (len(schemes) + 1) + "|"]
    for store, found in cells.items():
        label = quoted(store).replace("|", "\\|")
        lines.append(f"| {label} | {' | '.join(found.get(s, '-') for s in schemes)} |")
    return lines


def _cell(row: Any) -> str:
    if np.isnan(row["ci_low"]):
        return number(row["mean"])
    return f"{number(row['mean'])} ({number(row['ci_low'])} to {number(row['ci_high'])})"


def _warnings(evidence: Evidence) -> Iterator[str]:
    metric = METRIC_NAMES[evidence.settings.metric]
    for scheme in evidence.chosen["scheme"]:
        known = evidence.of_scheme(scheme)
        best = known.best
        where = f"By {scheme}, {store_name(best)}"
        if best["mean"] >= SUSPICIOUS:
            yield (
                f"{where} reaches a {metric} of {number(best['mean'])}, which is suspiciously "
                "high: check the groups, and that no label is visible in the images."
            )
        if best["ci_high"] - best["ci_low"] > WIDE:
            yield (
                f"{where}: the interval is {number(best['ci_high'] - best['ci_low'])} wide; more "
                "groups are needed for a firm answer."
            )
        if best["n_groups"] is not pd.NA and best["n_groups"] < FEW_GROUPS:
            yield f"{where}: intervals rest on {count(int(best['n_groups']), 'group')} only."
        below = _from(known.gaps("floor"), best, "first_")
        if len(below) and not (below.iloc[0]["ci_low"] > 0):
            yield f"{where} is not shown to be better than the floor: do not rely on it."
        rows = _from(matching(evidence.classes, scheme=scheme), best)
        never = rows[(rows["n_predicted"] == 0) & (rows["n_positive"] > 0)]["class"]
        if len(never):
            yield f"{where} never predicts {', '.join(map(quoted, never))}."


def _from(rows: pd.DataFrame, store: Any, side: str = "") -> pd.DataFrame:
    """Return the rows whose first, second or only side is a store."""
    return matching(rows, **{f"{side}{key}": store[key] for key in ("backbone", "channels")})
