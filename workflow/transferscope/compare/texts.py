"""The comparison as text: a summary of one page, and all details."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from transferscope.compare import sentences
from transferscope.compare.ablation_sentences import ablation_at_length, ablation_in_short
from transferscope.compare.channel_weight_sentences import weights_at_length, weights_in_short
from transferscope.compare.evidence import Evidence, LookedAt, OfScheme, evidence_of, of_store
from transferscope.compare.families import LINES_IN_SHORT, families_in_sentences
from transferscope.compare.few_groups import few_groups_in_sentences
from transferscope.compare.grid_curves import GridTables
from transferscope.compare.grid_sentences import grids_at_length, grids_in_short
from transferscope.compare.joining_sentences import joining_at_length, joining_in_short
from transferscope.compare.known_pairs import (
    KnownPairTables,
    known_pairs,
    known_pairs_in_short,
)
from transferscope.compare.ladder import ladder_at_length, ladder_in_short
from transferscope.compare.layers import layers_in_sentences
from transferscope.compare.mask_sentences import (
    datasets_of,
    has_objects,
    mask_table,
    mask_warnings,
    masks_at_length,
    masks_in_short,
)
from transferscope.compare.masks import MaskTables
from transferscope.compare.nuisance import NuisanceTables
from transferscope.compare.nuisance_sentences import nuisances_at_length, nuisances_in_short
from transferscope.compare.number_format import number_format_notes
from transferscope.compare.selection import CHOSEN_BY
from transferscope.compare.tables import Store, head_of, matching
from transferscope.compare.transfer_sentences import (
    pairs_of,
    title,
    transfer_at_length,
    transfer_in_short,
)
from transferscope.compare.wording import (
    METRIC_NAMES,
    count,
    number,
    percent,
    quoted,
    scheme_name,
    scheme_title,
    store_name,
)
from transferscope.config.channel_strategies import MAP_RANDOM, family_of
from transferscope.config.jobs import Comparison
from transferscope.config.joining import JOINED
from transferscope.config.results import CompareSettings
from transferscope.segmentation.table_names import PQ, is_tuned_decoder

RANDOM_ORDERS = (
    "`map-random` stands for all random orders of the channels that were run: its scores are "
    "averages over them, and its intervals include the variance between them."
)
ONE_ORDER = (
    "`map-random` is one random order of the channels: another order may score differently, which "
    "its interval does not include."
)
ABOVE_FLOOR = {
    "better": "shown",
    "worse": "no: shown to be below it",
    "equal": "no: practically equal",
    "undecided": "undecided",
}
SHORT_NAMES = {"image": "image (optimistic)"}
MASKS_READ = (
    "Dice coefficients are means over the tiles of a group, then over groups, folds and seeds, of "
    "decoders on a frozen backbone; test groups are those that no decoder has seen. A gain is "
    "*shown* where its p-value, corrected (Holm) for all pairs and numbers of groups of a decoder, "
    "is below the level; up to a number of groups means there and at all smaller ones. The "
    "interval of that number repeats the rule in every draw of groups and trainings."
)
MASKS_TUNED = (
    "A decoder with a second name, such as unet-full, was trained together with the backbone: all "
    "of its layers, the last ones or low-rank updates (lora)."
)
OBJECTS_READ = (
    "This table is of panoptic quality (PQ), the share of objects found (F1 at an IoU of .5) times "
    "the mean IoU of those found, averaged in the same way."
)
# The summary stays on one page: with more datasets it has their table and warnings only.
# Table -> what its sections are about, and their sentences, in short and at length.
OF_TABLES = {
    "ablation": ("without single channels", ablation_in_short, ablation_at_length),
    "channel_gains": ("channels weighted", weights_in_short, weights_at_length),
    JOINED: ("backbones joined", joining_in_short, joining_at_length),
}
DATASETS_IN_SENTENCES = 3
STORES_NAMED = 6
# In a cell of a table.
PIPE = "\\|"


class Texts(NamedTuple):
    """The comparison as Markdown.

    Parameters
    ----------
    summary
        The answer, on one page.
    details
        All that was found, with how to read it.
    """

    summary: str
    details: str


def describe(
    summary: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    settings: CompareSettings,
    recalled: Mapping[str, KnownPairTables],
    grids: GridTables | None = None,
    masks: MaskTables | None = None,
    looked: Mapping[str, LookedAt] | None = None,
    layers: pd.DataFrame | None = None,
    families: pd.DataFrame | None = None,
    besides: NuisanceTables | None = None,
) -> Texts:
    """Write the comparison as Markdown. The summary says nothing that the details do not say.

    Parameters
    ----------
    summary
        From `summarise`.
    tables
        `scores`, `differences`, `leaderboard`, `chosen`, `per_class`, `finetuning`,
        `across_datasets` and `number_format`, as `compare` writes them; `ladder` where the study
        splits by columns, those of `Transferred` where it tests on other datasets, and those of
        `Ablated` where it ablates channels, of `Weighed` where it weights them, and `joined` where
        it joins stores.
    settings
        Metric, coverage and draws.
    recalled
        Recall of known pairs by dataset, where it was asked for.
    grids
        Curves over the grids of the study, if it has any.
    masks
        What decoders segment, where that was asked for.
    looked
        What was found out about the images of each dataset.
    layers
        Scores of all blocks of backbones, where that was asked for.
    families
        Scores of the families of which the study has several members.
    besides
        What stores know besides biology, where that was asked for.
    """
    datasets = sorted(summary["dataset"].unique())
    images = looked or {}
    found = {
        name: evidence_of(name, summary, tables, settings, images.get(name)) for name in datasets
    }
    in_short = _recalled(recalled, known_pairs_in_short)
    at_length = _recalled(recalled, known_pairs)
    in_short += _grown(datasets, grids, settings, grids_in_short)
    at_length += _grown(datasets, grids, settings, grids_at_length)
    for lines, most in ((in_short, LINES_IN_SHORT), (at_length, None)):
        lines += _of_layers(datasets, layers, settings)
        lines += _of_families(datasets, families, settings, most)
    in_short += _laddered(tables, settings, ladder_in_short)
    at_length += _laddered(tables, settings, ladder_at_length)
    of_few = _of_few_groups(tables)
    in_short += of_few
    at_length += of_few
    in_short += _transferred(tables, settings, transfer_in_short)
    at_length += _transferred(tables, settings, transfer_at_length)
    in_short += _besides(datasets, tables, besides, settings, nuisances_in_short)
    at_length += _besides(datasets, tables, besides, settings, nuisances_at_length)
    for table, (about, short, long) in OF_TABLES.items():
        if table in tables:
            for name in datasets:
                in_short += _section(name, about, short(name, tables, settings))
                at_length += _section(name, about, long(name, tables, settings))
    if isinstance(settings, Comparison) and settings.not_joined:
        at_length += ["", "## Not joined", "", *_bullets(settings.not_joined)]
    if isinstance(settings, Comparison) and settings.not_ablated:
        at_length += ["", "## Channels that are not ablated", "", *_bullets(settings.not_ablated)]
    warned: dict[str, list[str]] = {}
    if masks is not None:
        for name in datasets_of(masks):
            in_short += _section(name, "segmentation", masks_in_short(name, masks, settings))
            at_length += _section(name, "segmentation", masks_at_length(name, masks, settings))
            tuned = matching(masks.scores, dataset=name)["head"].map(is_tuned_decoder).any()
            read = f"{MASKS_READ} {MASKS_TUNED}" if tuned else MASKS_READ
            at_length += ["", *mask_table(name, masks), "", read]
            if has_objects(name, masks):
                at_length += ["", *mask_table(name, masks, PQ), "", OBJECTS_READ]
        for name, warning in mask_warnings(masks):
            warned.setdefault(name, []).append(warning)
    return Texts(
        _summary(found, settings, in_short, warned),
        _details(found, summary, tables, settings, at_length),
    )


def _section(dataset: str, about: str, sentences_of: Iterable[str]) -> list[str]:
    """Return a section on something of a dataset; nothing where there is nothing to say."""
    said = list(sentences_of)
    return ["", f"## {quoted(dataset)}, {about}", "", *_bullets(said)] if said else []


def _recalled(
    recalled: Mapping[str, KnownPairTables],
    sentences_of: Callable[[KnownPairTables], Iterator[str]],
) -> list[str]:
    """Return one section per dataset on its recall of known pairs."""
    lines: list[str] = []
    for name, tables in recalled.items():
        lines += ["", f"## {quoted(name)}, known pairs", "", *_bullets(sentences_of(tables))]
    return lines


def _grown(
    datasets: Sequence[str],
    grids: GridTables | None,
    settings: CompareSettings,
    sentences_of: Callable[[GridTables, str, float], Iterator[str]],
) -> list[str]:
    """Return one section per dataset on what larger backbones and more images are worth."""
    lines: list[str] = []
    if grids is None:
        return lines
    for name in datasets:
        if said := list(sentences_of(grids, name, settings.confidence)):
            lines += ["", f"## {quoted(name)}, sizes of backbones and data", "", *_bullets(said)]
    return lines


def _of_layers(
    datasets: Sequence[str], layers: pd.DataFrame | None, settings: CompareSettings
) -> list[str]:
    """Return one section per dataset on the blocks of backbones."""
    lines: list[str] = []
    if layers is None:
        return lines
    for name in datasets:
        if said := list(layers_in_sentences(layers, name, settings)):
            lines += ["", f"## {quoted(name)}, blocks of backbones", "", *_bullets(said)]
    return lines


def _of_families(
    datasets: Sequence[str],
    families: pd.DataFrame | None,
    settings: CompareSettings,
    most: int | None,
) -> list[str]:
    """Return one section per dataset on families of backbones and sweeps of scales."""
    lines: list[str] = []
    if families is None:
        return lines
    for name in datasets:
        if said := list(families_in_sentences(families, name, settings, most)):
            lines += ["", f"## {quoted(name)}, backbones in order of size", "", *_bullets(said)]
    return lines


def _laddered(
    tables: Mapping[str, pd.DataFrame],
    settings: CompareSettings,
    sentences_of: Callable[[pd.DataFrame, pd.DataFrame, float], Iterator[str]],
) -> list[str]:
    """Return one section per dataset on what harder splits cost."""
    lines: list[str] = []
    if "ladder" not in tables:
        return lines
    for name, rows in tables["ladder"].groupby("dataset", sort=True):
        chosen = matching(tables["chosen"], dataset=name)
        if said := list(sentences_of(rows, chosen, settings.margin)) if len(chosen) else []:
            lines += ["", f"## {quoted(name)}, what harder splits cost", "", *_bullets(said)]
    return lines


def _of_few_groups(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return one section per dataset on what few groups of each class are worth."""
    lines: list[str] = []
    if "groups_per_class" not in tables:
        return lines
    for name, rows in tables["groups_per_class"].groupby("dataset", sort=True):
        chosen = matching(tables["chosen"], dataset=name)
        if said := list(few_groups_in_sentences(rows, chosen)):
            title = f"## {quoted(str(name))}, with few labelled groups per class"
            lines += ["", title, "", *_bullets(said)]
    return lines


