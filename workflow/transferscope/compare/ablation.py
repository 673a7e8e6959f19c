"""What trained heads lose without a channel, and which channel carries a class.

Heads, test tiles and groups of the two sides of a loss are the same, so that losses are paired.
Those of the channels are one family, over all classes as one and of the single classes as another.
Whether the channel with the largest loss is ahead of all others is tested against the runner-up
alone: that is valid for whichever came out first (Hung and Fithian 2019, arXiv:1610.03944),
and corrected for the classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from transferscope.compare.contests import Rules, Side
from transferscope.compare.differences import FOUND, compare_pairs
from transferscope.compare.drawn_scores import ScorePaths
from transferscope.compare.tables import Head
from transferscope.compare.tally import CLASS_METRIC
from transferscope.compare.versions import Versions, read_versions
from transferscope.config.ablation import UNTOUCHED, Ablation
from transferscope.config.results import CompareSettings

# Without folds won: losses of classes are of all folds together.
RESULTS = [name for name in FOUND if name not in ("folds_won", "n_folds")]
NAMED = ["dataset", "head", "k", "backbone", "channels", "kind"]
LOSS_COLUMNS = [*NAMED, "metric", "class", "channel", *RESULTS]
CARRIER_COLUMNS = [
    *NAMED,
    "class",
    "channel",
    "loss",
    "loss_verdict",
    "runner_up",
    *RESULTS,
    "carries",
]


class Ablated(NamedTuple):
    """What is lost without channels.

    Attributes
    ----------
    ablation
        `LOSS_COLUMNS`: one row per store, head, kind, channel, and class; an empty class: the
        headline metric. `difference` is the loss: untouched minus ablated; `n_comparisons` counts
        the family.
    ablation_carriers
        `CARRIER_COLUMNS`: one row per store, head, kind and class. `channel` costs the class most;
        `difference` is what it costs more than the `runner_up`; it `carries` the class if loss and
        lead are shown.
    """

    ablation: pd.DataFrame
    ablation_carriers: pd.DataFrame


def compare_ablations(paths: ScorePaths, settings: CompareSettings, rules: Rules) -> Ablated:
    """Compare each store with itself without each of its channels.

    Parameters
    ----------
    paths
        Tables of the step `ablate`.
    settings
        Headline metric, number of draws, seed.
    rules
        What decides a difference.
    """
    losses: list[pd.DataFrame] = []
    carriers: list[pd.DataFrame] = []
    for versions in read_versions(paths, settings):
        of_store = _Store(versions)
        for head in versions.heads:
            for kind in of_store.kinds(head):
                lost, carried = of_store.compared(head, kind, rules)
                losses.append(lost)
                carriers.append(carried)
    return Ablated(_table(losses, LOSS_COLUMNS), _table(carriers, CARRIER_COLUMNS))


@dataclass(frozen=True)
class _Store:
    """The scores of one store with and without channels."""

    versions: Versions

    def _ablations(self, head: Head) -> list[Ablation]:
        named = self.versions.names(head)
        return [Ablation.named(name) for name in named if name != UNTOUCHED]

    def kinds(self, head: Head) -> list[str]:
        """Return the kinds of ablation that a head was tested with."""
        return sorted({ablation.kind for ablation in self._ablations(head)})

    def compared(self, head: Head, kind: str, rules: Rules) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the losses of a head, and which channel carries each class."""
        ablations = [each for each in self._ablations(head) if each.kind == kind]
        channels = [each.channel for each in ablations]
        whole = self.versions.sides(head, UNTOUCHED)
        without = [self.versions.sides(head, each.name) for each in ablations]
        parts = []
        for classes in ([""], self.versions.classes):
            rows = [(name, n) for name in classes for n in range(len(ablations))]
            pairs = [(whole[name], without[n][name]) for name, n in rows]
            found = compare_pairs(pairs, self.versions.n_groups, rules)
            names = [{"class": name, "channel": channels[n]} for name, n in rows]
            metric = self.versions.headline if classes == [""] else CLASS_METRIC
            parts.append(pd.DataFrame(names).join(found).assign(metric=metric))
        named = {**self.versions.columns, **head.columns, "kind": kind}
        losses = pd.concat(parts, ignore_index=True).assign(**named)
        carriers = self._carriers(losses, without, channels, rules).assign(**named)
        return losses.astype({"k": "Int64"}), carriers.astype({"k": "Int64"})

    def _carriers(
        self,
        losses: pd.DataFrame,
        without: Sequence[Mapping[str, Side]],
        channels: Sequence[str],
        rules: Rules,
    ) -> pd.DataFrame:
        rows: list[dict[str, Any]] = []
        pairs = []
        for name, own in losses[losses["class"] != ""].groupby("class", sort=False):
            known = own[np.isfinite(own["difference"])]
            if len(known) < 2:
                continue
            ranked = known.sort_values("difference", ascending=False, kind="stable")
            first, second = (channels.index(c) for c in ranked["channel"].iloc[:2])
            # What is left without the runner-up, minus what is left without the first.
            pairs.append((without[second][str(name)], without[first][str(name)]))
            rows.append(
                {
                    "class": name,
                    "channel": channels[first],
                    "loss": ranked["difference"].iloc[0],
                    "loss_verdict": ranked["verdict"].iloc[0],
                    "runner_up": channels[second],
                }
            )
        if not rows:
            return pd.DataFrame(columns=CARRIER_COLUMNS)
        leads = compare_pairs(pairs, self.versions.n_groups, rules)
        table = pd.DataFrame(rows).join(leads)
        shown = (table["loss_verdict"] == "better") & (table["verdict"] == "better")
        return table.assign(carries=shown)


def _table(parts: Sequence[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [part for part in parts if not part.empty]
    if not filled:
        return pd.DataFrame(columns=columns)
    return pd.concat(filled, ignore_index=True)[columns]
