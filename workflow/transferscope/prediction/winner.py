"""Which store and head of a study label new tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from transferscope.compare.selection import choose
from transferscope.config.probed import Probed
from transferscope.errors import Problem, UserError, suggest, user_error

RUN_FIRST = "Run the study to its end first."


@dataclass(frozen=True)
class Winner:
    """A store, and the kind of head on it.

    Parameters
    ----------
    probed
        The store.
    kind
        Kind of the head.
    scheme
        The split scheme in which it is highest.
    n_stores
        Stores that it was compared with, itself included.
    """

    probed: Probed
    kind: str
    scheme: str
    n_stores: int


def winner(
    summary: Path,
    stores: Sequence[Probed],
    dataset: str,
    kinds: Sequence[str],
    metric: str,
    backbone: str | None = None,
    channels: str | None = None,
) -> Winner:
    """Return the highest store of a dataset, with the head that the validation tiles choose.

    Parameters
    ----------
    summary
        The study's summary.csv.
    stores
        All that the study evaluates.
    dataset
        Name of the dataset.
    kinds
        Kinds of heads that can be kept: k-NN has none.
    metric
        The headline metric.
    backbone, channels
        Of the store; None: the highest decides.

    Raises
    ------
    UserError
        If the study has no such store, or no scores of it.
    """
    if not kinds:
        fix = "Add `heads.kinds: [logreg]` to the study and run it again."
        raise UserError(Problem("heads.kinds", "the study trains no heads", fix))
    own = [store for store in stores if store.dataset == dataset]
    for word, option, known in (
        (backbone, "--backbone", [store.representation for store in own]),
        (channels, "--channels", [store.channels for store in own]),
    ):
        if word is not None and word not in known:
            fix = suggest(word, sorted(set(known)))
            raise UserError(Problem(option, f'the study has no store of "{word}"', fix))
    if not summary.is_file():
        raise user_error(summary, "does not exist", RUN_FIRST)
    table = pd.read_csv(summary, keep_default_na=True, dtype={"k": "Int64"})
    rows = table[(table["dataset"] == dataset) & table["head"].isin(list(kinds))]
    named = {(store.representation, store.channels): store for store in own}
    if backbone is not None:
        named = {key: store for key, store in named.items() if key[0] == backbone}
    if channels is not None:
        named = {key: store for key, store in named.items() if key[1] == channels}
    keys = list(zip(rows["backbone"], rows["channels"], strict=True))
    rows = rows[[key in named for key in keys]]
    found = choose(rows, metric)
    if found.empty:
        raise user_error(summary, f"has no {metric} of dataset {dataset} with a head", RUN_FIRST)
    by_group = found[found["scheme"] == "group"]
    best = (found if by_group.empty else by_group).iloc[0]
    return Winner(
        named[best["backbone"], best["channels"]],
        str(best["head"]),
        str(best["scheme"]),
        int(best["n_stores"]),
    )
