"""The comparison in sentences: what is best, by how much, and whether that is significant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from transferscope.compare.finetuning import KEYS as TUNED_KEYS
from transferscope.compare.finetuning import best_frozen
from transferscope.compare.leakage import training_notes
from transferscope.compare.number_format import number_format_notes
from transferscope.compare.plateau import SATURATED
from transferscope.compare.selection import CHOSEN_BY, at_full_fraction, choose
from transferscope.compare.tables import Head, Store, head_of, matching
from transferscope.compare.uncertainty import POWER
from transferscope.compare.wording import (
    METRIC_NAMES,
    SCHEME_NAMES,
    about,
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
    times,
    verdict,
)
from transferscope.config.channel_strategies import FEATURES, MAP_RANDOM, family_of
from transferscope.config.jobs import Comparison
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import FLOOR, FLOOR_METRICS

SUSPICIOUS = 0.98
RANDOM_ORDERS = (
    "`map-random` stands for all random orders of the channels that were run: its scores are "
    "averages over them, and its intervals include the variance between them."
)
ONE_ORDER = (
    "`map-random` is one random order of the channels: another order may score differently, which "
    "its interval does not include."
)
# Groups of a class per test fold, below which a score depends on single groups.
FEW_GROUPS_PER_FOLD = 5
ENOUGH_REPEATS = 3
CLASSES_NAMED = 4
PAIRS_NAMED = 3
ABOVE_FLOOR = {
    "better": "shown",
    "worse": "no: shown to be below it",
    "equal": "no: practically equal",
    "undecided": "undecided",
}
FEW_DATASETS = 5


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
    leaders
        Leaderboard with the chosen head.
    chosen
        The best store of each scheme.
    classes
        Scores per class.
    tuned
        Gains of fine-tuning.
    settings
        Metric and coverage.
    controls
        Representations of networks with random weights.
    """

    curve: pd.DataFrame
    floor: pd.DataFrame
    gaps: pd.DataFrame
    leaders: pd.DataFrame
    chosen: pd.DataFrame
    classes: pd.DataFrame
    tuned: pd.DataFrame
    settings: CompareSettings
    controls: Sequence[str]

    def of_scheme(self, scheme: str) -> OfScheme:
        """Return the results of one split scheme."""
        rows = self.curve[self.curve["fraction"] == self.curve["fraction"].max()]
        # Stores that could be tested on some folds only come last: their means are of those folds.
        keys = ["n_folds", "mean", "backbone", "channels"]
        ranked = matching(rows, scheme=scheme).sort_values(
            keys, ascending=[False, False, True, True]
        )
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
    def is_secondary(self) -> bool:
        """Whether the split by group, which is the estimate for new groups, says more."""
        return self.scheme != "group" and "group" in set(self.all.chosen["scheme"])

    @property
    def best(self) -> Any:
        """The row of the best store."""
        return self.ranked.iloc[0]

    def gaps(self, kind: str) -> pd.DataFrame:
        """Return the differences of one kind."""
        return matching(self.all.gaps, kind=kind, scheme=self.scheme)

    @property
    def leaders(self) -> pd.DataFrame:
        """The leaderboard."""
        return matching(self.all.leaders, scheme=self.scheme)

    @property
    def chosen(self) -> Any:
        """What was chosen in this scheme."""
        return matching(self.all.chosen, scheme=self.scheme).iloc[0]

    def verdict(self, row: Any) -> str:
        """Say what is shown of a difference."""
        return verdict(row, self.all.settings.margin)

    def change(self, row: Any) -> str:
        """Say what is shown of a difference that has no better side."""
        return self.verdict(row).replace("shown to be better", "shown to be higher")

    def rival(self, row: Any) -> str:
        """Say what is shown of the highest store minus another one."""
        best = self.leaders[self.leaders["may_be_best"].astype(bool)]
        if len(best) == 1 and len(_from(best, self.best)) and row["verdict"] == "undecided":
            # Comparisons with the best show more than those of all pairs.
            return "the other is not better"
        return self.verdict(row)


