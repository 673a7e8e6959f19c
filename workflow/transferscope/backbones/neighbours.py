"""What the number format does to neighbours: how many tiles of a sample keep theirs.

The centred cosine tells a wrong network from a right one. What reduced precision and a smaller
stored type do to scores, it does not tell: a tile whose two nearest neighbours are almost equally
near may exchange them at a cosine of .9997. So the neighbours themselves are counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from transferscope.config.channel_strategies import MEAN, ONLY
from transferscope.runtime.arrays import Floats32, Integers

NEIGHBOURS = 5
# Cosines that agree to this many digits are equal, so that identical tiles stay in order.
DIGITS = 12

Columns = Sequence[Mapping[str, Any]]


def neighbours_kept(
    exact: Floats32, stored: Floats32, columns: Columns, strategy: str
) -> list[dict[str, Any]]:
    """Compare the neighbours of a sample of tiles in a store with those in full precision.

    Parameters
    ----------
    exact, stored
        Rows of the sample in fp32, and as the store holds them, [n, D].
    columns
        Which columns hold what, as `stores.Columns` has it.
    strategy
        Channel strategy of the store.

    Returns
    -------
    list of dict
        For each output and each strategy that the store serves (`output`, `channels`): `n_tiles`;
        `same_nearest`, the number of tiles that have the same nearest neighbour in the sample; and
        `overlap`, the mean share of the nearest `NEIGHBOURS` that they share. Empty for fewer
        than three tiles, which have no choice of neighbours.
    """
    n_tiles = len(exact)
    if n_tiles < 3:
        return []
    found = []
    for output, channels, parts in _representations(columns, strategy):
        one, other = (nearest(_joined(rows, parts, channels)) for rows in (exact, stored))
        shared = [len(set(a) & set(b)) for a, b in zip(one, other, strict=True)]
        found.append(
            {
                "output": output,
                "channels": channels,
                "n_tiles": n_tiles,
                "same_nearest": int((one[:, 0] == other[:, 0]).sum()),
                "overlap": float(np.mean(shared) / one.shape[1]),
            }
        )
    return found


def nearest(embeddings: Floats32, k: int = NEIGHBOURS) -> Integers:
    """Return the nearest other rows of each row by cosine, nearest first, [n, min(k, n - 1)].

    In float64; ties go to the first row, as in the k-NN probe.
    """
    rows = embeddings.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = rows / np.maximum(lengths, np.finfo(np.float64).tiny)
    cosines = (unit @ unit.T).round(DIGITS)
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")
    return order[:, : min(k, len(rows) - 1)]


def _representations(columns: Columns, strategy: str) -> Iterator[tuple[str, str, Columns]]:
    """Yield output, channel strategy and columns of all that can be read from a store."""
    for output in dict.fromkeys(c["output"] for c in columns):
        own = [c for c in columns if c["output"] == output]
        yield output, strategy, own
        if own[0]["channel"] is not None:
            yield output, MEAN, own
            for part in own:
                yield output, f"{ONLY}{part['channel']}", [part]


def _joined(rows: Floats32, parts: Columns, channels: str) -> Floats32:
    """Return the columns of one representation, as `stores.EmbeddingStore.read` does."""
    found = [rows[:, c["start"] : c["stop"]] for c in parts]
    if channels == MEAN:
        return np.asarray(np.mean(found, axis=0, dtype=np.float32))
    return np.concatenate(found, axis=1)
