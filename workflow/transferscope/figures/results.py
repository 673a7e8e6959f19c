"""What the figures show: the tables of a comparison, and the questions that figures ask."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from transferscope.compare.leakage import training_notes
from transferscope.compare.tables import REMAKE, Head, Store, head_of, matching, read_summary
from transferscope.compare.wording import METRIC_NAMES, RECALL, capitalised, percent
from transferscope.config.schemes import (
    groups_per_class,
    scheme_order,
    with_all_groups,
    with_groups,
)
from transferscope.errors import Problem, UserError
from transferscope.figures.style import SCHEME_NOTES
from transferscope.probes.score_table import FLOOR


@dataclass(frozen=True)
class Results:
    """The tables of a comparison.

    Parameters
    ----------
    summary, chosen, leaderboard, differences, confusion, per_class, finetuning
        As `compare` writes them.
    ladder, groups_per_class, grid_cells, grid_curves, grid_bands, grid_surfaces, layers, families,
    transfer, transfer_costs, ablation, ablation_carriers
        The same; empty where the study has none.
    """

    summary: pd.DataFrame
    chosen: pd.DataFrame
    leaderboard: pd.DataFrame
    differences: pd.DataFrame
    confusion: pd.DataFrame
    per_class: pd.DataFrame
    finetuning: pd.DataFrame
    ladder: pd.DataFrame = field(default_factory=pd.DataFrame)
    groups_per_class: pd.DataFrame = field(default_factory=pd.DataFrame)
    grid_cells: pd.DataFrame = field(default_factory=pd.DataFrame)
    grid_curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    grid_bands: pd.DataFrame = field(default_factory=pd.DataFrame)
    grid_surfaces: pd.DataFrame = field(default_factory=pd.DataFrame)
    layers: pd.DataFrame = field(default_factory=pd.DataFrame)
    families: pd.DataFrame = field(default_factory=pd.DataFrame)
    transfer: pd.DataFrame = field(default_factory=pd.DataFrame)
    transfer_costs: pd.DataFrame = field(default_factory=pd.DataFrame)
    ablation: pd.DataFrame = field(default_factory=pd.DataFrame)
    ablation_carriers: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def read(cls, summary: Path, folder: Path, further: Collection[str] = ()) -> Results:
        """Read the tables that `compare` wrote.

        Parameters
        ----------
        summary, folder
            `summary.csv` and the folder of the other tables.
        further
            Which to read of those that not every study has.

        Raises
        ------
        UserError
            Naming every table that cannot be read.
        """
        tables, problems = {}, []
        for table in fields(cls)[1:]:
            path = folder / f"{table.name}.parquet"
            if table.default_factory is pd.DataFrame and table.name not in further:
                continue
            try:
                tables[table.name] = pd.read_parquet(path)
            except (OSError, pa.ArrowException) as error:
                problems.append(Problem(str(path), f"cannot be read: {error}", REMAKE))
        if problems:
            raise UserError(problems)
        return cls(read_summary(summary), **tables)

    @property
    def datasets(self) -> list[str]:
        """Datasets on which more than the floor was run."""
        return sorted(self.chosen["dataset"].unique())

    @property
    def metric(self) -> str:
        """The headline metric."""
        return str(self.chosen["metric"].iloc[0])

    @property
    def metric_name(self) -> str:
        """The headline metric, as it stands on an axis."""
        return capitalised(METRIC_NAMES.get(self.metric, self.metric))

    def measured(self, measure: str) -> str:
        """Return what is measured of a grid: the headline metric of a head, or a recall."""
        if measure.startswith(RECALL):
            return capitalised(measure)
        return f"{self.metric_name}, {measure}"

    @property
    def confidence(self) -> str:
        """Coverage of the intervals, such as "95 %"."""
        return percent(float(self.chosen["confidence"].iloc[0]))

    def schemes(self, dataset: str) -> list[str]:
        """Split schemes of a dataset, by group first."""
        return sorted(matching(self.chosen, dataset=dataset)["scheme"], key=scheme_order)

    def all_schemes(self) -> list[str]:
        """Split schemes of any dataset, by group first."""
        return sorted(self.chosen["scheme"].unique(), key=scheme_order)

    def head(self, dataset: str) -> Head:
        """Return the head that stands for all stores of a dataset."""
        return head_of(matching(self.chosen, dataset=dataset).iloc[0])

    def curve(self, dataset: str, scheme: str, head: Head | None = None) -> pd.DataFrame:
        """Return the headline metric of a head (None: the chosen one) at all fractions."""
        rows = matching(
            self.summary,
            head or self.head(dataset),
            metric=self.metric,
            dataset=dataset,
            scheme=scheme,
        )
        return with_labels(rows)

    def few_groups(self, dataset: str, scheme: str, head: Head | None = None) -> pd.DataFrame:
        """Return the same with few groups of each class, `groups_per_class`."""
        counts = self.summary["scheme"].map(groups_per_class)
        counts = counts[self.summary["scheme"].map(with_all_groups) == scheme]
        known = sorted({int(k) for k in counts} - {0})
        curves = [self.curve(dataset, with_groups(scheme, k), head) for k in known]
        return pd.concat(
            [curve.assign(groups_per_class=k) for k, curve in zip(known, curves, strict=True)]
        )

    def full(self, dataset: str, scheme: str, head: Head | None = None) -> pd.DataFrame:
        """Return the same at the full fraction, the best store first."""
        rows = self.curve(dataset, scheme, head)
        rows = rows[rows["fraction"] == rows["fraction"].max()]
        # Stores that could be tested on some folds only come last.
        order = ["n_folds", "mean", "store"]
        ranked: pd.DataFrame = rows.sort_values(
            order, ascending=[False, False, True], kind="stable"
        )
        return ranked.reset_index(drop=True)

    def floor(self, dataset: str, scheme: str) -> float:
        """Return the score of the floor at the full fraction; NaN where it was not run."""
        return float(self.full(dataset, scheme, Head(FLOOR))["mean"].mean())

    def has_floor(self, dataset: str) -> bool:
        """Tell whether the floor was run on a dataset, with any split scheme."""
        return not all(np.isnan(self.floor(dataset, s)) for s in self.all_schemes())

    def footnote(self, what: str, *, head: bool = True, first_scheme_only: bool = False) -> str:
        """Say what is shown: heads, folds, groups, intervals, splits, and what training saw."""
        parts = [what]
        if head:
            heads = {dataset: str(self.head(dataset)) for dataset in self.datasets}
            named = set(heads.values())
            if len(named) > 1:
                named = {"; ".join(f"{dataset}: {name}" for dataset, name in heads.items())}
            parts.append(f"Head: {named.pop()}.")
        parts.append(
            f"Intervals: {self.confidence} over groups, for training and for testing; {self._n()}."
        )
        firsts = {self.schemes(dataset)[0] for dataset in self.datasets}
        shown = firsts if first_scheme_only else self.all_schemes()
        if notes := "; ".join(SCHEME_NOTES[s] for s in sorted(shown) if s in SCHEME_NOTES):
            parts.append(f"{capitalised(notes)}.")
        for dataset in self.datasets:
            parts += training_notes(self.summary, dataset)
        return " ".join(parts)

    def _n(self) -> str:
        """Return numbers of groups and of test folds of each dataset."""
        texts = []
        for dataset in self.datasets:
            counts = [self.full(dataset, s) for s in self.schemes(dataset)]
            groups = max((t["n_groups"].max() for t in counts), default=pd.NA)
            folds = "/".join(dict.fromkeys(str(int(t["n_folds"].max())) for t in counts))
            known = "" if pd.isna(groups) else f"{int(groups):,} groups, "
            name = f"{dataset}: " if len(self.datasets) > 1 else ""
            texts.append(f"{name}n = {known}{folds} test folds (folds x repeats)")
        return "; ".join(texts)


def with_labels(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the name of each row's store."""
    pairs = zip(rows["backbone"], rows["channels"], strict=True)
    return rows.assign(store=[str(Store(*pair)) for pair in pairs])


def errors_of(rows: Any) -> list[Any]:
    """Return the distances from each score down and up to the bounds of its interval."""
    below = (rows["mean"] - rows["ci_low"]).clip(lower=0).fillna(0)
    above = (rows["ci_high"] - rows["mean"]).clip(lower=0).fillna(0)
    return [below.to_numpy(float), above.to_numpy(float)]