def describe(
    summary: pd.DataFrame, tables: Mapping[str, pd.DataFrame], settings: CompareSettings
) -> str:
    """Write the comparison as Markdown.

    Parameters
    ----------
    summary
        From `summarise`.
    tables
        `scores`, `differences`, `leaderboard`, `chosen`, `per_class`, `finetuning` and
        `number_format`, as `compare` writes them.
    settings
        Metric, coverage and draws.
    """
    read = _how_to_read(settings, tables["chosen"])
    orders = tables["scores"]["channels"].astype("str")
    if n_orders := orders[orders.map(family_of) == MAP_RANDOM].nunique():
        read += ["", RANDOM_ORDERS if n_orders > 1 else ONE_ORDER]
    found = {
        dataset: _evidence(dataset, summary, tables, settings)
        for dataset in sorted(summary["dataset"].unique())
    }
    parts = ["# What the comparison shows", *_in_short([each for each in found.values() if each])]
    parts += ["", "## How to read it", "", *read]
    for dataset, evidence in found.items():
        parts += ["", f"## {quoted(dataset)}", ""]
        if evidence is None:
            parts += ["Only the floor was run here: there is nothing to compare."]
            continue
        parts += _of_dataset(evidence)
        if notes := training_notes(summary, dataset, settings):
            parts += ["", "### What backbones have seen", "", *_bullets(notes)]
    if across := list(_across_datasets(tables["across_datasets"], summary, settings)):
        parts += ["", "## Over all datasets", "", *_bullets(across)]
    if notes := number_format_notes(tables["number_format"]):
        parts += ["", "## What the number format does", "", *_bullets(notes)]
    return "\n".join(parts) + "\n"


def _in_short(found: Sequence[Evidence]) -> list[str]:
    """Return one line per dataset and split scheme."""
    lines = []
    for evidence in found:
        for scheme in evidence.chosen["scheme"]:
            known = evidence.of_scheme(scheme)
            leading = known.leaders[known.leaders["may_be_best"].astype(bool)]
            floor = _from(known.gaps("floor"), known.best, "first_")
            above = "not compared" if floor.empty else ABOVE_FLOOR[floor.iloc[0]["verdict"]]
            name = str(known.best["dataset"]).replace("|", "\\|")
            store = store_name(known.best).replace("|", "\\|")
            alone = len(leading) == 1 and len(_from(leading, known.best))
            leaders = "only it" if alone else f"{len(leading)} of {len(known.leaders)} stores"
            if known.leaders.empty:
                leaders = "not assessed"
            lines.append(
                f"| {quoted(name)} | {scheme} | {store}, {number(known.best['mean'])} "
                f"| {leaders} | {above} |"
            )
    if not lines:
        return []
    header = "| dataset | split by | highest store | may be the best | above the floor |"
    meaning = [
        "*Highest* is a score, *may be the best* a verdict: what is not among these stores is "
        "ruled out. *Above the floor*: better than an answer that uses labels and no image."
    ]
    if {"group", "image"} <= {s for evidence in found for s in evidence.chosen["scheme"]}:
        meaning += [
            "The split by group is the estimate for groups that were never seen; the split by "
            "image is optimistic, because each group is on both sides."
        ]
    table = ["## In short", "", header, "|---|---|---|---|---|", *lines]
    return ["", *table, "", " ".join(meaning)]


def _across_datasets(
    pairs: pd.DataFrame, summary: pd.DataFrame, settings: CompareSettings
) -> Iterator[str]:
    """Say which differences hold on average over datasets, by the head that all have."""
    together = choose(summary.assign(dataset=""), settings.metric)
    if (by_group := matching(together, scheme="group")).size:
        together = by_group
    for _, chosen in together.iterrows():
        rows = matching(pairs, head_of(chosen), scheme=chosen["scheme"])
        if rows.empty:
            continue
        shown = rows[rows["ci_low"] > 0].sort_values("difference", ascending=False)
        n_datasets = " or ".join(str(n) for n in sorted(rows["n_datasets"].unique()))
        yield (
            f"By {chosen['scheme']}, with {head_of(chosen)}: of {len(rows)} pairs of stores that "
            f"{n_datasets} datasets have, the interval of the mean difference is above zero for "
            f"{len(shown)}. Each pair is tested alone, so that about one of twenty is by chance; "
            f"fewer than {FEW_DATASETS} datasets find little."
        )
        for row in shown.head(PAIRS_NAMED).to_dict("records"):
            first, second = (
                quoted(Store(row[f"{side}_backbone"], row[f"{side}_channels"]))
                for side in ("first", "second")
            )
            new = (
                ""
                if np.isnan(row["new_low"])
                else f"; on a new dataset {signed(row['new_low'])} to {signed(row['new_high'])}"
            )
            named = count(int(row["n_datasets"]), "dataset")
            yield f"{first} minus {second}, {named}: {gap(row)}{new}."


