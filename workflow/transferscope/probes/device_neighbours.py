"""The search for nearest neighbours on a GPU, in float64, by the rules of the processor's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from transferscope.config.probes import KnnMetric
from transferscope.probes.nearest import COSINE_DECIMALS, Neighbours, PoolOf, to_40_bits
from transferscope.probes.parts import part_columns
from transferscope.runtime.arrays import Floats32, Integers

# Memory of the distances of one block on the device; several such are held at a time.
BLOCK_BYTES = 256 * 2**20
# A row that is shorter has no direction, as in scikit-learn.
SHORTEST = 10 * float(np.finfo(np.float64).eps)


def pool_on(device: torch.device) -> PoolOf:
    """Return what puts the candidates of `nearest` onto a device, which has to know float64.

    Distances are those of the processor up to the order of summation, and are rounded as there, to
    12 decimals (cosine) or 40 bits (euclidean, of the squared distance plus the squared length of
    the query). Ties go to the lower row number. Neighbours are therefore the same, except where
    two distances differ by no more than that rounding.
    """
    return partial(DevicePool.of, device)


@dataclass(frozen=True)
class DevicePool:
    """Candidates [M] as points [M, D] in the memory of a device.

    Parameters
    ----------
    embeddings
        [N, D] float32, on the processor.
    centre
        The candidates' median, float64 [D]; None: cosines.
    parts, lengths
        Columns of joined stores, and what those of each are divided by.
    candidates
        Row numbers, int64 [M].
    pool
        Their points, float64 [M, D].
    """

    embeddings: Tensor
    centre: Tensor | None
    parts: Sequence[slice]
    lengths: Sequence[float]
    candidates: Tensor
    pool: Tensor

    @classmethod
    def of(
        cls,
        device: torch.device,
        embeddings: Floats32,
        metric: KnnMetric,
        candidates: Integers,
        widths: Sequence[int] = (),
    ) -> DevicePool:
        """Return the pool of some rows of the embeddings."""
        host, parts = torch.from_numpy(embeddings), part_columns(widths)
        rows = torch.from_numpy(candidates)
        known = host.index_select(0, rows).to(device)
        centre = None
        lengths = [len(parts) ** 0.5] * len(parts)
        if metric != "cosine":
            centre = _median(known).double()
            spread = [known[:, part].double().var(dim=0, correction=0).sum() for part in parts]
            # A part without any variance has no distances to weigh.
            lengths = [(len(parts) * float(each)) ** 0.5 or 1.0 for each in spread]
        points = _points(known, centre, parts, lengths)
        return cls(host, centre, parts, lengths, rows.to(device), points)

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
        rows, device = torch.from_numpy(queries), self.pool.device
        known = self.embeddings.index_select(0, rows).to(device)
        distances = self.distances(_points(known, self.centre, self.parts, self.lengths))
        if codes is not None:
            of_rows = torch.from_numpy(codes).to(device)
            excluded = of_rows[rows.to(device)][:, None] == of_rows[self.candidates]
            distances.masked_fill_(excluded, torch.inf)
        return [
            _on_host(*first(distances[:, :size], self.candidates[:size], k))
            for size, k in zip(sizes, ks, strict=True)
        ]

    def distances(self, queries: Tensor) -> Tensor:
        """Return the rounded distances of points [q, D], [q, M]."""
        if self.centre is None:
            # Zero is added, because -0 and 0 are one distance, and not every sort takes them so.
            return (1 - queries @ self.pool.T).round_(decimals=COSINE_DECIMALS).add_(0.0)
        squares = queries.square().sum(dim=1, keepdim=True)
        length: Tensor = to_40_bits(squares)
        squared = (-2 * (queries @ self.pool.T)).add_(squares)
        squared.add_(self.pool.square().sum(dim=1)).clamp_(min=0)
        rounded: Tensor = to_40_bits(squared.add_(length))
        return (rounded - length).sqrt_()


def first(distances: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k nearest candidates [m] by distances [q, m]; ties go to lower rows.

    Returns
    -------
    tuple
        Row numbers and distances, [q, k].
    """
    if k == 0:
        return candidates.new_empty((len(distances), 0)), distances[:, :0]
    near, columns = distances.topk(k, dim=1, largest=False, sorted=True)
    # Enough columns to hold all ties with the last neighbour.
    width = int((distances <= near[:, -1:]).sum(dim=1).max())
    if width > k:
        near, columns = distances.topk(width, dim=1, largest=False, sorted=True)
    rows, order = candidates[columns].sort(dim=1)
    near = near.gather(1, order)
    near, order = near.sort(dim=1, stable=True)
    return rows.gather(1, order)[:, :k], near[:, :k]


def _on_host(rows: Tensor, distances: Tensor) -> Neighbours:
    return Neighbours(rows.cpu().numpy(), distances.cpu().numpy())


def _points(
    embeddings: Tensor, centre: Tensor | None, parts: Sequence[slice], lengths: Sequence[float]
) -> Tensor:
    """Return embeddings [n, D] as float64 points: normalised, or centred, and parts weighed."""
    points = embeddings.double()
    if centre is not None:
        points -= centre
    elif not parts:
        return _normalised(points)
    for part, length in zip(parts, lengths, strict=True):
        if centre is None:
            points[:, part] = _normalised(points[:, part])
        points[:, part] /= length
    return points


def _normalised(points: Tensor) -> Tensor:
    lengths = points.square().sum(dim=1, keepdim=True).sqrt_()
    return points / torch.where(lengths < SHORTEST, 1.0, lengths)


def _median(values: Tensor) -> Tensor:
    """Return the median of each column, [D], as numpy defines it."""
    half, is_odd = divmod(len(values), 2)
    high = values.kthvalue(half + 1, dim=0).values
    return high if is_odd else (values.kthvalue(half, dim=0).values + high) / 2
