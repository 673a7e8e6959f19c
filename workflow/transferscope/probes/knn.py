"""k nearest neighbours by cosine: one search a fold at the largest k; every k is a prefix of it.

Equal to `sklearn.neighbors.KNeighborsClassifier(metric="cosine", algorithm="brute")`, but for ties
in distance, which go to the lower row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from transferscope.config import KnnSettings
from transferscope.devices import torch_device
from transferscope.probes.evaluation import (
    Division,
    ProbeData,
    ResultTables,
    Rows,
    Sink,
    write_tables,
)
from transferscope.progress import progress_bar

# The similarities of a block of queries stay below this.
BLOCK_BYTES = 64 * 2**20
# A float32 product finds the neighbours. Where two are within its rounding, float64 settles their
# order among so many beyond k; where these are all that close, among the whole row.
MARGIN = 8
FLOAT32_ROUNDING = 2e-6
FLOAT64_DECIMALS = 12

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CosineSpace:
    """Embeddings [N, D] float32, and their lengths [N] float64."""

    embeddings: torch.Tensor
    length: torch.Tensor

    @classmethod
    def of(cls, embeddings: torch.Tensor) -> CosineSpace:
        """Measure embeddings; a row of zeros counts as of length 1, as in scikit-learn."""
        length = torch.linalg.vector_norm(embeddings, dim=1, dtype=torch.float64)
        length[length == 0] = 1
        return cls(embeddings, length)

    def unit(self, rows: torch.Tensor) -> torch.Tensor:
        """Return some of the embeddings at length 1, float32."""
        return self.embeddings[rows].div_(self.length[rows, None].float())


def run_knn(
    data: ProbeData, settings: KnnSettings, device: str = "cpu", sink: Sink | None = None
) -> ResultTables:
    """Classify every test row by its nearest training rows.

    Training rows are those inside the division's fraction; validation rows are no neighbours. A k
    larger than their number is left out for that fraction.

    Parameters
    ----------
    data
        Embeddings, labels and divisions.
    settings
        The numbers of neighbours.
    device
        "auto", "cpu" or "cuda".
    sink
        Takes the predictions part by part; None: they are kept.
    """
    results = ResultTables(data, sink)
    if not settings.k:
        return results
    space = CosineSpace.of(torch.from_numpy(data.embeddings).to(torch_device(device)))
    folds = _by_fold(data.divisions)
    with progress_bar(f"k-NN on {data.identity['backbone']}", len(folds), "folds") as bar:
        for divisions in folds:
            _classify_fold(data, space, divisions, sorted(settings.k), results)
            bar.update()
    return results


def score_knn(
    data: ProbeData,
    settings: KnnSettings,
    scores: Path,
    predictions: Path,
    device: str = "cpu",
) -> None:
    """Run k-NN and write both tables by rename."""
    write_tables(data, scores, predictions, lambda sink: run_knn(data, settings, device, sink))


def _by_fold(divisions: Sequence[Division]) -> list[list[Division]]:
    """Group the fractions of each scheme, seed and fold."""
    folds: dict[tuple[str, int, int], list[Division]] = {}
    for division in divisions:
        folds.setdefault((division.scheme, division.seed, division.fold), []).append(division)
    return list(folds.values())


def _classify_fold(
    data: ProbeData,
    space: CosineSpace,
    divisions: list[Division],
    ks: list[int],
    results: ResultTables,
) -> None:
    """Classify the test rows of one fold at all fractions and k."""
    whole = max(divisions, key=lambda division: division.fraction)
    # Fractions are nested: sorted by share, each one is a prefix of the training rows.
    train = whole.train[np.argsort(whole.train_shares, kind="stable")]
    sizes = [len(division.train) for division in divisions]
    possible = [[k for k in ks if k <= size] for size in sizes]
    neighbours = nearest(space, whole.test, train, sizes, possible)
    for division, rows, kept in zip(divisions, neighbours, possible, strict=True):
        if skipped := ks[len(kept) :]:
            logger.info(
                "%s, seed %d, fold %d, fraction %g: only %d training tiles, so no k of %s",
                division.scheme,
                division.seed,
                division.fold,
                division.fraction,
                len(division.train),
                ", ".join(map(str, skipped)),
            )
        for k, votes in _votes(data.tiles.matrix, rows, kept):
            predicted = majority(votes, k, data.is_multi_label)
            results.add("knn", k, division, predicted, (votes / k).astype(np.float32))


def _votes(
    matrix: npt.NDArray[np.bool_], neighbours: Rows, ks: Sequence[int]
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield k and how many of the k nearest have each class, int64 [Q, C]."""
    votes = np.zeros((len(neighbours), matrix.shape[1]), dtype=np.int64)
    done = 0
    for k in ks:
        for column in range(done, k):
            votes += matrix[neighbours[:, column]]
        done = k
        yield k, votes.copy()


def majority(votes: npt.NDArray[np.int64], k: int, is_multi_label: bool) -> npt.NDArray[np.bool_]:
    """Return what the neighbours decide, bool [Q, C]; a tie goes to absence, or to the first class.

    Parameters
    ----------
    votes
        How many of the k nearest have each class, [Q, C].
    k
        Number of neighbours.
    is_multi_label
        Decide on each class by itself; else choose one.
    """
    if is_multi_label:
        return np.asarray(2 * votes > k)
    winner = votes.argmax(axis=1)
    return np.asarray(winner[:, None] == np.arange(votes.shape[1]))