def _bullets(sentences: Iterable[str]) -> list[str]:
    return [f"* {sentence}" for sentence in sentences]


def _how_to_read(settings: CompareSettings, chosen: pd.DataFrame) -> list[str]:
    metric, level = METRIC_NAMES[settings.metric], percent(settings.confidence)
    halved = chosen["n_half_pairs"] > 0
    bound = "a bound that held in simulations"
    origin = "how scores change between disjoint halves of the groups, with heads of their own"
    if not halved.any():
        origin = f"{bound}, because no head was trained in halves of the groups"
    elif not halved.all():
        few = ", ".join(map(quoted, sorted(set(chosen.loc[~halved, "dataset"]))))
        origin += f"; for {few}, whose groups were not halved, from {bound}"
    return [
        f"Scores are {metric} of all test folds, means over repeats, with all training labels "
        f"unless a fraction is named. {level} intervals hold for other groups like these, in "
        f"training and testing: they come from {settings.bootstrap:,} draws of test groups and "
        f"from {origin}.",
        "",
        "*Shown*: where there is nothing to find, a finding of its kind, in one dataset and split, "
        f"comes up in at most {percent(round(1 - settings.confidence, 6))} of studies. "
        "*Undecided*: not shown, which does not mean equal. *Practically equal*: a difference of "
        f"{settings.margin:g} or more is ruled out, for each pair by itself. *May be the best*: "
        f"in {level} of studies, the stores so named include a best one. A store is "
        "a backbone with a channel strategy. Intervals of differences are of one difference each, "
        "so that one above zero may be undecided after the correction. *Letters* in tables of "
        "stores: stores that share one in a column are not shown to differ. Intervals in these "
        "tables are of one store each; that next to the name of the highest store is wider, "
        "because it also holds for the highest of many.",
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
        leaders=matching(tables["leaderboard"], head, dataset=dataset),
        chosen=best,
        classes=matching(tables["per_class"], head, dataset=dataset),
        tuned=matching(tables["finetuning"], dataset=dataset),
        settings=settings,
        controls=settings.controls if isinstance(settings, Comparison) else [],
    )


def _of_dataset(evidence: Evidence) -> list[str]:
    head = head_of(evidence.chosen.iloc[0])
    stores = count(int(evidence.chosen["n_stores"].max()), "store")
    rule = CHOSEN_BY[evidence.chosen.iloc[0]["chosen_by"]]
    parts = [
        f"One head stands for all stores: {head}, on {stores}. Of the heads run on the most "
        f"stores, it has the highest mean score on {rule}."
    ]
    for scheme in evidence.chosen["scheme"]:
        parts += ["", f"### {SCHEME_NAMES.get(scheme, quoted(scheme))}", ""]
        parts += _bullets(_of_scheme(evidence.of_scheme(scheme)))
    if gap_sentences := list(_split_gap(evidence)):
        parts += ["", "### What the split is worth", "", *_bullets(gap_sentences)]
    parts += ["", "### All stores", "", *_ranking(evidence), "", "### Warnings", ""]
    return [*parts, *_bullets(list(_warnings(evidence)) or ["None."])]


def _of_scheme(known: OfScheme) -> Iterator[str]:
    yield _winner(known)
    yield from _may_be_best(known)
    yield from _runner_up(known)
    if known.is_secondary:
        return
    yield from _handcrafted(known)
    yield from _floor(known)
    yield from _mapping(known)
    yield _saturation(known)
    yield from _fine_tuning(known)
    yield from _power(known)


