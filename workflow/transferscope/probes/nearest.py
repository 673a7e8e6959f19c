"""Exact nearest neighbours among allowed candidates, in one search at the largest k."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.preprocessing import normalize
from sklearn.utils import gen_batches

from transferscope.config.probes import KnnMetric
from transferscope.probes.parts import part_columns
from transferscope.runtime.arrays import Floats, Floats32, Integers

# Memory of the distances of one block.
BLOCK_BYTES = 64 * 2**20
# Distances are rounded, so that equal embeddings tie independently of summation order.
COSINE_DECIMALS = 12
# Factor of Veltkamp's splitting: keeps 40 of the 53 bits of a float64.
SPLITTER = float(2**13 + 1)


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of each query, nearest first.

    Parameters
    ----------
    rows
        Row numbers, [Q, k].
    distances
        As scikit-learn defines them, [Q, k]; exactly zero between equal embeddings.
    """

    rows: Integers
    distances: Floats

    def of(self, queries: Integers | slice) -> Neighbours:
        """Return the neighbours of some of the queries, by their positions."""
        return Neighbours(self.rows[queries], self.distances[queries])


class Pool(Protocol):
    """Candidates among which neighbours are looked for, in the memory of some device."""

    @property
    def block_bytes(self) -> int:
        """Memory of the distances of one block of queries."""
        ...

    def search(
        self,
        queries: Integers,
        codes: Integers | None,
        sizes: Sequence[int],
        ks: Sequence[int],
    ) -> list[Neighbours]:
        """Return the nearest candidates of a block of queries, for each search of `nearest`.

        Parameters
        ----------
        queries
            Row numbers, [q].
        codes, sizes, ks
            As in `nearest`.
        """
        ...


# Embeddings, metric, candidates and widths of joined stores, as `nearest` takes them -> the pool.
PoolOf = Callable[[Floats32, KnnMetric, Integers, Sequence[int]], Pool]


