"""What decoders of masks lose out of domain: on another dataset, such as another lab's.

The same trained decoders are scored in both places. Draws of trainings are those of the dataset
that they were trained on, so that both scores of a training are drawn together; groups of the two
datasets are drawn apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from transferscope.compare.masks import PAIR, Drawn, OfDecoder, Weights
from transferscope.compare.tables import Store, matching, rounded, write_csv
from transferscope.config.channel_strategies import family_of
from transferscope.config.results import CompareSettings
from transferscope.probes.metrics import mean_of_defined
from transferscope.runtime.arrays import Floats
from transferscope.segmentation.table_names import DICE, PQ, SHIFT_TABLES, TESTED_ON
from transferscope.stores.parquet import read_parquet, write_parquet

STORE_COLUMNS = ["backbone", "channels"]
NAMED = ["dataset", TESTED_ON, "head"]
AT = ["metric", "fraction", "n_train_groups"]
SHIFT_COLUMNS = [
    *NAMED,
    *STORE_COLUMNS,
    *AT,
    "inside",
    "outside",
    "outside_low",
    "outside_high",
    "outside_floor",
    "loss",
    "loss_low",
    "loss_high",
    "n_groups",
    "n_trainings",
]
PAIR_COLUMNS = [
    *NAMED,
    *PAIR,
    *AT,
    "outside",
    "outside_low",
    "outside_high",
    "loss",
    "loss_low",
    "loss_high",
]


def remove_shifts(folder: Path) -> None:
    """Remove both tables, which an earlier run of the study may have written."""
    for name in SHIFT_TABLES:
        for suffix in (".parquet", ".csv"):
            (folder / f"{name}{suffix}").unlink(missing_ok=True)


def compare_shifts(
    scores: pd.DataFrame,
    images: pd.DataFrame,
    paths: Sequence[Path],
    settings: CompareSettings,
    folder: Path,
) -> None:
    """Write what each store loses out of domain, and pairs of stores, also as CSV.

    Parameters
    ----------
    scores, images
        Score tables of all stores, and scores of their test tiles, with the columns `STORE`.
    paths
        Tables of the scores of other datasets' tiles.
    settings
        Draws, coverage and seed.
    folder
        Output folder.
    """
    elsewhere = pd.concat([read_parquet(path, [TESTED_ON]) for path in paths], ignore_index=True)
    found = shifts(scores, images, elsewhere, settings)
    for name, table in zip(SHIFT_TABLES, found, strict=True):
        write_parquet(rounded(table), folder / f"{name}.parquet", {})
        write_csv(table, folder / f"{name}.csv")


def shifts(
    scores: pd.DataFrame, images: pd.DataFrame, elsewhere: pd.DataFrame, settings: CompareSettings
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return losses out of domain of all stores, and differences of pairs of stores.

    Parameters
    ----------
    scores
        Score tables of all stores.
    images, elsewhere
        Scores of test tiles, and of tiles of other datasets.
    settings
        Draws, coverage and seed.

    Notes
    -----
    A loss is the score inside minus that outside. Degrees of freedom are the fewer of the two.
    """
    images, elsewhere = (
        table.assign(channels=table["channels"].map(family_of)) for table in (images, elsewhere)
    )
    rows: tuple[list[Any], list[Any]] = [], []
    for (dataset, other, head), there in elsewhere.groupby(NAMED, sort=True):
        here = matching(images, dataset=dataset, head=head)
        of_decoder = matching(scores, dataset=dataset, head=head)
        shift = _Shift(str(dataset), str(other), str(head), here, there, of_decoder, settings)
        for metric in (DICE, PQ):
            if all(metric in table and table[metric].notna().any() for table in (here, there)):
                rows[0].extend(shift.of_stores(metric))
                rows[1].extend(shift.of_pairs(metric))
    return (
        pd.DataFrame(rows[0], columns=SHIFT_COLUMNS),
        pd.DataFrame(rows[1], columns=PAIR_COLUMNS),
    )


class _Shift:
    """One decoder, from one dataset to another."""

    def __init__(
        self,
        dataset: str,
        other: str,
        head: str,
        here: pd.DataFrame,
        there: pd.DataFrame,
        scores: pd.DataFrame,
        settings: CompareSettings,
    ) -> None:
        self.names = {"dataset": dataset, TESTED_ON: other, "head": head}
        self.settings, self.there_rows = settings, there
        self.here = OfDecoder(dataset, head, here, scores, scores, settings)
        self.there = OfDecoder(other, head, there, scores, scores, settings)
        self.there.trainings = self.here.trainings
        self.there.weights = Weights(self.there.weights.groups, self.here.weights.trainings)

    def of_stores(self, metric: str) -> Iterator[dict[str, Any]]:
        """Yield rows of the first table."""
        for store in self.there.stores:
            inside, outside = self._drawn(self._values(store, metric))
            rows = matching(self.there_rows, **store.columns)
            floors = rows.groupby(["class", "group"])[f"floor_{metric}"].mean()
            floor = float(mean_of_defined(floors.groupby("class").mean().to_numpy(dtype=float)))
            yield from (
                {
                    **self._at(store.columns, metric, number),
                    **_columns("outside", outside, number, self.settings, (0, 1)),
                    **_columns("loss", _minus(inside, outside), number, self.settings),
                    "inside": inside.draws[0, number],
                    "outside_floor": floor,
                    "n_groups": len(self.there.groups),
                    "n_trainings": len(self.here.trainings),
                }
                for number in range(len(self.here.fractions))
            )

    def of_pairs(self, metric: str) -> Iterator[dict[str, Any]]:
        """Yield rows of the second table: the first store minus the second."""
        for pair in combinations(self.there.stores, 2):
            if pair[0].channels != pair[1].channels:
                continue
            first, second = (self._values(store, metric) for store in pair)
            inside, outside = self._drawn((first[0] - second[0], first[1] - second[1]))
            sides = zip(("first", "second"), pair, strict=True)
            named = {f"{side}_{k}": v for side, store in sides for k, v in store.columns.items()}
            yield from (
                {
                    **self._at(named, metric, number),
                    **_columns("outside", outside, number, self.settings),
                    **_columns("loss", _minus(inside, outside), number, self.settings),
                }
                for number in range(len(self.here.fractions))
            )

    def _values(self, store: Store, metric: str) -> tuple[Floats, Floats]:
        """Return scores inside and outside, mean over classes, [F, C, G] each."""
        inside, outside = (
            mean_of_defined(place.of_groups(store, metric), axis=0)
            for place in (self.here, self.there)
        )
        return inside, outside

    def _drawn(self, values: tuple[Floats, Floats]) -> tuple[Drawn, Drawn]:
        return self.here.weights.drawn(values[0]), self.there.weights.drawn(values[1])

    def _at(self, named: dict[str, str], metric: str, number: int) -> dict[str, Any]:
        return {
            **self.names,
            **named,
            "metric": metric,
            "fraction": self.here.fractions[number],
            "n_train_groups": self.here.n_train_groups[number],
        }


def _minus(inside: Drawn, outside: Drawn) -> Drawn:
    return Drawn(inside.draws - outside.draws, np.minimum(inside.df, outside.df))


def _columns(
    name: str,
    drawn: Drawn,
    number: int,
    settings: CompareSettings,
    limits: tuple[float, float] | None = None,
) -> dict[str, float]:
    low, high = drawn.interval(settings.confidence)
    if limits is not None:
        low, high = np.clip((low, high), *limits)
    return {
        name: drawn.draws[0, number],
        f"{name}_low": low[number],
        f"{name}_high": high[number],
    }