def _winner(known: OfScheme) -> str:
    best, n = known.best, len(known.ranked)
    groups = "" if pd.isna(best["n_groups"]) else f", {count(int(best['n_groups']), 'group')}"
    tested = f"{count(int(best['n_folds']), 'test fold')}{groups}"
    name = f"**{store_name(best)}**"
    if n == 1:
        text = f"{estimate(best, known.all.settings.confidence)} on {tested}"
        return f"The only store, {name}, reaches {text}."
    # An interval that holds although this store was chosen for its score.
    leader = _from(known.leaders, best)
    row = best if leader.empty else leader.iloc[0]
    text = f"{estimate(row, known.all.settings.confidence)} on {tested}"
    return f"The highest of {count(n, 'store')} is {name} with {text}."


def _may_be_best(known: OfScheme) -> Iterator[str]:
    leaders = known.leaders
    if len(leaders) < 2:
        return
    candidates = leaders[leaders["may_be_best"].astype(bool)]
    others = len(leaders) - len(candidates)
    if not others:
        yield f"Each of the {len(leaders)} stores may be the best: none is ruled out."
        return
    if len(candidates) == 1 and len(_from(candidates, known.best)):
        ruled = "The other store is" if others == 1 else f"All other {others} stores are"
        yield f"Only it may be the best. {ruled} ruled out."
        return
    names = ", ".join(store_name(row) for row in candidates.to_dict("records"))
    yield (
        f"{len(candidates)} of {count(len(leaders), 'store')} may be the best: {names}. The "
        f"other {'is' if others == 1 else f'{others} are'} ruled out."
    )


def _runner_up(known: OfScheme) -> Iterator[str]:
    if len(known.ranked) < 2:
        return
    second = known.ranked.iloc[1]
    direct = _from(_from(known.gaps("stores"), known.best, "first_"), second, "second_")
    if direct.empty:
        yield f"The runner-up is {store_name(second)} with {number(second['mean'])}."
        return
    row = direct.iloc[0]
    yield (
        f"The runner-up is {store_name(second)}; the highest is ahead by {gap(row)}, in "
        f"{row['folds_won']:g} of {count(int(row['n_folds']), 'fold')}: {known.rival(row)}."
    )


def _handcrafted(known: OfScheme) -> Iterator[str]:
    found = matching(known.ranked, channels=FEATURES)
    if found.empty:
        yield "Hand-crafted features were not run, so what a network adds is not known."
        return
    if known.best["channels"] == FEATURES:
        better = known.gaps("handcrafted").query("verdict == 'better'")
        shown = ", ".join(
            quoted(Store(row["first_backbone"], row["first_channels"]))
            for row in better.to_dict("records")
        )
        yield (
            "Hand-crafted features have the highest score on all folds; shown to be better than "
            f"they on fewer folds: {shown}."
            if shown
            else "The highest store is hand-crafted features: no network is shown to be better."
        )
        return
    baseline, gaps = found.iloc[0], known.gaps("handcrafted")
    direct = _from(_from(gaps, known.best, "first_"), baseline, "second_")
    if direct.empty:
        yield f"Hand-crafted features ({store_name(baseline)}) reach {number(baseline['mean'])}."
        return
    row = direct.iloc[0]
    yield (
        f"Hand-crafted features ({store_name(baseline)}) reach {number(row['second_mean'])}; the "
        f"highest store is ahead by {gap(row)}: {known.rival(row)}."
    )


def _floor(known: OfScheme) -> Iterator[str]:
    if known.all.settings.metric not in FLOOR_METRICS:
        yield "The floor is an answer for macro F1, so that it is not compared by this metric."
        return
    gaps = known.gaps("floor")
    direct = _from(gaps, known.best, "first_")
    if not direct.empty and np.isfinite(direct.iloc[0]["difference"]):
        row = direct.iloc[0]
        yield (
            f"The floor, which uses only the training labels, reaches "
            f"{number(row['second_mean'])}; the highest store minus the floor is {gap(row)}: "
            f"{known.verdict(row)}."
        )
        return
    floor = matching(known.all.floor, scheme=known.scheme)["mean"].mean()
    yield (
        "The floor was not computed."
        if np.isnan(floor)
        else f"The floor, which uses only the training labels, reaches {number(floor)}."
    )


