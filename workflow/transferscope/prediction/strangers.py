"""Tiles that are unlike all labelled ones: no probability of a class says anything about them.

The distance of a tile is the mean distance of its embedding, standardised as the head does, from
the nearest labelled ones. It is unlike them where that is larger than for nearly all labelled tiles
from those of other groups, since a new tile is of another group, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from transferscope.runtime.arrays import Floats, Floats32, Texts
from transferscope.runtime.seeds import derive_rng

# Labelled tiles that are kept, and how many of the nearest count.
MOST_KEPT, NEAREST = 2000, 5
# Share of tiles like the labelled ones that are flagged.
FLAGGED = 0.01
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class Strangers:
    """Tells tiles that are unlike the labelled ones.

    Parameters
    ----------
    kept
        Standardised embeddings of labelled tiles, float32 [K, D].
    limit
        Distance above which a tile is unlike them.
    """

    kept: Floats32
    limit: float

    @classmethod
    def fit(cls, standardised: Floats32, groups: Texts) -> Strangers:
        """Return what the labelled tiles and their groups say.

        Parameters
        ----------
        standardised
            Embeddings of all labelled tiles, [N, D].
        groups
            Their groups, [N].
        """
        n_tiles = len(standardised)
        rows = np.arange(n_tiles)
        if n_tiles > MOST_KEPT:
            rows = derive_rng("strangers", n_tiles).choice(n_tiles, MOST_KEPT, replace=False)
            rows.sort()
        kept = standardised[rows].astype(np.float16).astype(np.float32)
        codes = np.unique(groups[rows].astype(str), return_inverse=True)[1]
        distances = _distances(kept, kept, codes)
        return cls(kept, float(np.quantile(distances[np.isfinite(distances)], 1 - FLAGGED)))

    def distances(self, standardised: Floats32) -> Floats:
        """Return the distance of each tile as a share of the limit, [N]."""
        return _distances(standardised, self.kept, None) / self.limit


def _distances(tiles: Floats32, kept: Floats32, groups: np.ndarray | None) -> Floats:
    """Return the mean distance from the nearest kept ones; of other groups, if there are any."""
    found = []
    stored = torch.from_numpy(np.ascontiguousarray(kept))
    for start in range(0, len(tiles), BLOCK_ROWS):
        block = torch.from_numpy(np.ascontiguousarray(tiles[start : start + BLOCK_ROWS]))
        between = torch.cdist(block, stored)
        if groups is not None:
            own = torch.from_numpy(groups[start : start + BLOCK_ROWS])
            between[own[:, None] == torch.from_numpy(groups)[None]] = torch.inf
        nearest = between.topk(min(NEAREST, len(kept)), dim=1, largest=False).values
        found.append(nearest.mean(dim=1).double().numpy())
    return np.concatenate(found) if found else np.empty(0)
