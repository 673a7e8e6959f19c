"""k nearest neighbours: one search per fold and metric at the largest k, reused for smaller k.

Results equal `sklearn.neighbors.KNeighborsClassifier(algorithm="brute")`, except that ties in
distance go to the lower row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from transferscope.config.probes import KnnMetric, KnnSettings, KnnVotes
from transferscope.probes.evaluation import Division, ProbeData, ResultTables, Sink
from transferscope.probes.exclusion import exclusion_codes
from transferscope.probes.nearest import Neighbours, fewest_allowed, nearest
from transferscope.probes.score_table import knn_head
from transferscope.runtime.arrays import Bools, Floats, Floats32, Integers
from transferscope.runtime.progress import progress_bar

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Search:
    """One fold: its fractions, and the possible numbers of neighbours of each.

    Parameters
    ----------
    divisions
        All fractions of one scheme, seed and fold.
    train
        Training rows of the largest fraction; smaller fractions are prefixes.
    codes
        A neighbour must not share the code of its query, int64 [N]; None: all are allowed.
    ks
        Possible numbers of neighbours of each division, ascending.
    """

    divisions: list[Division]
    train: Integers
    codes: Integers | None
    ks: list[list[int]]

    @classmethod
    def of(cls, divisions: list[Division], codes: Integers | None, ks: Sequence[int]) -> _Search:
        whole = max(divisions, key=lambda division: division.fraction)
        # Fractions are nested: sorted by share, each is a prefix of the training rows.
        train = whole.train[np.argsort(whole.train_shares, kind="stable")]
        possible = []
        for division in divisions:
            allowed = fewest_allowed(division.test, division.train, codes)
            possible.append([k for k in ks if k <= allowed])
            if skipped := [k for k in ks if k > allowed]:
                _log_skipped(division, allowed, skipped)
        return cls(divisions, train, codes, possible)

    def neighbours(self, embeddings: Floats32, metric: KnnMetric) -> list[Neighbours]:
        """Return the nearest training rows of the test rows, for each division."""
        sizes = [len(division.train) for division in self.divisions]
        most = [max(ks, default=0) for ks in self.ks]
        test = self.divisions[0].test
        return nearest(embeddings, metric, test, self.train, sizes, most, self.codes)


def run_knn(data: ProbeData, settings: KnnSettings, sink: Sink | None = None) -> ResultTables:
    """Classify every test row by its nearest training rows.

    Candidates are the training rows of the division's fraction, except those that `exclude` rules
    out; validation rows are not used. A k is skipped if a test row has fewer candidates.

    Parameters
    ----------
    data
        Embeddings, labels and divisions.
    settings
        Numbers of neighbours, metrics, votes, and exclusion.
    sink
        Receives the predictions in parts; None: they are kept.

    Raises
    ------
    UserError
        If `exclude` is `batch` and a batch is unknown.
    """
    results = ResultTables(data, sink)
    if not settings.k:
        return results
    codes = exclusion_codes(data.tiles, settings.exclude, data.identity["dataset"])
    folds = [_Search.of(each, codes, sorted(settings.k)) for each in _by_fold(data.divisions)]
    total = len(folds) * len(settings.metrics)
    with progress_bar(f"k-NN on {data.identity['backbone']}", total, "folds") as bar:
        for metric in settings.metrics:
            for search in folds:
                _classify(data, search, metric, settings.votes, results)
                bar.update()
    return results


def _by_fold(divisions: Sequence[Division]) -> list[list[Division]]:
    """Group the fractions of each scheme, seed and fold."""
    folds: dict[tuple[object, ...], list[Division]] = {}
    for division in divisions:
        key = (division.half, division.scheme, division.seed, division.fold)
        folds.setdefault(key, []).append(division)
    return list(folds.values())


def _log_skipped(division: Division, allowed: int, skipped: Sequence[int]) -> None:
    logger.info(
        "%s, seed %d, fold %d, fraction %g: only %d training tiles to choose from, so no k of %s",
        division.scheme,
        division.seed,
        division.fold,
        division.fraction,
        allowed,
        ", ".join(map(str, skipped)),
    )


def _classify(
    data: ProbeData,
    search: _Search,
    metric: KnnMetric,
    kinds: Sequence[KnnVotes],
    results: ResultTables,
) -> None:
    """Classify the test rows of one fold at all fractions, votes and k."""
    found = search.neighbours(data.embeddings, metric)
    for division, near, ks in zip(search.divisions, found, search.ks, strict=True):
        for kind in kinds:
            weights = _weights(near.distances) if kind == "distance" else None
            for k, votes, total in _count(data.tiles.matrix, near.rows, ks, weights):
                predicted = majority(votes, total, data.is_multi_label)
                shares = (votes / total).astype(np.float32)
                results.add(knn_head(metric, kind), k, division, predicted, shares)


def _weights(distances: Floats) -> Floats:
    """Return 1 / distance of each neighbour, [Q, k].

    If a query has neighbours at distance zero, these get weight one and all others zero, as in
    scikit-learn.
    """
    same = distances == 0
    inverse = np.divide(1, distances, out=np.ones_like(distances), where=~same)
    return np.where(same.any(axis=1, keepdims=True), same, inverse)


def _count(
    matrix: Bools,
    neighbours: Integers,
    ks: Sequence[int],
    weights: Floats | None,
) -> Iterator[tuple[int, Floats, Floats | int]]:
    """Yield k, the votes of the k nearest per class [Q, C], and their total [Q, 1].

    Without weights the total is k.
    """
    votes = np.zeros((len(neighbours), matrix.shape[1]))
    total = np.zeros((len(neighbours), 1))
    done = 0
    for k in ks:
        for column in range(done, k):
            given = matrix[neighbours[:, column]]
            if weights is None:
                votes += given
            else:
                votes += given * weights[:, column, None]
                total += weights[:, column, None]
        done = k
        yield k, votes.copy(), k if weights is None else total.copy()


def majority(votes: Floats, total: Floats | int, is_multi_label: bool) -> Bools:
    """Return the majority vote, bool [Q, C]; a tie goes to absence, or to the first class.

    Parameters
    ----------
    votes
        Votes for each class, [Q, C].
    total
        Votes of all neighbours, [Q, 1], or one number.
    is_multi_label
        Whether to decide on each class separately; otherwise one is chosen.
    """
    if is_multi_label:
        return np.asarray(2 * votes > total)
    winner = votes.argmax(axis=1)
    return np.asarray(winner[:, None] == np.arange(votes.shape[1]))