def _mapping(known: OfScheme) -> Iterator[str]:
    """Compare channels in their natural slots with each other strategy.

    Networks with random weights have no natural slots: they are no evidence for or against one.
    """
    gaps, controls = known.gaps("strategy"), known.all.controls
    if (is_control := gaps["first_backbone"].isin(controls)).any():
        gaps = gaps[~is_control]
        if gaps.empty:
            yield "Natural mapping was compared on networks with random weights only: controls."
            return
    for strategy, rows in gaps.groupby("second_channels", sort=True):
        other = strategy_phrase(str(strategy))
        if len(rows) == 1:
            row = rows.iloc[0]
            yield (
                f"Natural mapping minus {other} ({quoted(strategy)}), for "
                f"{quoted(row['first_backbone'])}: {gap(row)}; {known.verdict(row)}."
            )
            continue
        found = rows["verdict"].value_counts()
        named = {"equal": "practically equal", "undecided": "undecided"}
        verdicts = [
            f"{named.get(each, f'shown to be {each}')} for {found[each]}"
            for each in ("better", "worse", "equal", "undecided")
            if each in found
        ]
        yield (
            f"Natural mapping against {other} ({quoted(strategy)}), over {len(rows)} backbones: "
            f"{', '.join(verdicts)}; the smallest difference is "
            f"{signed(rows['difference'].min())}, the largest {signed(rows['difference'].max())}."
        )
    if gaps.empty:
        yield "Natural mapping was not run next to another strategy, so it is not compared."


def _saturation(known: OfScheme) -> str:
    best, rows = known.best, matching(known.all.curve, scheme=known.scheme)
    curve = _from(rows, best).sort_values("fraction")
    if len(curve) < 2:
        return "One fraction was run, so how many labels are needed is not known."
    if best["mean"] <= 0:
        return "The best score is zero, so how many labels are needed cannot be said."
    share, first = percent(SATURATED), known.chosen["enough_from"]
    row = curve[curve["fraction"] == first]
    if row.empty:
        groups = count(round(curve.iloc[-1]["n_train_groups"]), "training group")
        return (
            f"No smaller fraction of the {groups} is shown to give {share} of the highest store's "
            "full score; whether more labels help is open."
        )
    groups = count(round(row.iloc[0]["n_train_groups"]), "training group")
    return (
        f"From {percent(first)} of the training groups on ({groups}) the highest store is shown to "
        f"reach at least {share} of its full score (here {number(row.iloc[0]['mean'])})."
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
            "From no fraction on is the difference shown to be above zero, after correction for "
            "stores and modes, so that it is not shown to be worth it."
        )
    groups = rows.loc[rows["fraction"] == first, "n_train_groups"].iloc[0]
    return (
        f"It is worth it from {percent(first)} of the training groups on "
        f"({count(round(groups), 'training group')}): from there the difference is shown to be "
        "above zero, after correction for stores and modes."
    )