def _transferred(
    tables: Mapping[str, pd.DataFrame],
    settings: CompareSettings,
    sentences_of: Callable[
        [tuple[str, str], Mapping[str, pd.DataFrame], CompareSettings], Iterator[str]
    ],
) -> list[str]:
    """Return one section per pair of datasets on tests of one on the other."""
    lines: list[str] = []
    for pair in pairs_of(tables):
        if said := list(sentences_of(pair, tables, settings)):
            lines += ["", f"## {title(*pair)}", "", *_bullets(said)]
    if isinstance(settings, Comparison) and settings.not_transferred:
        lines += ["", "## Not tested on another dataset", "", *_bullets(settings.not_transferred)]
    return lines


def _besides(
    datasets: Sequence[str],
    tables: Mapping[str, pd.DataFrame],
    besides: NuisanceTables | None,
    settings: CompareSettings,
    sentences_of: Callable[[str, pd.DataFrame, NuisanceTables, CompareSettings], Iterator[str]],
) -> list[str]:
    """Return one section per dataset on what stores know besides biology."""
    lines: list[str] = []
    if besides is None:
        return lines
    for name in datasets:
        chosen = matching(tables["chosen"], dataset=name)
        by_group = matching(chosen, scheme="group")
        own = chosen if by_group.empty else by_group
        if said := list(sentences_of(name, own, besides, settings)):
            lines += ["", f"## {quoted(name)}, besides biology", "", *_bullets(said)]
    return lines


