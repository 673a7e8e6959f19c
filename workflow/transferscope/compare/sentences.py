"""The comparison in sentences: what is best, by how much, and whether that is significant."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from transferscope.compare.evidence import Evidence, OfScheme, of_store
from transferscope.compare.finetuning import KEYS as TUNED_KEYS
from transferscope.compare.finetuning import best_frozen
from transferscope.compare.plateau import SATURATED
from transferscope.compare.selection import choose
from transferscope.compare.tables import Head, Store, head_of, matching
from transferscope.compare.uncertainty import POWER
from transferscope.compare.wording import (
    METRIC_NAMES,
    about,
    capitalised,
    count,
    estimate,
    gap,
    number,
    operations,
    percent,
    quoted,
    scheme_name,
    signed,
    store_name,
    strategy_phrase,
    times,
)
from transferscope.config.channel_strategies import FEATURES, GIVEN
from transferscope.config.probed import correction_of, uncorrected
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import FLOOR_METRICS

SUSPICIOUS = 0.98
# Groups of a class per test fold, below which a score depends on single groups.
FEW_GROUPS_PER_FOLD = 5
ENOUGH_REPEATS = 3
CLASSES_NAMED = 4
PAIRS_NAMED = 3
FEW_DATASETS = 5

ONE_IMAGE = (
    "Each group has one image, so that the split by image is one by group, too: that their scores "
    "differ says nothing."
)


def across_datasets(
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
            f"By {scheme_name(chosen['scheme'])}, with {head_of(chosen)}: of {len(rows)} pairs of "
            f"stores that {n_datasets} datasets have, the interval of the mean difference is above "
            f"zero for {len(shown)}. Each pair is tested alone: of pairs that do not differ, about "
            f"one of twenty is found; fewer than {FEW_DATASETS} datasets find little."
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


def winner(known: OfScheme) -> str:
    """Name the highest store, with its score."""
    best, n = known.best, len(known.ranked)
    groups = "" if pd.isna(best["n_groups"]) else f", {count(int(best['n_groups']), 'group')}"
    tested = f"{count(int(best['n_folds']), 'test fold')}{groups}"
    name = f"**{store_name(best)}**"
    if n == 1:
        text = f"{estimate(best, known.all.settings.confidence)} on {tested}"
        return f"The only store, {name}, reaches {text}."
    # An interval that holds although this store was chosen for its score.
    leader = of_store(known.leaders, best)
    row = best if leader.empty else leader.iloc[0]
    text = f"{estimate(row, known.all.settings.confidence)} on {tested}"
    return f"The highest of {count(n, 'store')} is {name} with {text}."


def may_be_best(known: OfScheme, n_named: int | None = None) -> Iterator[str]:
    """Say which stores may be the best; of many, the first `n_named` are named."""
    leaders = known.leaders
    if len(leaders) < 2:
        return
    candidates = known.candidates
    others = len(leaders) - len(candidates)
    if not others:
        yield f"Each of the {len(leaders)} stores may be the best: none is ruled out."
        return
    if known.leads_alone:
        ruled = "The other store is" if others == 1 else f"All other {others} stores are"
        yield f"Only it may be the best. {ruled} ruled out."
        return
    named = [store_name(row) for row in candidates.to_dict("records")]
    if n_named is not None and len(named) > n_named + 1:
        named = [*named[:n_named], f"and {len(named) - n_named} more"]
    names = ", ".join(named)
    yield (
        f"{len(candidates)} of {count(len(leaders), 'store')} may be the best: {names}. The "
        f"other {'is' if others == 1 else f'{others} are'} ruled out."
    )


def runner_up(known: OfScheme) -> Iterator[str]:
    """Compare the highest store with the next."""
    if len(known.ranked) < 2:
        return
    second = known.ranked.iloc[1]
    direct = of_store(of_store(known.gaps("stores"), known.best, "first_"), second, "second_")
    if direct.empty:
        yield f"The runner-up is {store_name(second)} with {number(second['mean'])}."
        return
    row = direct.iloc[0]
    yield (
        f"The runner-up is {store_name(second)}; the highest is ahead by {gap(row)}, in "
        f"{row['folds_won']:g} of {count(int(row['n_folds']), 'fold')}: {known.rival(row)}."
    )


def handcrafted(known: OfScheme) -> Iterator[str]:
    """Compare the highest store with hand-crafted features."""
    found = matching(known.ranked, channels=FEATURES)
    found = found[~found["backbone"].isin(known.all.nuisances)]
    if found.empty and (known.ranked["channels"] == GIVEN).all():
        return  # without images there are none
    if found.empty:
        yield "Hand-crafted features were not run, so what a network adds is not known."
        return
    if known.best["backbone"] in set(found["backbone"]):
        yield _shown_better_than_handcrafted(known)
        return
    yield f"Hand-crafted features {_behind(known, found.iloc[0])}."


def _shown_better_than_handcrafted(known: OfScheme) -> str:
    better = known.gaps("handcrafted").query("verdict == 'better'")
    better = better[~better["second_backbone"].isin(known.all.nuisances)]
    shown = ", ".join(
        quoted(Store(row["first_backbone"], row["first_channels"]))
        for row in better.to_dict("records")
    )
    return (
        "Hand-crafted features have the highest score on all folds; shown to be better than "
        f"they on fewer folds: {shown}."
        if shown
        else "The highest store is hand-crafted features: no network is shown to be better."
    )


def nuisances(known: OfScheme) -> Iterator[str]:
    """Say how far one gets without looking at any pattern."""
    found = known.ranked[known.ranked["backbone"].isin(known.all.nuisances)]
    if found.empty:
        return
    what = "Numbers of cells and quality of images"
    if known.best["backbone"] in known.all.nuisances:
        yield (
            f"The highest store, {store_name(known.best)}, knows but numbers of cells and quality "
            "of images: no store is shown to see more in them."
        )
        return
    yield f"{what} alone {_behind(known, found.iloc[0])}."


def _behind(known: OfScheme, baseline: pd.Series) -> str:
    """Say what a baseline reaches, and by how much the highest store is ahead."""
    # Hand-crafted features are compared with one another as any two stores are.
    gaps = pd.concat([known.gaps("handcrafted"), known.gaps("stores")])
    direct = of_store(of_store(gaps, known.best, "first_"), baseline, "second_")
    if direct.empty:
        return f"({store_name(baseline)}) reach {number(baseline['mean'])}"
    row = direct.iloc[0]
    return (
        f"({store_name(baseline)}) reach {number(row['second_mean'])}; the highest store is ahead "
        f"by {gap(row)}: {known.rival(row)}"
    )


def floor(known: OfScheme) -> Iterator[str]:
    """Compare the highest store with the floor."""
    if known.all.settings.metric not in FLOOR_METRICS:
        yield "The floor is an answer for macro F1, so that it is not compared by this metric."
        return
    gaps = known.gaps("floor")
    direct = of_store(gaps, known.best, "first_")
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


def mapping(known: OfScheme) -> Iterator[str]:
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
        yield (
            f"Natural mapping against {other} ({quoted(strategy)}), over {len(rows)} backbones: "
            f"{_verdicts(rows['verdict'])}; the smallest difference is "
            f"{signed(rows['difference'].min())}, the largest {signed(rows['difference'].max())}."
        )
    if gaps.empty:
        yield "Natural mapping was not run next to another strategy, so it is not compared."


def mapping_in_short(known: OfScheme) -> Iterator[str]:
    """Say what is shown of natural mapping against each other strategy."""
    gaps = known.gaps("strategy")
    gaps = gaps[~gaps["first_backbone"].isin(known.all.controls)]
    if len(names := sorted(set(gaps["first_backbone"]))):
        found = [
            f"{_in_short(rows)} against {quoted(strategy)}"
            for strategy, rows in gaps.groupby("second_channels", sort=True)
        ]
        whose = quoted(names[0]) if len(names) == 1 else f"{len(names)} backbones"
        yield f"Channels in their natural slots (`map`), for {whose}: {'; '.join(found)}."


def _in_short(rows: pd.DataFrame) -> str:
    first = rows.iloc[0]
    difference = f"{signed(first['difference'])}, " * (len(rows) == 1)
    return f"{difference}{_verdicts(rows['verdict'])}"


def _verdicts(found: pd.Series) -> str:
    """Return a verdict, or each with the number of backbones if there are several."""
    named = {"equal": "practically equal", "undecided": "undecided"}
    counted = found.value_counts()
    return ", ".join(
        named.get(each, f"shown to be {each}") + f" for {counted[each]}" * (len(found) > 1)
        for each in ("better", "worse", "equal", "undecided")
        if each in counted
    )


def corrections(known: OfScheme) -> Iterator[str]:
    """Compare stores that are corrected for batches with the same without."""
    gaps = known.gaps("correction")
    for method, rows in gaps.groupby(gaps["first_backbone"].map(correction_of), sort=True):
        of_what = quoted(uncorrected(rows.iloc[0]["first_backbone"]))
        if len(rows) == 1:
            row = rows.iloc[0]
            found = f"of {of_what}: {gap(row)}; {known.verdict(row)}"
        else:
            found = (
                f"over {len(rows)} stores: {_verdicts(rows['verdict'])}; the smallest difference "
                f"is {signed(rows['difference'].min())}, the largest "
                f"{signed(rows['difference'].max())}"
            )
        yield f"Correction for batches by {quoted(f'+{method}')} minus none, {found}."


def corrections_saw(evidence: Evidence) -> Iterator[str]:
    """Say what corrections saw of test rows."""
    found = map(correction_of, evidence.curve["backbone"].unique())
    methods = sorted({method for method in found if method is not None})
    if methods:
        named = ", ".join(quoted(f"+{method}") for method in methods)
        yield (
            f"Corrected stores ({named}) saw the batch of every tile and the negative controls, "
            "test rows included, and no label: scores hold for data that is corrected together."
        )


def saturation(known: OfScheme) -> str:
    """Say from which fraction of the labels on the highest store is as good as with all."""
    best, rows = known.best, matching(known.all.curve, scheme=known.scheme)
    curve = of_store(rows, best).sort_values("fraction")
    if len(curve) < 2:
        return "One fraction was run, so how many labels are needed is not known."
    if best["mean"] <= 0:
        return "The best score is zero, so how many labels are needed cannot be said."
    share, first = percent(SATURATED), known.chosen["enough_from"]
    row = curve[curve["fraction"] == first]
    if row.empty:
        groups = count(round(curve.iloc[-1]["n_train_groups"]), "training group")
        return (
            f"None of the smaller fractions ({', '.join(map(percent, curve['fraction'][:-1]))} of "
            f"{groups}) is shown to give {share} of the highest store's full score; whether more "
            "labels help is open."
        )
    groups = count(round(row.iloc[0]["n_train_groups"]), "training group")
    return (
        f"From {percent(first)} of the training groups on ({groups}) the highest store is shown to "
        f"reach at least {share} of its full score (here {number(row.iloc[0]['mean'])})."
    )


def fine_tuning(known: OfScheme) -> Iterator[str]:
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


def fine_tuning_in_short(known: OfScheme) -> Iterator[str]:
    """Say where fine-tuning is worth it."""
    tuned = matching(known.all.tuned, scheme=known.scheme)
    worth = [
        f"{Head(rows.iloc[0]['head'])} of {store_name(rows.iloc[0])} from "
        f"{percent(rows.iloc[0]['worth_from'])} of the training groups on"
        for _, rows in tuned.groupby(TUNED_KEYS, sort=True)
        if not np.isnan(rows.iloc[0]["worth_from"])
    ]
    if worth:
        yield f"Fine-tuning is shown to be worth it: {'; '.join(worth)}."
    elif len(tuned):
        yield "Fine-tuning is not shown to be worth it from any fraction of the training groups on."


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


def power(known: OfScheme) -> Iterator[str]:
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


def gap_of_the_highest(evidence: Evidence) -> Iterator[str]:
    """Say by how much the highest store by group changes when split by image."""
    known = evidence.of_scheme("image")
    gaps = known.gaps("scheme")
    if gaps.empty or known.is_repetition:
        return
    best = matching(evidence.chosen, scheme="group").iloc[0]
    row = of_store(gaps, best, "first_")
    if not row.empty:
        yield (
            f"The highest store by group, {store_name(best)}, changes by {gap(row.iloc[0])} when "
            f"split by image: {known.change(row.iloc[0])}."
        )


def cheapest(known: OfScheme) -> Iterator[str]:
    """Name the store of least computation that is shown to be as good as the best."""
    margin = known.all.settings.margin
    leaders = known.leaders.dropna(subset=["operations"])
    if len(leaders) < 2:
        return
    as_good = leaders[leaders["at_most_behind"] < margin]
    if as_good.empty:
        yield (
            f"No store is shown to be less than {margin:g} behind the best: whether a cheaper one "
            "would do is open."
        )
        return
    least = as_good.sort_values(["operations", "mean"], ascending=[True, False]).iloc[0]
    highest = of_store(leaders, known.best)
    share = (
        f", {least['operations'] / highest.iloc[0]['operations']:.2g} times that of the highest"
        if len(highest) and 0 < least["operations"] < highest.iloc[0]["operations"]
        else ""
    )
    yield (
        f"Of the stores that are shown to be less than {margin:g} behind the best, "
        f"{store_name(least)} needs least computation ({operations(least['operations'])}"
        f"{share})."
    )


def split_gap(evidence: Evidence) -> Iterator[str]:
    """Say by how much stores change when split by image."""
    gaps = evidence.of_scheme("image").gaps("scheme")
    if gaps.empty:
        return
    if evidence.of_scheme("image").is_repetition:
        yield ONE_IMAGE
        return
    yield from gap_of_the_highest(evidence)
    if len(gaps) > 1:
        yield (
            f"Over all {len(gaps)} stores the gap is {signed(gaps['difference'].mean())} on "
            f"average; the smallest is {signed(gaps['difference'].min())}, the largest "
            f"{signed(gaps['difference'].max())}."
        )
        best = {row["scheme"]: row for _, row in evidence.chosen.iterrows()}
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


def warnings(evidence: Evidence) -> Iterator[str]:
    """Say what makes the results less sure than they look."""
    metric = METRIC_NAMES[evidence.settings.metric]
    yield from evidence.looked.doubts
    if evidence.looked.one_image_per_group and "image" in set(evidence.chosen["scheme"]):
        yield ONE_IMAGE
    if (n_repeats := int(evidence.chosen["n_repeats"].min())) < ENOUGH_REPEATS:
        yield (
            f"The splits were made {times(n_repeats)}; made {times(ENOUGH_REPEATS)} "
            "(`splits.seeds: [0, 1, 2]`), scores are less noisy."
        )
    for scheme in evidence.chosen["scheme"]:
        known = evidence.of_scheme(scheme)
        if known.is_repetition:
            continue
        best = known.best
        where = f"By {scheme_name(scheme)}, {store_name(best)}"
        if best["mean"] >= SUSPICIOUS:
            yield (
                f"{where} reaches a {metric} of {number(best['mean'])}, which is suspiciously "
                "high: check the groups, and that no label is visible in the images."
            )
        if not known.is_secondary:
            yield from _few_groups(known)
        below = of_store(known.gaps("floor"), best, "first_")
        if len(below) and below.iloc[0]["verdict"] != "better":
            yield f"{where} is not shown to be better than the floor: do not rely on it."
        rows = of_store(matching(evidence.classes, scheme=scheme), best)
        never = rows[(rows["n_predicted"] == 0) & (rows["n_positive"] > 0)]["class"]
        if len(never):
            yield f"{where} never predicts {', '.join(map(quoted, never))}."


def _few_groups(known: OfScheme) -> Iterator[str]:
    """Name the classes whose scores depend on single groups."""
    rows = of_store(matching(known.all.classes, scheme=known.scheme), known.best)
    n_folds = max(known.best["n_folds"] / known.chosen["n_repeats"], 1)
    few = rows[rows["n_positive_groups"] < FEW_GROUPS_PER_FOLD * n_folds]
    if len(few):
        named = [
            f"{quoted(row['class'])} {int(row['n_positive_groups'])}"
            for row in few.sort_values("n_positive_groups").head(CLASSES_NAMED).to_dict("records")
        ]
        yield (
            f"By {scheme_name(known.scheme)}, {count(len(few), 'class')} of {len(rows)} have fewer "
            f"than {FEW_GROUPS_PER_FOLD} groups per test fold, so that single groups decide "
            f"(over all folds together: {', '.join(named)}"
            f"{' ...' if len(few) > len(named) else ''})."
        )
