"""Segmentation in sentences, from the tables of `masks`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from transferscope.compare.mask_shift_sentences import shift_sentences
from transferscope.compare.masks import MaskTables
from transferscope.compare.tables import Store, matching
from transferscope.compare.wording import count, number, quoted, signed, store_name
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import SEEN_IN_TRAINING
from transferscope.segmentation.table_names import AJI, DICE, F1, PQ

# With fewer trainings than this, their spread is hardly known: simulated studies without any gain
# showed one too often.
FEW_TRAININGS = 6
# In the summary, which stays on one page.
PAIRS_IN_SHORT = 3
# Of what gains are judged.
NAMES = {DICE: "Dice", PQ: "PQ"}


def datasets_of(tables: MaskTables) -> list[str]:
    """Return the datasets that were segmented."""
    return sorted(tables.scores["dataset"].unique())


def masks_in_short(dataset: str, tables: MaskTables, settings: CompareSettings) -> Iterator[str]:
    """Say what segments best, with one decoder, and up to where its gain is shown."""
    decoder = chosen_decoder(dataset, tables)
    scores = _scores(dataset, decoder, tables)
    yield _highest(decoder, scores)
    if decoders := scores_by_decoder(dataset, tables):
        yield decoders
    yield from _gains_in_short(dataset, decoder, tables, settings, DICE)
    if has_objects(dataset, tables):
        yield _objects(dataset, decoder, tables)
        yield from _gains_in_short(dataset, decoder, tables, settings, PQ)
    yield from shift_sentences(dataset, decoder, tables)


def _gains_in_short(
    dataset: str, decoder: str, tables: MaskTables, settings: CompareSettings, metric: str
) -> Iterator[str]:
    """Say up to where the gains of the best store are shown."""
    ranked = _ranked(_scores(dataset, decoder, tables, metric))
    best = Store(str(ranked[0]["backbone"]), str(ranked[0]["channels"]))
    gains, limits = (_of(dataset, decoder, table) for table in tables.differences(metric))
    with_best = [row for row in limits.to_dict("records") if best in _pair(row)]
    for row in with_best[:PAIRS_IN_SHORT]:
        yield _limit(row, gains, settings, metric)
    if more := with_best[PAIRS_IN_SHORT:]:
        yield f"{count(len(more), 'more pair')} with it: see `details.md`."


def masks_at_length(dataset: str, tables: MaskTables, settings: CompareSettings) -> Iterator[str]:
    """Say the same of every decoder and every pair."""
    for decoder in sorted(matching(tables.scores, dataset=dataset)["head"].unique()):
        yield _highest(decoder, _scores(dataset, decoder, tables))
        metrics = [DICE]
        if has_objects(dataset, tables):
            yield _objects(dataset, decoder, tables)
            metrics.append(PQ)
        for metric in metrics:
            gains, limits = (_of(dataset, decoder, table) for table in tables.differences(metric))
            for row in limits.to_dict("records"):
                yield _limit(row, gains, settings, metric)
        yield from shift_sentences(dataset, decoder, tables)


def has_objects(dataset: str, tables: MaskTables) -> bool:
    """Whether single objects of a dataset were found and scored."""
    return bool(len(matching(tables.scores, dataset=dataset, metric=PQ)))


def mask_table(dataset: str, tables: MaskTables, metric: str = DICE) -> list[str]:
    """Return the scores of all stores with each number of groups, as Markdown.

    Parameters
    ----------
    dataset, tables
        What was found.
    metric
        `dice`, or any other of the table of scores.
    """
    scores = matching(tables.scores, dataset=dataset, metric=metric, **{"class": ""})
    fractions = sorted(scores["fraction"].unique())
    sizes = [matching(scores, fraction=f)["n_train_groups"].mean() for f in fractions]
    header = " | ".join(["store", "decoder", *(f"{n:.0f} groups" for n in sizes), "floor"])
    lines = [f"| {header} |", "|---" * (len(fractions) + 3) + "|"]
    for _, rows in scores.groupby(["head", "backbone", "channels"], sort=True):
        store, decoder = store_name(rows.iloc[0]), str(rows["head"].iloc[0])
        cells = [store.replace("|", "\\|"), decoder]
        for fraction in fractions:
            at = matching(rows, fraction=fraction)
            cells.append(_value(at.iloc[0]) if len(at) else "-")
        lines.append(f"| {' | '.join(cells)} | {number(rows['floor'].mean())} |")
    return lines


def mask_warnings(tables: MaskTables) -> Iterator[tuple[str, str]]:
    """Yield dataset and warning: what is below the floor, and what backbones have seen."""
    for dataset in datasets_of(tables):
        decoder = chosen_decoder(dataset, tables)
        full = _at_full(_scores(dataset, decoder, tables))
        for row in full[full["ci_low"] <= full["floor"]].to_dict("records"):
            yield (
                dataset,
                f"segmentation by {decoder} on {store_name(row)} is not shown to be above the "
                f"floor, which calls every pixel foreground: Dice {_value(row)}, floor "
                f"{number(row['floor'])}.",
            )
        if (n_trainings := int(full["n_trainings"].min())) < FEW_TRAININGS:
            yield (
                dataset,
                f"decoders were trained on {count(n_trainings, 'division')}, so that little is "
                "known of how much trainings differ; more `splits.seeds` make gains surer.",
            )
        for row in full[full[SEEN_IN_TRAINING] != "no"].to_dict("records"):
            what = row[SEEN_IN_TRAINING]
            yield (
                dataset,
                f"{store_name(row)} has seen {what} of it in its own training, test groups "
                "included: its masks are not those of new groups.",
            )


def chosen_decoder(dataset: str, tables: MaskTables) -> str:
    """Return the decoder that stands for all: of those on the most stores, by validation loss.

    No test tile takes part in the choice.
    """
    full = _at_full(matching(tables.scores, dataset=dataset, metric=DICE, **{"class": ""}))
    by_decoder = full.groupby("head")
    ranked = pd.DataFrame(
        {"n": -by_decoder.size(), "loss": by_decoder["validation_loss"].mean()}
    ).sort_values(["n", "loss"], kind="stable")
    return str(ranked.index[0])


def scores_by_decoder(dataset: str, tables: MaskTables) -> str:
    """Say what the best store of the other decoders scores."""
    full = _at_full(matching(tables.scores, dataset=dataset, metric=DICE, **{"class": ""}))
    others = full[full["head"] != chosen_decoder(dataset, tables)]
    if others.empty:
        return ""
    best = others.sort_values("value", kind="stable").groupby("head").tail(1)
    named = [f"{r['head']} {_value(r)} with {store_name(r)}" for r in best.to_dict("records")]
    return f"Highest with other decoders: {'; '.join(sorted(named))}."


def _highest(decoder: str, scores: pd.DataFrame) -> str:
    ranked = _ranked(scores)
    return (
        f"Decoder {decoder}, all training labels ({_groups(ranked[0]['n_train_groups'])}): Dice is "
        f"{_value(ranked[0])} with {_of_how_many(ranked)}; the floor, which calls every pixel "
        f"foreground, has {number(ranked[0]['floor'])}."
    )


def _objects(dataset: str, decoder: str, tables: MaskTables) -> str:
    """Say how well single objects are found."""
    ranked = _ranked(_scores(dataset, decoder, tables, PQ))
    others = []
    for metric, name in ((AJI, "AJI"), (F1, "F1 at an IoU of .5")):
        own = matching(
            _at_full(_scores(dataset, decoder, tables, metric)),
            backbone=ranked[0]["backbone"],
            channels=ranked[0]["channels"],
        )
        others.append(f"{name} {_value(own.iloc[0])}")
    return (
        f"Single objects, decoder {decoder}, all training labels: panoptic quality (PQ) is "
        f"{_value(ranked[0])} with {_of_how_many(ranked)}; {', '.join(others)}. The floor, which "
        f"calls everything one object, has a PQ of {number(ranked[0]['floor'])}."
    )


def _of_how_many(ranked: list[Any]) -> str:
    more = f", the highest of {count(len(ranked), 'store')}" if len(ranked) > 1 else ""
    return f"{store_name(ranked[0])}{more}"


def _limit(row: Any, gains: pd.DataFrame, settings: CompareSettings, metric: str = DICE) -> str:
    """Say up to how many training groups the gain of the first store over the second is shown."""
    first, second = _pair(row)
    own = gains
    for side, store in (("first", first), ("second", second)):
        own = matching(own, **{f"{side}_{k}": v for k, v in store.columns.items()})
    own = own.sort_values("fraction")
    at = [f"{_gap(r)} with {_groups(r['n_train_groups'])}" for r in own.to_dict("records")]
    named = f"{quoted(first)} over {quoted(second)}"
    if not row["up_to"]:
        text = f"No gain of {named} is shown from the fewest training groups on"
    elif row["up_to"] == row["largest"]:
        text = f"The gain of {named} is shown at every size, up to {_groups(row['up_to'])}"
    else:
        text = f"The gain of {named} is shown up to {_groups(row['up_to'])}"
    end = f"{row['high']:.0f}" + (" or more" if row["high"] == row["largest"] else "")
    bounds = end if row["low"] == row["high"] else f"{row['low']:.0f} to {end}"
    level = f"{100 * settings.confidence:g} % interval of that number: {bounds}"
    corrected = f"corrected for {count(int(own['n_comparisons'].max()), 'comparison')}"
    later = own[own["shown"] & (own["n_train_groups"] > row["up_to"])]
    also = ""
    if len(later):
        sizes = ", ".join(f"{n:.0f}" for n in later["n_train_groups"])
        also = f" It is shown with {sizes} groups, but not with all smaller numbers."
    return f"{text} ({level}; {corrected}): {NAMES[metric]} {'; '.join(at)}.{also}"


def _pair(row: Any) -> tuple[Store, Store]:
    first, second = (
        Store(str(row[f"{side}_backbone"]), str(row[f"{side}_channels"]))
        for side in ("first", "second")
    )
    return first, second


def _of(dataset: str, decoder: str, table: pd.DataFrame) -> pd.DataFrame:
    return matching(table, dataset=dataset, head=decoder)


def _scores(dataset: str, decoder: str, tables: MaskTables, metric: str = DICE) -> pd.DataFrame:
    return matching(_of(dataset, decoder, tables.scores), metric=metric, **{"class": ""})


def _ranked(scores: pd.DataFrame) -> list[Any]:
    """Return the rows of all training labels, the best first."""
    full = _at_full(scores).sort_values("value", ascending=False, kind="stable")
    return full.to_dict("records")


def _at_full(scores: pd.DataFrame) -> pd.DataFrame:
    return matching(scores, fraction=scores["fraction"].max())


def _groups(n: float) -> str:
    return count(round(n), "group")


def _value(row: Any) -> str:
    return f"{number(row['value'])} ({number(row['ci_low'])} to {number(row['ci_high'])})"


def _gap(row: Any) -> str:
    return f"{signed(row['difference'])} ({signed(row['ci_low'])} to {signed(row['ci_high'])})"