def _summary(
    found: Mapping[str, Evidence | None],
    settings: CompareSettings,
    recalled: Sequence[str],
    warned: Mapping[str, Sequence[str]],
) -> str:
    known = [evidence for evidence in found.values() if evidence]
    parts = ["# What the comparison shows", "", *_in_short(known)]
    if len(known) <= DATASETS_IN_SENTENCES:
        for evidence in known:
            for scheme in map(evidence.of_scheme, evidence.chosen["scheme"]):
                if not scheme.is_secondary:
                    head = head_of(scheme.chosen)
                    name = f"{quoted(evidence.dataset)}, by {scheme_name(scheme.scheme)}"
                    parts += [f"## {name}, with {head}"]
                    parts += ["", *_bullets(_of_scheme_in_short(scheme)), ""]
    # Sections end with an empty line here, and begin with one in the details.
    parts += [*recalled[1:], ""] if recalled else []
    parts += ["## Warnings", "", *_bullets(_warnings(found, warned) or ["None."]), ""]
    return "\n".join([*parts, "## How to read it", "", _how_to_read_in_short(settings)]) + "\n"


def _details(
    found: Mapping[str, Evidence | None],
    summary: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    settings: CompareSettings,
    recalled: Sequence[str],
) -> str:
    read = _how_to_read(settings, tables["chosen"])
    orders = tables["scores"]["channels"].astype("str")
    if n_orders := orders[orders.map(family_of) == MAP_RANDOM].nunique():
        read += ["", RANDOM_ORDERS if n_orders > 1 else ONE_ORDER]
    parts = ["# Details of the comparison", "", "## How to read them", "", *read]
    for dataset, evidence in found.items():
        parts += ["", f"## {quoted(dataset)}", ""]
        if evidence is None:
            parts += ["Only the floor was run here: there is nothing to compare."]
            continue
        parts += _of_dataset(evidence)
    parts += recalled
    if across := list(sentences.across_datasets(tables["across_datasets"], summary, settings)):
        parts += ["", "## Over all datasets", "", *_bullets(across)]
    if notes := number_format_notes(tables["number_format"]):
        parts += ["", "## What the number format does", "", *_bullets(notes)]
    return "\n".join(parts) + "\n"