def _power(known: OfScheme) -> Iterator[str]:
    """Say which differences between stores this study can show."""
    gaps = known.gaps("stores").dropna(subset=["detectable"])
    gaps = gaps[gaps["detectable"] > 0]
    if gaps.empty:
        return
    typical = gaps.sort_values("detectable").iloc[len(gaps) // 2]
    yield (
        f"A difference of {number(typical['detectable'])} between two typical stores would be "
        f"shown, after correction, by {percent(POWER)} of studies like this one "
        f"({count(int(typical['n_groups']), 'group')}); one of .05 needs about "
        f"{about(typical['groups_for_05'])} groups, one of .02 about "
        f"{about(typical['groups_for_02'])}."
    )


def _split_gap(evidence: Evidence) -> Iterator[str]:
    known = evidence.of_scheme("image")
    gaps = known.gaps("scheme")
    if gaps.empty:
        return
    best = {row["scheme"]: row for _, row in evidence.chosen.iterrows()}
    row = _from(gaps, best["group"], "first_")
    if not row.empty:
        yield (
            f"The highest store by group, {store_name(best['group'])}, changes by "
            f"{gap(row.iloc[0])} when split by image: {known.change(row.iloc[0])}."
        )
    if len(gaps) > 1:
        yield (
            f"Over all {len(gaps)} stores the gap is {signed(gaps['difference'].mean())} on "
            f"average; the smallest is {signed(gaps['difference'].min())}, the largest "
            f"{signed(gaps['difference'].max())}."
        )
        same = all(best["group"][k] == best["image"][k] for k in ("backbone", "channels"))
        yield (
            "The same store is highest in both splits."
            if same
            else (
                f"Different stores are highest: {store_name(best['group'])} by group, "
                f"{store_name(best['image'])} by image."
            )
        )
    lower = gaps[gaps["verdict"] == "worse"]
    if len(lower):
        yield (
            f"Lower by image than by group, as is shown for {count(len(lower), 'store')}, cannot "
            "come from leakage: look for fields that differ within groups."
        )


def _ranking(evidence: Evidence) -> list[str]:
    cells: dict[Store, dict[str, str]] = {}
    schemes = list(evidence.chosen["scheme"])
    for scheme in schemes:
        for row in evidence.of_scheme(scheme).ranked.to_dict("records"):
            store = Store(row["backbone"], row["channels"])
            leader = _from(evidence.of_scheme(scheme).leaders, row)
            named = "" if leader.empty else f" {leader.iloc[0]['letters']}"
            cells.setdefault(store, {})[scheme] = f"{_cell(row)}{named}"
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
    if (n_repeats := int(evidence.chosen["n_repeats"].min())) < ENOUGH_REPEATS:
        yield (
            f"The splits were made {times(n_repeats)}; made {times(ENOUGH_REPEATS)} "
            "(`splits.seeds: [0, 1, 2]`), they find smaller differences."
        )
    for scheme in evidence.chosen["scheme"]:
        known = evidence.of_scheme(scheme)
        best = known.best
        where = f"By {scheme}, {store_name(best)}"
        if best["mean"] >= SUSPICIOUS:
            yield (
                f"{where} reaches a {metric} of {number(best['mean'])}, which is suspiciously "
                "high: check the groups, and that no label is visible in the images."
            )
        if not known.is_secondary:
            yield from _few_groups(known)
        below = _from(known.gaps("floor"), best, "first_")
        if len(below) and below.iloc[0]["verdict"] != "better":
            yield f"{where} is not shown to be better than the floor: do not rely on it."
        rows = _from(matching(evidence.classes, scheme=scheme), best)
        never = rows[(rows["n_predicted"] == 0) & (rows["n_positive"] > 0)]["class"]
        if len(never):
            yield f"{where} never predicts {', '.join(map(quoted, never))}."


def _few_groups(known: OfScheme) -> Iterator[str]:
    """Name the classes whose scores depend on single groups."""
    rows = _from(matching(known.all.classes, scheme=known.scheme), known.best)
    n_folds = max(known.best["n_folds"] / known.chosen["n_repeats"], 1)
    few = rows[rows["n_positive_groups"] < FEW_GROUPS_PER_FOLD * n_folds]
    if len(few):
        named = [
            f"{quoted(row['class'])} {int(row['n_positive_groups'])}"
            for row in few.sort_values("n_positive_groups").head(CLASSES_NAMED).to_dict("records")
        ]
        yield (
            f"By {known.scheme}, {count(len(few), 'class')} of {len(rows)} have fewer than "
            f"{FEW_GROUPS_PER_FOLD} groups per test fold, so that single groups decide "
            f"(in all folds: {', '.join(named)}{' ...' if len(few) > len(named) else ''})."
        )


def _from(rows: pd.DataFrame, store: Any, side: str = "", prefix: str = "") -> pd.DataFrame:
    """Return the rows whose first, second or only side is a store, or that side of a row."""
    keys = ("backbone", "channels")
    return matching(rows, **{f"{side}{key}": store[f"{prefix}{key}"] for key in keys})