def nearest(
    embeddings: Floats32,
    metric: KnnMetric,
    queries: Integers,
    candidates: Integers,
    sizes: Sequence[int],
    ks: Sequence[int],
    codes: Integers | None = None,
    parts: Sequence[int] = (),
    pool_of: PoolOf | None = None,
) -> list[Neighbours]:
    """Return the nearest rows of each query, among several prefixes of the candidates.

    Parameters
    ----------
    embeddings
        [N, D].
    metric
        `cosine`, with distance 1 between a row of zeros and any row, or `euclidean`.
    queries, candidates
        Row numbers, [Q] and [M].
    sizes, ks
        Per search: the number of candidates, and of neighbours, at most that of candidates.
    codes
        [N]; candidates with the code of the query are excluded. None: all are allowed. If fewer
        than k are left, excluded ones follow them, at an infinite distance.
    parts
        Widths of joined stores, which count equally: cosines are averaged, and squared distances
        after division by the variance of the candidates. Empty: one store.
    pool_of
        Puts the candidates where they are searched; None: on the processor.

    Returns
    -------
    list of Neighbours
        One per search; ties go to the lower row number.
    """
    if not any(ks) or not len(queries):
        shapes = [(len(queries), k) for k in ks]
        return [Neighbours(np.empty(shape, np.int64), np.empty(shape)) for shape in shapes]
    pool = (pool_of or HostPool.of)(embeddings, metric, candidates, parts)
    found: list[list[Neighbours]] = [[] for _ in ks]
    for block in gen_batches(len(queries), max(1, pool.block_bytes // (8 * len(candidates)))):
        for blocks, near in zip(found, pool.search(queries[block], codes, sizes, ks), strict=True):
            blocks.append(near)
    return [
        Neighbours(
            np.concatenate([block.rows for block in blocks]),
            np.concatenate([block.distances for block in blocks]),
        )
        for blocks in found
    ]


def fewest_allowed(queries: Integers, candidates: Integers, codes: Integers | None) -> int:
    """Return the smallest number of allowed candidates of any query.

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
    """Embeddings as float64 points: normalised, or centred on the candidates' median [D].

    Without centring, a large common vector would cause cancellation in distances. `parts` are the
    columns of joined stores; `lengths` is what those of each are divided by.
    """

    embeddings: Floats32
    centre: Floats | None
    parts: Sequence[slice] = ()
    lengths: Sequence[float] = ()

    @classmethod
    def of(
        cls,
        embeddings: Floats32,
        metric: KnnMetric,
        candidates: Integers,
        widths: Sequence[int] = (),
    ) -> _Points:
        parts = part_columns(widths)
        if metric == "cosine":
            return cls(embeddings, None, parts, [len(parts) ** 0.5] * len(parts))
        centre = np.median(embeddings[candidates], axis=0).astype(np.float64)
        known = embeddings[candidates] if parts else embeddings[:0]
        variances = [float(known[:, part].var(axis=0, dtype=np.float64).sum()) for part in parts]
        # A part without any variance has no distances to weigh.
        lengths = [(len(parts) * each) ** 0.5 or 1.0 for each in variances]
        return cls(embeddings, centre, parts, lengths)

    def read(self, rows: Integers) -> Floats:
        points = self.embeddings[rows].astype(np.float64)
        if self.centre is not None:
            points -= self.centre
        elif not self.parts:
            return np.asarray(normalize(points, copy=False))
        for part, length in zip(self.parts, self.lengths, strict=True):
            if self.centre is None:
                points[:, part] = normalize(points[:, part])
            points[:, part] /= length
        return points

    def distances(self, queries: Floats, pool: Floats) -> Floats:
        """Return the rounded distances of points, [q, m]."""
        if self.centre is None:
            return np.round(1 - queries @ pool.T, COSINE_DECIMALS)
        # The error of a squared distance is proportional to the squared norms.
        length = to_40_bits(np.square(queries).sum(axis=1, keepdims=True))
        squared = euclidean_distances(queries, pool, squared=True)
        return np.asarray(np.sqrt(to_40_bits(squared + length) - length))


@dataclass(frozen=True)
class HostPool:
    """Candidates [M] as points [M, D] in the memory of the processor."""

    points: _Points
    candidates: Integers
    pool: Floats

    @classmethod
    def of(
        cls,
        embeddings: Floats32,
        metric: KnnMetric,
        candidates: Integers,
        parts: Sequence[int] = (),
    ) -> HostPool:
        """Return the pool of some rows of the embeddings."""
        points = _Points.of(embeddings, metric, candidates, parts)
        return cls(points, candidates, points.read(candidates))

    @property
    def block_bytes(self) -> int:
        """As in `Pool`."""
        return BLOCK_BYTES

    def search(
        self,
        queries: Integers,
        codes: Integers | None,
        sizes: Sequence[int],
        ks: Sequence[int],
    ) -> list[Neighbours]:
        """As in `Pool`."""
        distances = self.points.distances(self.points.read(queries), self.pool)
        if codes is not None:
            distances[codes[queries][:, None] == codes[self.candidates]] = np.inf
        return [
            _first(distances[:, :size], self.candidates[:size], k)
            for size, k in zip(sizes, ks, strict=True)
        ]


def to_40_bits(values: Any) -> Any:
    """Return float64 values, an array or a tensor, without the last of their bits."""
    large = values * SPLITTER
    return large - (large - values)


def _first(distances: Floats, candidates: Integers, k: int) -> Neighbours:
    """Return the k nearest candidates [m] by distances [q, m]; ties go to lower rows."""
    if k == 0:
        return Neighbours(np.empty((len(distances), 0), np.int64), distances[:, :0])
    last = np.partition(distances, k - 1, axis=1)[:, [k - 1]]
    # Enough columns to hold all ties with the last neighbour.
    width = int((distances <= last).sum(axis=1).max())
    columns = np.argpartition(distances, width - 1, axis=1)[:, :width]
    rows, near = candidates[columns], np.take_along_axis(distances, columns, axis=1)
    order = np.lexsort((rows, near), axis=1)[:, :k]
    return Neighbours(
        np.take_along_axis(rows, order, axis=1), np.take_along_axis(near, order, axis=1)
    )