def _in_short(found: Sequence[Evidence]) -> list[str]:
    """Return one line per dataset and split scheme."""
    lines = [
        _line(evidence.of_scheme(scheme))
        for evidence in found
        for scheme in evidence.chosen["scheme"]
        if not evidence.of_scheme(scheme).is_repetition
    ]
    if not lines:
        return []
    header = "| dataset | split by | highest store | may be the best | highest above the floor |"
    return [header, "|---|---|---|---|---|", *lines, ""]


def _line(known: OfScheme) -> str:
    floor = of_store(known.gaps("floor"), known.best, "first_")
    above = "not compared" if floor.empty else ABOVE_FLOOR[floor.iloc[0]["verdict"]]
    leaders = f"{len(known.candidates)} of {len(known.leaders)} stores"
    if known.leads_alone:
        leaders = "only it"
    if known.leaders.empty:
        leaders = "not assessed"
    # The interval holds although this store was chosen for its score.
    leader = of_store(known.leaders, known.best)
    cells = [
        quoted(known.all.dataset),
        SHORT_NAMES.get(known.scheme, scheme_name(known.scheme)),
        f"{store_name(known.best)}, {_cell(known.best if leader.empty else leader.iloc[0])}",
        leaders,
        above,
    ]
    return f"| {' | '.join(cell.replace('|', PIPE) for cell in cells)} |"


def _of_scheme_in_short(known: OfScheme) -> Iterator[str]:
    if len(known.ranked) == 1:
        yield sentences.winner(known)
    yield from sentences.may_be_best(known, STORES_NAMED)
    yield from sentences.handcrafted(known)
    yield from sentences.nuisances(known)
    yield from sentences.mapping_in_short(known)
    yield from sentences.corrections(known)
    yield sentences.saturation(known)
    yield from sentences.fine_tuning_in_short(known)
    if (known.leaders["at_most_behind"] < known.all.settings.margin).any():
        yield from sentences.cheapest(known)
    yield from sentences.power(known)
    if known.scheme == "group":
        yield from sentences.gap_of_the_highest(known.all)


