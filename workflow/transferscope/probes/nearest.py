"""Nearest neighbours: one search at the largest k, exact, among the candidates that are allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from transferscope.probes import spaces
from transferscope.probes.spaces import Space

Rows = npt.NDArray[np.int64]
# A float32 product finds the neighbours. Where two are equal or within its rounding, float64
# settles their order among so many beyond k; where these are all that close, among the whole row.
MARGIN = 8


@dataclass(frozen=True)
class _Pool:
    """Candidates [m] of one search, and what each row of the embeddings [N] must not share."""

    space: Space
    rows: torch.Tensor
    codes: torch.Tensor | None

    def first(self, size: int) -> _Pool:
        return _Pool(self.space, self.rows[:size], self.codes)

    def excluded(self, query_rows: torch.Tensor, near_rows: torch.Tensor) -> torch.Tensor | None:
        """Tell which rows near each query, [m] or [q, m], are no neighbours; None: no row."""
        if self.codes is None:
            return None
        return self.codes[near_rows] == self.codes[query_rows, None]


def nearest(
    space: Space,
    queries: Rows,
    candidates: Rows,
    sizes: Sequence[int],
    ks: Sequence[Sequence[int]],
    codes: Rows | None = None,
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
        For each search: how many candidates it sees, and the numbers of neighbours, rising; none
        above `fewest_allowed`.
    codes
        [N]; a candidate with the code of the query is no neighbour of it. None: all are allowed.

    Returns
    -------
    list of int64 arrays
        [Q, largest k] row numbers for each search; ties go to the lower row number.
    """
    device = space.embeddings.device
    shared = codes is not None and bool(np.isin(codes[queries], codes[candidates]).any())
    own = torch.from_numpy(codes).to(device) if codes is not None and shared else None
    everything = _Pool(space, torch.from_numpy(candidates).to(device), own)
    pool = space.prepared(everything.rows)
    found = [[np.empty((0, max(each, default=0)), dtype=np.int64)] for each in ks]
    block = max(1, spaces.BLOCK_BYTES // (4 * max(len(candidates), 1)))
    for start in range(0, len(queries), block):
        query_rows = torch.from_numpy(queries[start : start + block]).to(device)
        prepared = space.prepared(query_rows)
        similarity = space.similarity(prepared, pool)
        excluded = everything.excluded(query_rows, everything.rows)
        if excluded is not None:
            similarity.masked_fill_(excluded, -torch.inf)
        for search, (size, each) in enumerate(zip(sizes, ks, strict=True)):
            seen = everything.first(size)
            columns = _ranked(similarity[:, :size], prepared, query_rows, seen, each)
            found[search].append(seen.rows[columns].cpu().numpy())
    return [np.concatenate(blocks) for blocks in found]


def fewest_allowed(queries: Rows, candidates: Rows, codes: Rows | None) -> int:
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


def _ranked(
    similarity: torch.Tensor,
    prepared: torch.Tensor,
    query_rows: torch.Tensor,
    pool: _Pool,
    ks: Sequence[int],
) -> torch.Tensor:
    """Return the columns of the nearest, int64 [q, largest k], from float32 similarities [q, m]."""
    count, k = len(pool.rows), max(ks, default=0)
    if k == 0:
        return torch.empty((len(query_rows), 0), dtype=torch.int64, device=similarity.device)
    top, columns = similarity.topk(min(k + MARGIN, count), dim=1)
    slack = pool.space.slack(prepared, top[:, k - 1 : k])
    gaps = top[:, :-1] - top[:, 1:]
    # Float32 may err on who is the last of the k nearest; the order among these is no matter.
    ends = [each - 1 for each in ks if each < top.shape[1]]
    last = torch.tensor(ends, dtype=torch.int64, device=gaps.device)
    close = torch.nonzero((gaps[:, last] <= slack).any(dim=1))[:, 0]
    ranked = columns[:, :k].clone()
    ranked[close] = _settle_near(query_rows[close], columns[close], pool, k)
    open_ended = torch.nonzero(top[:, k - 1] - top[:, -1] <= slack[:, 0])[:, 0]
    if k + MARGIN < count and len(open_ended):
        parts = 1 + len(open_ended) * 32 * count // spaces.BLOCK_BYTES
        for rows in torch.tensor_split(open_ended, parts):
            ranked[rows] = _settle_all(query_rows[rows], pool, k)
    return ranked


def _settle_near(
    query_rows: torch.Tensor, columns: torch.Tensor, pool: _Pool, k: int
) -> torch.Tensor:
    """Rank the candidates [q, c] that float32 found, in float64."""
    exact = pool.space.of_pairs(query_rows, pool.rows[columns])
    return _settle(query_rows, columns, exact, pool, k)


def _settle_all(query_rows: torch.Tensor, pool: _Pool, k: int) -> torch.Tensor:
    """Rank every candidate of some queries in float64."""
    count = len(pool.rows)
    columns = torch.arange(count, device=pool.rows.device).expand(len(query_rows), count)
    return _settle(query_rows, columns, pool.space.of_all(query_rows, pool.rows), pool, k)


def _settle(
    query_rows: torch.Tensor, columns: torch.Tensor, exact: torch.Tensor, pool: _Pool, k: int
) -> torch.Tensor:
    """Order columns [q, c] by similarity, then by row number, and return the first k."""
    near_rows = pool.rows[columns]
    rounded = pool.space.rounded(exact)
    excluded = pool.excluded(query_rows, near_rows)
    if excluded is not None:
        rounded = rounded.masked_fill(excluded, -torch.inf)
    by_row = near_rows.argsort(dim=1)
    order = rounded.gather(1, by_row).sort(dim=1, descending=True, stable=True).indices[:, :k]
    return columns.gather(1, by_row.gather(1, order))
