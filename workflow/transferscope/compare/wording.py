"""Formatting of numbers and names in sentences."""

from __future__ import annotations

import math
from typing import Any

from transferscope.compare.tables import Store
from transferscope.config.channel_strategies import single_channel
from transferscope.config.schemes import is_column

METRIC_NAMES = {
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "class_f1": "F1",
    "macro_average_precision": "macro average precision",
    "accuracy": "accuracy",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
}
# Before the name of the source, as a measure of known pairs.
RECALL = "recall of "
STRATEGY_PHRASES = {
    "map-random": "placing channels at random",
    "replicate": "replicating each channel",
    "mean": "averaging over the replicated channels",
    "adapt": "adapting the input weights",
}
SCHEME_NAMES = {
    "group": "Split by group (no group on both sides: the estimate for new groups)",
    "image": "Split by image (groups on both sides: optimistic)",
}


def quoted(name: object) -> str:
    """Return a name as Markdown code, so that none of its characters is markup."""
    text = str(name).replace("\n", " ")
    fence = "``" if "`" in text else "`"
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def scheme_name(scheme: str) -> str:
    """Return a split scheme as it is named after "by": columns of the sheet are quoted.

    Examples
    --------
    >>> scheme_name("group"), scheme_name("plate")
    ('group', '`plate`')
    """
    return quoted(scheme) if is_column(scheme) else scheme


def scheme_title(scheme: str) -> str:
    """Return what a split scheme keeps apart."""
    named = f"Split by {quoted(scheme)} (neither its values nor groups on both sides)"
    return SCHEME_NAMES.get(scheme, named)


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


def verdict(row: Any, margin: float) -> str:
    """Say what is shown of a difference."""
    if row["verdict"] == "equal":
        return f"practically equal (shown to differ by less than {margin:g})"
    n = int(row["n_comparisons"])
    corrected = f", after correction for {n} comparisons" if n > 1 else ""
    return {
        "better": f"shown to be better{corrected}",
        "worse": f"shown to be worse{corrected}",
        "undecided": f"undecided{corrected}",
    }[row["verdict"]]


def count(n: int, noun: str) -> str:
    """Return a number with its noun.

    Examples
    --------
    >>> count(1, "store"), count(3, "store"), count(2, "class")
    ('1 store', '3 stores', '2 classes')
    """
    plural = "es" if noun.endswith("s") else "s"
    return f"{n:,} {noun}{'' if n == 1 else plural}"


def about(n: float) -> str:
    """Return a number of groups to two digits.

    Examples
    --------
    >>> about(4428), about(97), about(7)
    ('4,400', '97', '7')
    """
    return f"{round(float(f'{n:.2g}')):,}"


def operations(n: float) -> str:
    """Return a number of floating-point operations per tile.

    Examples
    --------
    >>> operations(0), operations(7.8e8), operations(3.52e10)
    ('no network', '0.78 GFLOP per tile', '35 GFLOP per tile')
    """
    return f"{n / 1e9:.2g} GFLOP per tile" if n else "no network"


def times(n: int) -> str:
    """Return how often.

    Examples
    --------
    >>> times(1), times(2), times(3)
    ('once', 'twice', '3 times')
    """
    return {1: "once", 2: "twice"}.get(n, f"{n} times")
