"""Nearest neighbours: one exact search at the largest k among the candidates that are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import normalize
from sklearn.utils import gen_batches

from transferscope.config.probes import KnnMetric
from transferscope.runtime.arrays import Floats, Floats32, Integers

# Distances that are held at a time.
BLOCK_BYTES = 64 * 2**20
# Distances are rounded, so that equal embeddings tie whatever the order of a sum was.
COSINE_DECIMALS = 12
# Veltkamp's factor: keeps 40 of the 53 bits of a float64.
SPLITTER = float(2**13 + 1)


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of each query, the nearest first.

    Parameters
    ----------
    rows
        Row numbers, [Q, k].
    distances
        As scikit-learn defines them, [Q, k]; exactly zero between equal embeddings.
    """

    rows: Integers
    distances: Floats


def nearest(
    embeddings: Floats32,
    metric: KnnMetric,
    queries: Integers,
    candidates: Integers,
    sizes: Sequence[int],
    ks: Sequence[int],
    codes: Integers | None = None,
) -> list[Neighbours]:
    """Return the nearest rows of each query, among several prefixes of the candidates.

    Parameters
    ----------
    embeddings
        [N, D].
    metric
        `cosine`, where a row of zeros is at distance 1 from all, or `euclidean`.
    queries, candidates
        Row numbers, [Q] and [M].
    sizes, ks
        For each search: how many candidates it sees, and the number of neighbours; none above
        `fewest_allowed`.
    codes
        [N]; a candidate with the code of the query is no neighbour of it. None: all are allowed.

    Returns
    -------
    list of Neighbours
        One per search; ties go to the lower row number.
    """
    if not any(ks) or not len(queries):
        shapes = [(len(queries), k) for k in ks]
        return [Neighbours(np.empty(shape, np.int64), np.empty(shape)) for shape in shapes]
    points = _Points.of(embeddings, metric, candidates)
    pool = points.read(candidates)
    found: list[list[Neighbours]] = [[] for _ in ks]
    for block in gen_batches(len(queries), max(1, BLOCK_BYTES // (8 * len(candidates)))):
        own = queries[block]
        distances = points.distances(points.read(own), pool)
        if codes is not None:
            distances[codes[own][:, None] == codes[candidates]] = np.inf
        for blocks, size, k in zip(found, sizes, ks, strict=True):
            blocks.append(_first(distances[:, :size], candidates[:size], k))
    return [
        Neighbours(
            np.concatenate([block.rows for block in blocks]),
            np.concatenate([block.distances for block in blocks]),
        )
        for blocks in found
    ]


def fewest_allowed(queries: Integers, candidates: Integers, codes: Integers | None) -> int:
    """Return how many candidates are allowed to the query that has the fewest of them.

    Parameters
    ----------
    queries, candidates
        Row numbers, [Q] and [M].
    codes
        As in `nearest`.
    """
    if codes is None or not len(queries):
        return len(candidates)
    count = np.bincount(codes[candidates], minlength=int(codes.max()) + 1)
    return len(candidates) - int(count[codes[queries]].max())


@dataclass(frozen=True)
class _Points:
    """Embeddings as points in float64: at length 1, or moved by the candidates' median [D].

    Without the latter a vector that all rows share would drown their differences.
    """

    embeddings: Floats32
    centre: Floats | None

    @classmethod
    def of(cls, embeddings: Floats32, metric: KnnMetric, candidates: Integers) -> _Points:
        if metric == "cosine":
            return cls(embeddings, None)
        return cls(embeddings, np.median(embeddings[candidates], axis=0).astype(np.float64))

    def read(self, rows: Integers) -> Floats:
        points = self.embeddings[rows].astype(np.float64)
        if self.centre is None:
            return np.asarray(normalize(points, copy=False))
        points -= self.centre
        return points

    def distances(self, queries: Floats, pool: Floats) -> Floats:
        """Return the rounded distances of points, [q, m]."""
        if self.centre is None:
            return np.round(1 - queries @ pool.T, COSINE_DECIMALS)
        # The error of a squared distance is in proportion to the points' lengths.
        length = _to_40_bits(np.square(queries).sum(axis=1, keepdims=True))
        squared = euclidean_distances(queries, pool, squared=True)
        return np.sqrt(_to_40_bits(squared + length) - length)


def _to_40_bits(values: Floats) -> Floats:
    large = values * SPLITTER
    return large - (large - values)


def _first(distances: Floats, candidates: Integers, k: int) -> Neighbours:
    """Return the k nearest of the candidates [m] by distances [q, m]; ties by row number."""
    if k == 0:
        return Neighbours(np.empty((len(distances), 0), np.int64), distances[:, :0])
    last = np.partition(distances, k - 1, axis=1)[:, [k - 1]]
    # As many columns as hold all that tie with the last.
    width = int((distances <= last).sum(axis=1).max())
    columns = np.argpartition(distances, width - 1, axis=1)[:, :width]
    rows, near = candidates[columns], np.take_along_axis(distances, columns, axis=1)
    order = np.lexsort((rows, near), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(rows, order, axis=1), np.take_along_axis(near, order, axis=1)
    )
