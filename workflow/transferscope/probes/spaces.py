"""Metrics in which neighbours are near: what ranks them in float32, and exactly in float64.

A space gives each query and candidate a similarity, which is higher where they are nearer: fast by
one float32 product, or exact for a few pairs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

# What is held at a time, of similarities as of embeddings, stays below this.
BLOCK_BYTES = 64 * 2**20
FLOAT32_ROUNDING = 2e-6
FLOAT64_DECIMALS = 12
# Veltkamp's factor: keeps 40 of the 53 bits of a float64.
FLOAT64_SPLITTER = float(2**13 + 1)


@dataclass(frozen=True)
class Space(ABC):
    """Embeddings [N, D] float32 under a metric."""

    embeddings: torch.Tensor

    @abstractmethod
    def prepared(self, rows: torch.Tensor) -> torch.Tensor:
        """Return some of the embeddings as `similarity` takes them, float32 [n, D]."""

    @abstractmethod
    def similarity(self, queries: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
        """Return the similarity of prepared queries with prepared candidates, float32 [q, m]."""

    @abstractmethod
    def slack(self, queries: torch.Tensor, similarity: torch.Tensor) -> torch.Tensor:
        """Return up to which gap float32 may err on the order of two candidates, float32 [q, 1].

        Parameters
        ----------
        queries
            Prepared, [q, D].
        similarity
            Of the last neighbour that is wanted, [q, 1].
        """

    @abstractmethod
    def rounded(self, similarity: torch.Tensor) -> torch.Tensor:
        """Round exact similarities, so that equal embeddings tie whatever computed them."""

    @abstractmethod
    def distance(self, similarity: torch.Tensor) -> torch.Tensor:
        """Return the distances, as scikit-learn has them, of exact similarities."""

    @abstractmethod
    def _exact_pairs(self, query_rows: torch.Tensor, near_rows: torch.Tensor) -> torch.Tensor:
        """Return float64 similarities of each query [q] with rows near it [q, c]."""

    @abstractmethod
    def _exact_product(self, query_rows: torch.Tensor, pool_rows: torch.Tensor) -> torch.Tensor:
        """Return float64 similarities of each query [q] with each candidate [m]."""

    def of_pairs(self, query_rows: torch.Tensor, near_rows: torch.Tensor) -> torch.Tensor:
        """Return the exact similarity of each query [q] with rows near it [q, c], float64."""
        width = 24 * max(near_rows.shape[1], 1) * self.embeddings.shape[1]
        return _in_blocks(query_rows, near_rows, width, self._exact_pairs)

    def of_all(self, query_rows: torch.Tensor, pool_rows: torch.Tensor) -> torch.Tensor:
        """Return the exact similarity of each query [q] with each candidate [m], float64."""
        block = max(1, BLOCK_BYTES // (8 * self.embeddings.shape[1]))
        parts = [
            self._exact_product(query_rows, rows)
            for rows in pool_rows.split(block)  # type: ignore[no-untyped-call]
        ]
        return torch.cat(parts, dim=1)


def _in_blocks(
    query_rows: torch.Tensor,
    near_rows: torch.Tensor,
    bytes_a_query: int,
    compute: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    similarity = torch.empty(near_rows.shape, dtype=torch.float64, device=near_rows.device)
    block = max(1, BLOCK_BYTES // bytes_a_query)
    for start in range(0, len(near_rows), block):
        part = slice(start, start + block)
        similarity[part] = compute(query_rows[part], near_rows[part])
    return similarity


@dataclass(frozen=True)
class CosineSpace(Space):
    """Embeddings [N, D] float32, and their lengths [N] float64; similarity is the cosine."""

    length: torch.Tensor

    @classmethod
    def of(cls, embeddings: torch.Tensor) -> CosineSpace:
        """Measure embeddings; a row of zeros counts as of length 1, as in scikit-learn."""
        length = torch.linalg.vector_norm(embeddings, dim=1, dtype=torch.float64)
        length[length == 0] = 1
        return cls(embeddings, length)

    def prepared(self, rows: torch.Tensor) -> torch.Tensor:
        """Return some of the embeddings at length 1, float32."""
        return self.embeddings[rows].div_(self.length[rows, None].float())

    def similarity(self, queries: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
        """Return the cosines, float32 [q, m]."""
        return queries @ pool.T

    def slack(self, queries: torch.Tensor, similarity: torch.Tensor) -> torch.Tensor:
        """Return the rounding of a product of two vectors of length 1."""
        del queries
        return torch.full_like(similarity, FLOAT32_ROUNDING)

    def rounded(self, similarity: torch.Tensor) -> torch.Tensor:
        """Round to 12 decimals."""
        return similarity.round(decimals=FLOAT64_DECIMALS)

    def distance(self, similarity: torch.Tensor) -> torch.Tensor:
        """Return 1 - cosine; what is below float64's rounding is zero."""
        distance = 1 - similarity
        return distance.masked_fill(distance < 10.0**-FLOAT64_DECIMALS, 0)

    def _exact_pairs(self, query_rows: torch.Tensor, near_rows: torch.Tensor) -> torch.Tensor:
        near = self.embeddings[near_rows].double()
        query = self.embeddings[query_rows].double()
        product = torch.bmm(near, query[:, :, None])[:, :, 0]
        return product / (self.length[near_rows] * self.length[query_rows, None])

    def _exact_product(self, query_rows: torch.Tensor, pool_rows: torch.Tensor) -> torch.Tensor:
        query, pool = (
            self.embeddings[rows].double() / self.length[rows, None]
            for rows in (query_rows, pool_rows)
        )
        return query @ pool.T


