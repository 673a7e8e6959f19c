"""The results of one dataset that sentences are made from, with the head that was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from transferscope.compare.leakage import training_notes
from transferscope.compare.selection import at_full_fraction
from transferscope.compare.tables import Head, head_of, matching
from transferscope.compare.wording import verdict
from transferscope.config.jobs import Comparison
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import FLOOR


@dataclass(frozen=True)
class LookedAt:
    """What was found out about the images of a dataset.

    Parameters
    ----------
    doubts
        What is doubtful about their pixels, in sentences.
    one_image_per_group
        Whether the split by image is one by group, too.
    """

    doubts: Sequence[str] = ()
    one_image_per_group: bool = False


@dataclass(frozen=True)
class Evidence:
    """Results of one dataset, with the chosen head.

    Parameters
    ----------
    dataset
        Its name.
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
    nuisances
        Representations that know but numbers of cells and quality of images.
    seen
        What backbones saw of the dataset in training, in sentences.
    looked
        What was found out about its images before any backbone saw them.
    """

    dataset: str
    curve: pd.DataFrame
    floor: pd.DataFrame
    gaps: pd.DataFrame
    leaders: pd.DataFrame
    chosen: pd.DataFrame
    classes: pd.DataFrame
    tuned: pd.DataFrame
    settings: CompareSettings
    controls: Sequence[str]
    nuisances: Sequence[str]
    seen: Sequence[str]
    looked: LookedAt

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
    def is_repetition(self) -> bool:
        """Whether this split is one by group, too, and says nothing new."""
        return self.is_secondary and self.all.looked.one_image_per_group

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
    def candidates(self) -> pd.DataFrame:
        """The stores that may be the best."""
        return self.leaders[self.leaders["may_be_best"].astype(bool)]

    @property
    def leads_alone(self) -> bool:
        """Whether only the highest store may be the best."""
        return len(self.candidates) == 1 and len(of_store(self.candidates, self.best)) > 0

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
        if self.leads_alone and row["verdict"] == "undecided":
            # Comparisons with the best show more than those of all pairs.
            return "the other is not better"
        return self.verdict(row)


def evidence_of(
    dataset: str,
    summary: pd.DataFrame,
    tables: Mapping[str, pd.DataFrame],
    settings: CompareSettings,
    looked: LookedAt | None = None,
) -> Evidence | None:
    """Return the results of one dataset; None: only the floor was run.

    Parameters
    ----------
    dataset
        Its name.
    summary
        From `summarise`.
    tables
        As `compare` writes them.
    settings
        Metric and coverage.
    looked
        What was found out about its images, if anything.
    """
    best = matching(tables["chosen"], dataset=dataset)
    if best.empty:
        return None
    head = head_of(best.iloc[0])
    rows = matching(summary, metric=settings.metric, dataset=dataset)
    return Evidence(
        dataset=dataset,
        curve=matching(rows, head),
        floor=matching(at_full_fraction(rows, settings.metric), Head(FLOOR)),
        gaps=matching(tables["differences"], head, dataset=dataset),
        leaders=matching(tables["leaderboard"], head, dataset=dataset),
        chosen=best,
        classes=matching(tables["per_class"], head, dataset=dataset),
        tuned=matching(tables["finetuning"], dataset=dataset),
        settings=settings,
        controls=settings.controls if isinstance(settings, Comparison) else [],
        nuisances=settings.nuisances if isinstance(settings, Comparison) else [],
        seen=training_notes(summary, dataset, settings),
        looked=looked or LookedAt(),
    )


def of_store(rows: pd.DataFrame, store: Any, side: str = "", prefix: str = "") -> pd.DataFrame:
    """Return the rows whose first, second or only side is a store, or that side of a row."""
    keys = ("backbone", "channels")
    return matching(rows, **{f"{side}{key}": store[f"{prefix}{key}"] for key in keys})