def _warnings(
    found: Mapping[str, Evidence | None], further: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return each warning once, after the names of the datasets that it is about."""
    about: dict[str, list[str]] = {}
    for name, evidence in found.items():
        warnings = ["Only the floor was run, so that there is nothing to compare."]
        if evidence is not None:
            warnings = [*sentences.warnings(evidence), *evidence.seen]
        warnings += further.get(name, [])
        for warning in warnings:
            about.setdefault(warning, []).append(quoted(name))
    return [f"{', '.join(names)}: {warning}" for warning, names in about.items()]


def _how_to_read_in_short(settings: CompareSettings) -> str:
    level = percent(settings.confidence)
    return (
        f"Scores are {METRIC_NAMES[settings.metric]} of all test folds with all training labels; "
        f"{level} intervals hold for other groups like these. The split by group is the estimate "
        "for groups that no head has seen; the split by image is optimistic, because groups are on "
        "both sides. A store is a backbone with a channel strategy. *Shown*: where there is "
        "nothing to find, a finding of its kind, in one dataset and split, comes up in at most "
        f"{percent(round(1 - settings.confidence, 6))} of studies. *Undecided*: not shown, which "
        "does not mean equal. *Highest* is a score, *may be the best* a verdict: in "
        f"{level} of studies these stores include a best one. *Floor*: an answer that uses labels "
        "and no image. Differences with intervals, all stores, the split by image and the small "
        "print are in `details.md`."
    )


def _bullets(lines: Iterable[str]) -> list[str]:
    return [f"* {line}" for line in lines]


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
        "stores: stores that share one in a column are not shown to differ; that takes more than "
        "to rule out a store as the best, because all pairs are compared. Intervals in these "
        "tables are of one store each; that next to the name of the highest store is wider, "
        "because it also holds for the highest of many.",
    ]


def _of_dataset(evidence: Evidence) -> list[str]:
    head = head_of(evidence.chosen.iloc[0])
    stores = count(int(evidence.chosen["n_stores"].max()), "store")
    rule = CHOSEN_BY[evidence.chosen.iloc[0]["chosen_by"]]
    parts = [
        f"One head stands for all stores: {head}, on {stores}. Of the heads run on the most "
        f"stores, it has the highest mean score on {rule}."
    ]
    for scheme in evidence.chosen["scheme"]:
        parts += ["", f"### {scheme_title(scheme)}", ""]
        parts += _bullets(_of_scheme(evidence.of_scheme(scheme)))
    if gap_sentences := list(sentences.split_gap(evidence)):
        parts += ["", "### What the split is worth", "", *_bullets(gap_sentences)]
    parts += ["", "### All stores", "", *_ranking(evidence), "", "### Warnings", ""]
    parts += _bullets(list(sentences.warnings(evidence)) or ["None."])
    if evidence.seen:
        parts += ["", "### What backbones have seen", "", *_bullets(evidence.seen)]
    if seen := list(sentences.corrections_saw(evidence)):
        parts += ["", "### What corrections have seen", "", *_bullets(seen)]
    return parts


def _of_scheme(known: OfScheme) -> Iterator[str]:
    yield sentences.winner(known)
    yield from sentences.may_be_best(known)
    yield from sentences.runner_up(known)
    yield from sentences.floor(known)
    if known.is_secondary:
        return
    yield from sentences.handcrafted(known)
    yield from sentences.nuisances(known)
    yield from sentences.mapping(known)
    yield from sentences.corrections(known)
    yield sentences.saturation(known)
    yield from sentences.fine_tuning(known)
    yield from sentences.cheapest(known)
    yield from sentences.power(known)


def _ranking(evidence: Evidence) -> list[str]:
    cells: dict[Store, dict[str, str]] = {}
    schemes = list(evidence.chosen["scheme"])
    for scheme in schemes:
        for row in evidence.of_scheme(scheme).ranked.to_dict("records"):
            store = Store(row["backbone"], row["channels"])
            leader = of_store(evidence.of_scheme(scheme).leaders, row)
            named = "" if leader.empty else f" {leader.iloc[0]['letters']}"
            cells.setdefault(store, {})[scheme] = f"{_cell(row)}{named}"
    header = " | ".join(["store", *(f"by {scheme_name(s)}" for s in schemes)])
    lines = [f"| {header} |", "|---" * (len(schemes) + 1) + "|"]
    for store, found in cells.items():
        label = quoted(store).replace("|", "\\|")
        lines.append(f"| {label} | {' | '.join(found.get(s, '-') for s in schemes)} |")
    return lines


def _cell(row: Any) -> str:
    if np.isnan(row["ci_low"]):
        return number(row["mean"])
    return f"{number(row['mean'])} ({number(row['ci_low'])} to {number(row['ci_high'])})"
