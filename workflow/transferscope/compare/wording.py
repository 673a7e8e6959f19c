"""Formatting of numbers and names in sentences."""

from __future__ import annotations

import math
from typing import Any

from transferscope.compare.tables import Store
from transferscope.config.channel_strategies import single_channel

METRIC_NAMES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "class_f1": "F1",
    "macro_average_precision": "macro average precision",
    "accuracy": "accuracy",
}
STRATEGY_PHRASES = {
    "map-random": "placing them at random",
    "replicate": "replicating each channel",
    "mean": "averaging over the replicated channels",
    "adapt": "adapting the input weights",
}
SCHEME_NAMES = {
    "group": "Split by group (no group on both sides: the estimate for new groups)",
    "image": "Split by image (groups on both sides, as in older papers)",
}


def quoted(name: object) -> str:
    """Return a name as Markdown code, so that none of its characters is markup."""
    text = str(name).replace("\n", " ")
    fence = "``" if "`" in text else "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def store_name(row: Any) -> str:
    """Return the quoted name of the store of a row."""
    return quoted(Store(str(row["backbone"]), str(row["channels"])))


def strategy_phrase(strategy: str) -> str:
    """Describe a channel strategy, as a phrase after "against".

    Examples
    --------
    >>> strategy_phrase("only-protein")
    'the protein channel alone'
    """
    channel = single_channel(strategy)
    if channel is not None:
        return f"the {channel} channel alone"
    return STRATEGY_PHRASES.get(strategy, quoted(strategy))


def capitalised(text: str) -> str:
    """Return a text with its first letter in upper case, and all others unchanged."""
    return text[:1].upper() + text[1:]


def number(value: float) -> str:
    """Return a score with three decimals."""
    return "undefined" if math.isnan(value) else f"{value + 0.0:.3f}"


def signed(value: float) -> str:
    """Return a difference with its sign and three decimals."""
    if math.isnan(value):
        return "undefined"
    text = f"{value:+.3f}"
    return "0.000" if float(text) == 0 else text.replace("-", "−")


def percent(share: float) -> str:
    """Return a share as a percentage, with decimals only if needed."""
    return f"{100 * share:g} %"


def estimate(row: Any, confidence: float) -> str:
    """Return a score with its interval."""
    if math.isnan(row["ci_low"]):
        return f"{number(row['mean'])} (no interval: there are no predictions)"
    bounds = f"{number(row['ci_low'])} to {number(row['ci_high'])}"
    return f"{number(row['mean'])} ({percent(confidence)} interval {bounds})"


def gap(row: Any) -> str:
    """Return a difference with its interval."""
    return f"{signed(row['difference'])} ({signed(row['ci_low'])} to {signed(row['ci_high'])})"


def verdict(row: Any, n_comparisons: int) -> str:
    """Describe whether a difference is significant."""
    if row["significant"]:
        corrected = f", also after Holm's correction for {n_comparisons} comparisons"
        return f"the interval excludes zero{corrected if n_comparisons > 1 else ''}"
    if row["ci_low"] > 0 or row["ci_high"] < 0:
        if n_comparisons > 1:
            return (
                "the interval excludes zero, but not after Holm's correction for "
                f"{n_comparisons} comparisons, so this is a hint and no proof"
            )
        return "the interval excludes zero, but the t test does not: a hint and no proof"
    return "the interval includes zero, so no difference is shown"


def count(n: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "store"), count(3, "store")
    ('1 store', '3 stores')
    """
    return f"{n} {noun}{'' if n == 1 else 's'}"