@dataclass(frozen=True)
class EuclideanSpace(Space):
    """Embeddings [N, D] float32; similarity is minus the squared distance.

    In float32 it is q p - p p / 2, which ranks alike, of embeddings moved to their mean `centre`
    [D], because a common vector would drown the differences, and divided by `scale`, a power of
    two, so that no square overflows.
    """

    centre: torch.Tensor
    scale: float

    @classmethod
    def of(cls, embeddings: torch.Tensor) -> EuclideanSpace:
        """Find the centre and the scale of embeddings."""
        centre = embeddings.mean(dim=0)
        furthest = float((embeddings - centre).abs().max()) if embeddings.numel() else 0.0
        scale = 2.0 ** int(torch.frexp(torch.tensor(furthest, dtype=torch.float64))[1])
        return cls(embeddings, centre, scale)

    def prepared(self, rows: torch.Tensor) -> torch.Tensor:
        """Return some of the embeddings, centred and scaled, float32."""
        return self.embeddings[rows].sub_(self.centre).div_(self.scale)

    def similarity(self, queries: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
        """Return q p - p p / 2, float32 [q, m]."""
        halves = pool.square().sum(dim=1).div_(-2)
        return torch.addmm(halves, queries, pool.T)

    def slack(self, queries: torch.Tensor, similarity: torch.Tensor) -> torch.Tensor:
        """Return the rounding of products with candidates that are as near as the last wanted one.

        Such a candidate is no longer than the query and its distance together.
        """
        length: torch.Tensor = torch.linalg.vector_norm(queries, dim=1, keepdim=True)
        distance = (length.square() - 2 * similarity).clamp(min=0).sqrt()
        longest = length + distance
        return 2 * FLOAT32_ROUNDING * (length * longest + longest.square() / 2)

    def rounded(self, similarity: torch.Tensor) -> torch.Tensor:
        """Round to 40 bits (Veltkamp's splitting), for squared distances have no scale."""
        large = similarity * FLOAT64_SPLITTER
        return large - (large - similarity)

    def distance(self, similarity: torch.Tensor) -> torch.Tensor:
        """Return the distances of the embeddings as they are."""
        return similarity.neg().clamp(min=0).sqrt()

    def _exact_pairs(self, query_rows: torch.Tensor, near_rows: torch.Tensor) -> torch.Tensor:
        query = self.embeddings[query_rows].double()
        gap = self.embeddings[near_rows].double().sub_(query[:, None])
        squared: torch.Tensor = gap.square_().sum(dim=2)
        return squared.neg_()

    def _exact_product(self, query_rows: torch.Tensor, pool_rows: torch.Tensor) -> torch.Tensor:
        query, pool = (self.embeddings[rows].double() for rows in (query_rows, pool_rows))
        plain = "donot_use_mm_for_euclid_dist"
        distance: torch.Tensor = torch.cdist(query, pool, compute_mode=plain)
        return distance.square_().neg_()


SPACES: dict[str, Callable[[torch.Tensor], Space]] = {
    "cosine": CosineSpace.of,
    "euclidean": EuclideanSpace.of,
}
