"""Tiles of which one channel is black, or that of a tile of another group.

Such tiles are never stored: they are made while a tile store is read, so that every network, and
hand-crafted features, see them exactly as they would see any other tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from transferscope.config.ablation import PERMUTED, Ablation
from transferscope.errors import user_error
from transferscope.runtime.arrays import Integers, Values
from transferscope.runtime.fingerprint import fingerprint
from transferscope.runtime.seeds import derive_rng
from transferscope.stores.tile_store import TileStore

# Passes over the tiles whose partner is of their own group, each of which leaves few.
MOST_PASSES = 100


@dataclass(frozen=True)
class TileChange:
    """What is done to every tile of a dataset.

    Parameters
    ----------
    ablation
        Channel, and what it is replaced by.
    groups
        Group of each tile, in the order of the store.
    seed
        Of the exchange.
    """

    ablation: Ablation
    groups: Sequence[str]
    seed: int = 0

    @cached_property
    def partners(self) -> Integers:
        """Whose channel each tile is given; the same for all backbones, so that they are paired."""
        rng = derive_rng(PERMUTED, self.seed, self.ablation.channel)
        return partners(np.asarray(self.groups, dtype=object), rng)

    def identity(self, source: TileStore) -> dict[str, Any]:
        """Return what the tiles depend on besides the store's own rows."""
        named: dict[str, Any] = {"ablation": self.ablation.name}
        if self.ablation.kind == PERMUTED:
            # A block depends on tiles of other blocks, too: it is not kept where any tile differs.
            named["tiles"] = source.manifest.content_sha256
            named["partners"] = fingerprint(self.partners.tolist())
        return named


def partners(groups: Values, rng: np.random.Generator) -> Integers:
    """Return a random permutation that gives each tile one of another group.

    Tiles whose partner is of their own group are exchanged with random others until there are none.

    Parameters
    ----------
    groups
        Group of each tile, [N].
    rng
        Of the draw.

    Returns
    -------
    int64 [N]
        Row of the partner.

    Raises
    ------
    ValueError
        If a group has more than half of the tiles: no such permutation exists.

    Examples
    --------
    >>> found = partners(np.array(["a", "a", "b", "c"], dtype=object), np.random.default_rng(0))
    >>> sorted(found.tolist()), sorted(found[:2].tolist())
    ([0, 1, 2, 3], [2, 3])
    """
    codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    sizes = np.bincount(codes)
    if 2 * sizes.max(initial=0) > len(codes):
        raise ValueError("a group has more than half of the tiles")
    found: Integers = rng.permutation(len(codes)).astype(np.int64)
    for _ in range(MOST_PASSES):
        same = np.flatnonzero(codes[found] == codes)
        if not len(same):
            return found
        for row in same.tolist():
            other = int(rng.integers(len(codes)))
            mine, theirs = codes[found[row]], codes[found[other]]
            if theirs != codes[row] and mine != codes[other]:
                found[row], found[other] = found[other], found[row]
    # Few large groups: tiles in the order of their groups, shifted by the largest one.
    order = np.lexsort((rng.random(len(codes)), codes))
    found[order] = np.roll(order, -int(sizes.max()))
    return found


class AblatedTiles(TileStore):
    """The tiles of a store, one channel of which is replaced.

    Parameters
    ----------
    manifest
        Manifest of the tile store.
    change
        What is done to each tile.

    Raises
    ------
    UserError
        If the store is missing or damaged, has no such channel, or a partner cannot be found.
    """

    def __init__(self, manifest: Path | str, change: TileChange) -> None:
        super().__init__(manifest)
        self.change = change
        ablation = change.ablation
        if ablation.channel not in self.channels:
            what = f'has no channel "{ablation.channel}"'
            raise user_error(self.path, what, f"Name one of: {', '.join(self.channels)}.")
        self._channel = self.channels.index(ablation.channel)
        if len(change.groups) != len(self):
            what = f"has {len(self)} tiles, and the tile table {len(change.groups)}"
            raise user_error(self.path, what, "Give the tile table of these tiles.")
        if ablation.kind == PERMUTED:
            self._check_partners()

    def _check_partners(self) -> None:
        if self.reads_in_turn:
            what = "is read in turn: channels cannot be exchanged between its tiles"
            raise user_error(self.path, what, "Take `permuted` out of ablation.kinds.")
        try:
            self._partners = self.change.partners
        except ValueError as error:
            fix = "Take `permuted` out of ablation.kinds."
            raise user_error(self.path, f"channels cannot be exchanged: {error}", fix) from None

    def read(self, start: int, stop: int, out: Values | None = None) -> Values:
        """Return tiles [stop - start, C, H, W] with the channel replaced; see `TileStore.read`."""
        tiles = super().read(start, stop, out)
        if self.change.ablation.kind == PERMUTED:
            partner = self._partners[start : start + len(tiles)]
            own = slice(self._channel, self._channel + 1)
            for row, other in enumerate(partner.tolist()):
                whole = self.values(other, other + 1)
                tiles[row, own] = whole[0, own]
            return tiles
        if not tiles.flags.writeable:
            tiles = tiles.copy()
        black = float(self.intensity_range[self._channel, 0])
        tiles[:, self._channel] = _as(black, tiles.dtype)
        return tiles


def _as(value: float, dtype: np.dtype[Any]) -> Any:
    """Return a value in the type of the tiles, none below its range."""
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return dtype.type(min(max(round(value), limits.min), limits.max))
    return dtype.type(value)
