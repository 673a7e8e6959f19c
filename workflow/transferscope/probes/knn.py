"""k nearest neighbours: one search per fold and metric at the largest k, reused for smaller k.

Neighbours and votes equal those of `sklearn.neighbors.KNeighborsClassifier(algorithm="brute")`,
except that ties in distance go to the lower row. In a multi-label task, the votes for a class are
compared with a threshold from validation rows, unless the majority decides.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from transferscope.config.probes import KnnMetric, KnnSettings
from transferscope.probes.decisions import decide, most_likely
from transferscope.probes.device_neighbours import pool_on
from transferscope.probes.evaluation import (
    Division,
    OnValidation,
    ProbeData,
    ResultTables,
    Sink,
)
from transferscope.probes.exclusion import exclusion_codes, exclusion_warnings
from transferscope.probes.metrics import DEFAULT_THRESHOLD
from transferscope.probes.nearest import Neighbours, PoolOf, fewest_allowed, nearest
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
    validation
        Validation rows of the largest fraction, ascending, which contain those of the smaller ones;
        empty if no threshold is needed.
    codes
        A neighbour must not share the code of its query, int64 [N]; None: all are allowed.
    ks
        Possible numbers of neighbours of each division, ascending.
    """

    divisions: list[Division]
    train: Integers
    validation: Integers
    codes: Integers | None
    ks: list[list[int]]

    @classmethod
    def of(
        cls,
        divisions: list[Division],
        codes: Integers | None,
        ks: Sequence[int],
    ) -> _Search:
        whole = max(divisions, key=lambda division: division.fraction)
        # Fractions are nested: sorted by share, each is a prefix of the training rows.
        train = whole.train[np.argsort(whole.train_shares, kind="stable")]
        possible = []
        for division in divisions:
            allowed = fewest_allowed(division.test, division.train, codes)
            possible.append([k for k in ks if k <= allowed])
            if skipped := [k for k in ks if k > allowed]:
                _log_skipped(division, allowed, skipped)
        return cls(divisions, train, whole.validation, codes, possible)

    def neighbours(
        self,
        embeddings: Floats32,
        metric: KnnMetric,
        parts: Sequence[int] = (),
        pool_of: PoolOf | None = None,
    ) -> list[tuple[Neighbours, Neighbours]]:
        """Return the nearest training rows of validation and of test rows, for each division."""
        sizes = [len(division.train) for division in self.divisions]
        most = [max(ks, default=0) for ks in self.ks]
        queries = np.concatenate([self.validation, self.divisions[0].test])
        of_all = queries, self.train, sizes, most, self.codes
        found = nearest(embeddings, metric, *of_all, parts, pool_of)
        pairs = []
        for division, near in zip(self.divisions, found, strict=True):
            own = np.flatnonzero(np.isin(self.validation, division.validation))
            pairs.append((near.of(own), near.of(slice(len(self.validation), None))))
        return pairs


@dataclass(frozen=True)
class _Votes:
    """Votes of the k nearest for each class, [Q, C], and of all, [Q, 1]; k if all are equal."""

    k: int
    votes: Floats
    total: Floats | int

    @property
    def shares(self) -> Floats:
        return self.votes / self.total

    def of(self, queries: Bools) -> _Votes:
        """Return the votes for some of the queries."""
        total = self.total if isinstance(self.total, int) else self.total[queries]
        return _Votes(self.k, self.votes[queries], total)


