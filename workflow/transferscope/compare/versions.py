"""Scores of one store in several versions, of tiles or of heads, that share folds and groups.

A version is named by the column `scheme`: untouched tiles and tiles that lack a channel, heads to
which channels count alike and weighted ones, or joined stores and their parts. Draws of groups are
those of all versions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from transferscope.compare.bootstrap import draw_weights
from transferscope.compare.contests import Side
from transferscope.compare.drawn_scores import ScorePaths, identify
from transferscope.compare.halves import HalfScores, read_halves
from transferscope.compare.tables import Head, Store, read_scores
from transferscope.compare.tally import CLASS_METRIC, PLAIN_METRICS, Tally, groups_of, tally
from transferscope.config.results import CompareSettings
from transferscope.probes.score_table import FLOOR
from transferscope.runtime.progress import progress_bar


@dataclass(frozen=True)
class Versions:
    """The scores of one store in all versions.

    Parameters
    ----------
    dataset, store
        Which store.
    counted
        Drawn counts of its predictions.
    halves
        Scores in halves of the groups.
    n_groups
        How many groups were drawn.
    """

    dataset: str
    store: Store
    counted: Tally
    halves: HalfScores
    n_groups: int

    @property
    def columns(self) -> dict[str, str]:
        """The columns that identify the store."""
        return {"dataset": self.dataset, **self.store.columns}

    @property
    def classes(self) -> list[str]:
        """All classes of the store's dataset."""
        return list(self.counted.classes)

    @property
    def headline(self) -> str:
        """The headline metric."""
        return self.counted.headline

    @property
    def heads(self) -> list[Head]:
        """All heads but the floor."""
        return sorted({head for head, _, _ in self.counted.sums if head.kind != FLOOR})

    def names(self, head: Head) -> list[str]:
        """Return the versions that a head was tested in."""
        return sorted({version for of_head, version, _ in self.counted.sums if of_head == head})

    def sides(self, head: Head, version: str) -> dict[str, Side]:
        """Return the score of each class in a version; empty: of all classes."""
        fraction = self.counted.full_fraction
        draws = self.counted.draws(head, version, fraction)
        found = {}
        for name, metric, column in self._metrics():
            key = (self.dataset, self.store, head, version, fraction, metric, name)
            [halved] = self.halves.of([key])
            found[name] = Side(self.store, draws[:, column], {}, halved)
        return found

    def _metrics(self) -> Iterator[tuple[str, str, int]]:
        """Yield class, metric and column of the draws."""
        yield "", self.headline, PLAIN_METRICS.index(self.headline)
        for number, name in enumerate(self.classes):
            yield name, CLASS_METRIC, len(PLAIN_METRICS) + number


def read_versions(paths: ScorePaths, settings: CompareSettings) -> Iterator[Versions]:
    """Yield the versions of each store, with the same draws for all stores of a dataset.

    Parameters
    ----------
    paths
        Tables of all stores.
    settings
        Headline metric, number of draws, seed.
    """
    scores, halves = read_scores(paths.scores), read_halves(paths.halves)
    with_precision = bool((scores["metric"] == "macro_average_precision").any())
    named = identify(paths.scores, paths.predictions)
    fraction = float(scores["fraction"].max())
    with progress_bar("Drawing groups", sum(map(len, named.values())), "tables") as bar:
        for dataset, tables in sorted(named.items()):
            groups = sorted({name for t in tables for path in t.paths for name in groups_of(path)})
            weights = draw_weights(len(groups), settings.bootstrap, settings.seed, dataset)
            for table in tables:
                counted = tally(table.paths, groups, weights, settings, fraction, with_precision)
                yield Versions(dataset, table.store, counted, halves, len(groups))
                bar.update()