def nearest(
    space: CosineSpace,
    queries: Rows,
    candidates: Rows,
    sizes: Sequence[int],
    ks: Sequence[Sequence[int]],
) -> list[Rows]:
    """Return the nearest rows of each query, among several prefixes of the candidates.

    The first k rows are exactly the k nearest for every k that is asked for, which is all that a
    vote needs; the order between two k is that of float32.

    Parameters
    ----------
    space
        All embeddings.
    queries, candidates
        Row numbers, [Q] and [M].
    sizes, ks
        For each search: how many candidates it sees, and the numbers of neighbours, rising.

    Returns
    -------
    list of int64 arrays
        [Q, largest k] row numbers for each search; ties go to the lower row number.
    """
    device = space.embeddings.device
    pool_rows = torch.from_numpy(candidates).to(device)
    pool = space.unit(pool_rows)
    found: list[list[npt.NDArray[np.int64]]] = [
        [np.empty((0, max(each, default=0)), dtype=np.int64)] for each in ks
    ]
    block = max(1, BLOCK_BYTES // (4 * max(len(candidates), 1)))
    for start in range(0, len(queries), block):
        query_rows = torch.from_numpy(queries[start : start + block]).to(device)
        similarity = space.unit(query_rows) @ pool.T
        for search, (size, each) in enumerate(zip(sizes, ks, strict=True)):
            columns = _ranked(similarity[:, :size], space, query_rows, pool_rows[:size], each)
            found[search].append(pool_rows[columns].cpu().numpy())
    return [np.concatenate(blocks) for blocks in found]


def _ranked(
    similarity: torch.Tensor,
    space: CosineSpace,
    query_rows: torch.Tensor,
    pool_rows: torch.Tensor,
    ks: Sequence[int],
) -> torch.Tensor:
    """Return the columns of the nearest, int64 [q, largest k], from float32 similarities [q, m]."""
    count, k = len(pool_rows), max(ks, default=0)
    if k == 0:
        return torch.empty((len(query_rows), 0), dtype=torch.int64, device=similarity.device)
    top, columns = similarity.topk(min(k + MARGIN, count), dim=1)
    gaps = top[:, :-1] - top[:, 1:]
    # Float32 may err on who is the last of the k nearest; the order among these is no matter.
    last = torch.tensor([each - 1 for each in ks if each < top.shape[1]], device=gaps.device)
    close = torch.nonzero((gaps[:, last] < FLOAT32_ROUNDING).any(dim=1))[:, 0]
    pairs = _similarity_of_pairs(space, query_rows[close], pool_rows[columns[close]])
    ranked = columns[:, :k].clone()
    ranked[close] = _settle(columns[close], pairs, pool_rows, k)
    open_ended = torch.nonzero(top[:, k - 1] - top[:, -1] < FLOAT32_ROUNDING)[:, 0]
    if k + MARGIN < count and len(open_ended):
        parts = 1 + len(open_ended) * 32 * count // BLOCK_BYTES
        for rows in torch.tensor_split(open_ended, parts):
            ranked[rows] = _rank_whole_rows(space, query_rows[rows], pool_rows, k)
    return ranked


def _similarity_of_pairs(
    space: CosineSpace, query_rows: torch.Tensor, near_rows: torch.Tensor
) -> torch.Tensor:
    """Return the cosine of each query [q] with rows near it [q, c], float64 [q, c]."""
    similarity = torch.empty(near_rows.shape, dtype=torch.float64, device=near_rows.device)
    block = max(1, BLOCK_BYTES // (16 * near_rows.shape[1] * space.embeddings.shape[1]))
    for start in range(0, len(near_rows), block):
        part = slice(start, start + block)
        near = space.embeddings[near_rows[part]].double()
        query = space.embeddings[query_rows[part]].double()
        product = torch.bmm(near, query[:, :, None])[:, :, 0]
        lengths = space.length[near_rows[part]] * space.length[query_rows[part], None]
        similarity[part] = product / lengths
    return similarity


def _rank_whole_rows(
    space: CosineSpace, query_rows: torch.Tensor, pool_rows: torch.Tensor, k: int
) -> torch.Tensor:
    """Rank every candidate of some queries in float64."""
    count, width = len(pool_rows), space.embeddings.shape[1]
    query = space.embeddings[query_rows].double() / space.length[query_rows, None]
    block = max(1, BLOCK_BYTES // (8 * width))
    parts = [
        query @ (space.embeddings[rows].double() / space.length[rows, None]).T
        for rows in pool_rows.split(block)  # type: ignore[no-untyped-call]
    ]
    columns = torch.arange(count, device=pool_rows.device).expand(len(query), count)
    return _settle(columns, torch.cat(parts, dim=1), pool_rows, k)


def _settle(
    columns: torch.Tensor, similarity: torch.Tensor, pool_rows: torch.Tensor, k: int
) -> torch.Tensor:
    """Order columns [q, c] by similarity, then by row number, and return the first k."""
    by_row = pool_rows[columns].argsort(dim=1)
    # Rounded, so that equal embeddings tie wherever the product put them.
    rounded = similarity.gather(1, by_row).round(decimals=FLOAT64_DECIMALS)
    order = rounded.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return columns.gather(1, by_row.gather(1, order))