def run_knn(
    data: ProbeData,
    settings: KnnSettings,
    sink: Sink | None = None,
    device: torch.device | None = None,
) -> ResultTables:
    """Classify every test row by its nearest training rows.

    Candidates are the training rows of the division's fraction, except those that `exclude` rules
    out. A k is skipped if a test row has fewer candidates. The division's validation rows are
    classified as well, from the same candidates. In a multi-label task with `decision: threshold`,
    their votes give the threshold of each class.

    Parameters
    ----------
    data
        Embeddings, labels and divisions.
    settings
        Numbers of neighbours, metrics, votes, exclusion, and decision.
    sink
        Receives the predictions in parts; None: they are kept.
    device
        Where torch searches, in float64; None: the processor does, by numpy.

    Raises
    ------
    UserError
        If `exclude` is `batch` and a batch is unknown.
    """
    results = ResultTables(data, sink)
    if not settings.k:
        return results
    codes = exclusion_codes(data.tiles, settings.exclude, data.identity["dataset"])
    for warning in exclusion_warnings(settings, {d.scheme for d in data.divisions}):
        logger.warning("%s", warning)
    folds = [_Search.of(each, codes, sorted(settings.k)) for each in _by_fold(data.divisions)]
    pool_of = None if device is None else pool_on(device)
    total = len(folds) * len(settings.metrics)
    with progress_bar(f"k-NN on {data.identity['backbone']}", total, "folds") as bar:
        for metric in settings.metrics:
            for search in folds:
                found = search.neighbours(data.embeddings, metric, data.parts, pool_of)
                _classify(data, search, found, metric, settings, results)
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
    found: Sequence[tuple[Neighbours, Neighbours]],
    metric: KnnMetric,
    settings: KnnSettings,
    results: ResultTables,
) -> None:
    """Classify the test rows of one fold at all fractions, votes and k, by their neighbours."""
    for division, (known, near), ks in zip(search.divisions, found, search.ks, strict=True):
        for kind in settings.votes:
            tuned = _count(data.tiles.matrix, known, ks, weighted=kind == "distance")
            asked = _count(data.tiles.matrix, near, ks, weighted=kind == "distance")
            for validation, test in zip(tuned, asked, strict=True):
                # A validation row with fewer than k candidates says nothing about k.
                usable = np.isfinite(known.distances[:, test.k - 1])
                rows, own = division.validation[usable], validation.of(usable)
                decided = _by_threshold if _has_thresholds(data, settings) else _by_majority
                tuning = replace(division, validation=rows)
                predicted, predicted_there = decided(data, tuning, own, test, settings)
                shares = test.shares.astype(np.float32)
                on_validation = OnValidation(rows, predicted_there, own.shares)
                head = knn_head(metric, kind)
                results.add(head, test.k, division, predicted, shares, on_validation)


def _has_thresholds(data: ProbeData, settings: KnnSettings) -> bool:
    return data.is_multi_label and settings.decision == "threshold"


def _by_majority(
    data: ProbeData, _division: Division, validation: _Votes, test: _Votes, _settings: KnnSettings
) -> tuple[Bools, Bools]:
    """Return the classes that most neighbours have, of test and validation rows, [Q, C]."""
    first, second = (majority(v.votes, v.total, data.is_multi_label) for v in (test, validation))
    return first, second


def _by_threshold(
    data: ProbeData, division: Division, validation: _Votes, test: _Votes, settings: KnnSettings
) -> tuple[Bools, Bools]:
    """Return the classes whose votes reach the threshold, of test and validation rows, [Q, C].

    Thresholds lie halfway between two shares, where another share may lie as well. Equal votes are
    therefore counted and not divided, so that rounding decides nothing.
    """
    if isinstance(test.total, int):
        half = test.total * DEFAULT_THRESHOLD
        found = decide(data, division, validation.votes, test.votes, settings, half)
    else:
        found = decide(data, division, validation.shares, test.shares, settings)
    return found[0], found[2].predicted


def _weights(distances: Floats) -> Floats:
    """Return 1 / distance of each neighbour, [Q, k].

    If a query has neighbours at distance zero, these get weight one and all others zero, as in
    scikit-learn.
    """
    same = distances == 0
    inverse = np.divide(1, distances, out=np.ones_like(distances), where=~same)
    return np.where(same.any(axis=1, keepdims=True), same, inverse)


def _count(
    matrix: Bools, near: Neighbours, ks: Sequence[int], *, weighted: bool
) -> Iterator[_Votes]:
    """Yield the votes of the k nearest for each k, with weights 1 / distance or equal ones."""
    weights = _weights(near.distances) if weighted else None
    votes = np.zeros((len(near.rows), matrix.shape[1]))
    total = np.zeros((len(near.rows), 1))
    done = 0
    for k in ks:
        for column in range(done, k):
            given = matrix[near.rows[:, column]]
            if weights is None:
                votes += given
            else:
                votes += given * weights[:, column, None]
                total += weights[:, column, None]
        done = k
        yield _Votes(k, votes.copy(), k if weights is None else total.copy())


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
    return most_likely(votes)
