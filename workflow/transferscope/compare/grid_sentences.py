"""What larger backbones, more images and longer trainings are worth, in sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from transferscope.compare.curve_fits import (
    ASYMPTOTE_SIZES,
    ASYMPTOTE_SPAN,
    CONSTANT,
    JOINED,
    LEAST_SIZES,
    LINE,
    LOG_LINEAR,
    POWER,
)
from transferscope.compare.grid_curves import FAMILY, GridTables
from transferscope.compare.grid_surfaces import surfaces_in_sentences
from transferscope.compare.tables import matching
from transferscope.compare.wording import count, number, percent, quoted, signed

# In the summary, which stays on one page.
CURVES_IN_SHORT = 6
NOUNS = {
    "parameters": "weights",
    "images": "training images",
    "images_seen": "images seen in training",
    "operations": "training operations",
}
FAMILIES = {
    CONSTANT: "No curve predicts a size that is left out better than a constant does.",
    LOG_LINEAR: "It is best described as changing with the logarithm of the size.",
    LINE: "No curve describes it better than a straight line.",
    POWER: "It is best described by a power law that levels off.",
}


def amount(axis: str, value: float) -> str:
    """Return a size on an axis, with its unit.

    Examples
    --------
    >>> amount("parameters", 812_345), amount("images", 400), amount("operations", 3.2e13)
    ('0.81 M weights', '400 training images', '0.032 PFLOP of training')
    """
    if axis == "parameters":
        return f"{value / 1e6:.2g} M weights"
    if axis == "operations":
        return f"{value / 1e15:.2g} PFLOP of training"
    return f"{round(value):,} {NOUNS[axis]}"


def grids_in_short(tables: GridTables, dataset: str, confidence: float) -> Iterator[str]:
    """Say of the first curves of the head that stands for all stores what growing is worth."""
    said = _said(tables, dataset)
    curves = matching(said, is_headline=True).to_dict("records")
    for curve in curves[:CURVES_IN_SHORT]:
        yield _growth(curve, confidence)
    yield from surfaces_in_sentences(tables.surfaces, dataset, confidence, headline_only=True)
    more = len(said) - len(curves[:CURVES_IN_SHORT])
    if more:
        yield f"{count(more, 'more curve')}: see `details.md` and `compare/grid_curves.csv`."


def grids_at_length(tables: GridTables, dataset: str, confidence: float) -> Iterator[str]:
    """Say the same of every curve, with what describes it and what may be expected of it."""
    curves = _said(tables, dataset)
    for curve in curves.to_dict("records"):
        yield " ".join([_growth(curve, confidence), *_described(curve)])
    yield from surfaces_in_sentences(tables.surfaces, dataset, confidence, headline_only=False)
    if len(curves):
        yield (
            "Intervals and bands of these curves are about training again, with the spread of "
            "repeats pooled over all cells of a grid; the test groups are the same for all cells."
        )


def _said(tables: GridTables, dataset: str) -> pd.DataFrame:
    """Return the curves of a dataset, without those over operations that say the same again."""
    curves = matching(tables.curves, dataset=dataset)
    keys = [*FAMILY, "held", "n_sizes"]
    weights = curves.loc[curves["axis"] == "parameters", keys].apply(tuple, axis=1)
    again = curves[keys].apply(tuple, axis=1).isin(set(weights)) if len(weights) else False
    found: pd.DataFrame = curves[~((curves["axis"] == "operations") & again)]
    return found


def _growth(curve: Any, confidence: float) -> str:
    held = f" ({curve['held']})" if curve["held"] else ""
    axis = curve["axis"]
    text = (
        f"{quoted(curve['store'])}{held}, {curve['measure']}: from "
        f"{amount(axis, curve['smallest'])} to {amount(axis, curve['largest'])}, the score goes "
        f"from {number(curve['first_score'])} to {number(curve['last_score'])}"
    )
    if pd.isna(curve["rise_low"]):
        return f"{text}; without repeats (`seeds`) nothing is known of its error."
    shown = "no difference is shown"
    if curve["rise_low"] > 0:
        shown = "more is shown to be better"
    elif curve["rise_high"] < 0:
        shown = "more is shown to be worse"
    interval = _three(curve, "rise")
    return f"{text}, by {interval} ({percent(confidence)} interval over trainings): {shown}."


def _described(curve: Any) -> Iterator[str]:
    if curve["n_sizes"] < min(n for n in LEAST_SIZES.values() if n > 2):
        return
    if curve["family"] == JOINED:
        yield "None of the fitted curves agrees with the repeats, and nothing is predicted."
        return
    if curve["rise_low"] > 0 or curve["rise_high"] < 0 or curve["family"] == CONSTANT:
        yield FAMILIES[curve["family"]]
    if not pd.isna(curve["gain_low"]):
        yield f"Twice the largest would change it by {_three(curve, 'gain')}."
    if not pd.isna(curve["asymptote_low"]):
        bounds = f"{number(curve['asymptote_low'])} to {number(curve['asymptote_high'])}"
        yield f"Its limit would be {number(curve['asymptote'])} ({bounds})."
    elif curve["family"] == POWER:
        yield (
            f"Its limit is not told: that takes {ASYMPTOTE_SIZES} sizes over a factor of "
            f"{ASYMPTOTE_SPAN:g}, and repeats."
        )


def _three(curve: Any, what: str) -> str:
    low, high = signed(curve[f"{what}_low"]), signed(curve[f"{what}_high"])
    return f"{signed(curve[what])} ({low} to {high})"
