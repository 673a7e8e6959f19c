"""What turns tiles into embeddings, and in which number format embeddings are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Tiles = npt.NDArray[Any]
Embeddings = npt.NDArray[np.float32]
# A larger value in the sample might overflow float16 (65,504) in another tile.
LARGEST_FLOAT16 = 1000.0
# Largest share of the variance between tiles that rounding to float16 may add to it.
ROUNDING_SHARE = 1e-4


# Embeddings of some tiles, on whatever device they were computed.
Rows = Any


class Embedder(Protocol):
    """What turns tiles into rows of an embedding store."""

    batch_size: int

    def identity(self) -> dict[str, Any]:
        """Return what the values depend on besides the tiles."""

    def columns(self) -> list[dict[str, Any]]:
        """Return which columns hold what, as `stores.Columns` has it."""

    def attributes(self) -> dict[str, Any]:
        """Return what the store says about itself."""

    def decide(self, sample: Tiles) -> dict[str, Any]:
        """Return what depends on the machine, from a few tiles; a resumed job reuses it."""

    def compiles(self, decision: dict[str, Any], sample: Tiles, n_tiles: int) -> bool:
        """Return whether networks run compiled, after trying it on a few of so many tiles."""
        return False

    def kept(self, decision: dict[str, Any], sample: Iterable[Tiles]) -> list[dict[str, Any]]:
        """Return what the formats that were decided do to the neighbours of a sample of tiles.

        Parameters
        ----------
        decision
            From `decide`.
        sample
            Tiles in parts; not read where the network runs in fp32.

        Returns
        -------
        list of dict
            From `neighbours.neighbours_kept`; empty where the network runs in fp32.
        """

    def start(self, decision: dict[str, Any]) -> None:
        """Prepare for `__call__`, as decided."""

    def sibling(self, strategy: str) -> Embedder | None:
        """Return one for another channel strategy that shares device and networks; None: none."""
        return None

    def release_others(self, siblings: Sequence[Embedder] = ()) -> None:
        """Free what neither this embedder nor its siblings use any more, once all have started."""
        return None  # noqa: RET501

    def __call__(self, tiles: Tiles, siblings: Sequence[Embedder] = ()) -> Rows:
        """Return one row per tile, for `collected`; it may still be computed.

        The columns of `siblings`, which share device and networks with it, follow its own.
        """

    def collected(self, parts: Sequence[Rows]) -> Embeddings:
        """Return the rows of several calls, [N, D]."""
        return np.concatenate(parts)

    def collecting(self, parts: Sequence[Rows]) -> Callable[[], Embeddings]:
        """Return what waits for the rows of several calls, in any thread; this waits for none."""
        return partial(self.collected, parts)

    def buffer(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Tiles:
        """Return an array to read tiles into, of which a part may be passed to `__call__`."""
        return np.empty(shape, dtype)

    def wait(self, buffer: Tiles) -> None:
        """Return when the tiles in a buffer have been taken, so that it may be overwritten."""
        return None  # noqa: RET501

    def close(self) -> None:
        """Release what `start` took."""


def decision(
    precision: str, dtype: str, tried: str | None = None, agreement: float | None = None
) -> dict[str, Any]:
    """Return the number formats of a store, as `Embedder.decide` does.

    Parameters
    ----------
    precision, dtype
        Of the network, and of the store.
    tried, agreement
        The precision that was tried, and its centred cosine to fp32; None: fp32 was chosen at once.
    """
    return {
        "precision": precision,
        "tried_precision": tried,
        "centred_cosine": agreement,
        "dtype": dtype,
    }


def storage_dtype(sample: Embeddings) -> str:
    """Return float16 where it holds a sample of embeddings [N, D] without harm, else float32.

    It does if no value comes near its range, and if rounding is far smaller than the spread between
    tiles, which every probe relies on.
    """
    if not np.isfinite(sample).all() or np.abs(sample).max() > LARGEST_FLOAT16:
        return "float32"
    values = sample.astype(np.float64)
    rounding = np.square(values.astype(np.float16) - values).sum()
    spread = np.square(values - values.mean(axis=0)).sum()
    return "float16" if rounding <= ROUNDING_SHARE * spread else "float32"
